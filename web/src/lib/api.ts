// What the dashboard answers, typed by its own OpenAPI document.
//
// It asks once and passes on the answer or an ApiError; whoever asks decides
// whether to ask again.

import type { components } from "../api";

type Schemas = components["schemas"];
export type Sample = Schemas["Sample"];
export type Service = Schemas["Service"];
export type Incident = Schemas["Incident"];
export type Action = Schemas["Action"];
export type SystemStatus = Schemas["SystemStatus"];
export type Reason = Schemas["Reason"];
export type LiveEvent = Schemas["Event"];
export type Range = "1h" | "24h" | "7d";

/** How long an answer may take, in milliseconds. */
const PATIENCE = 10_000;

/** An answer that did not come, or came as a problem (RFC 9457). */
export class ApiError extends Error {
  /** HTTP status; 0 when there was no answer at all. */
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

async function get<T>(path: string): Promise<T> {
  let res: Response;
  try {
    res = await fetch(path, { headers: { Accept: "application/json" }, signal: AbortSignal.timeout(PATIENCE) });
  } catch (err) {
    throw new ApiError(0, String(err));
  }
  const body = await res.json().catch(() => undefined);
  if (!res.ok) throw new ApiError(res.status, body?.detail ?? body?.title ?? res.statusText);
  if (body === undefined) throw new ApiError(res.status, "the answer is not JSON");
  return body as T;
}

// A Go slice without elements may arrive as null.
const list = <T>(items: T[] | null | undefined): T[] => items ?? [];

export const fetchStatus = () => get<SystemStatus>("/api/system/status");

export const fetchServices = async () => list((await get<Schemas["ServiceList"]>("/api/services")).services);

export const fetchHistory = async (range: Range) =>
  list((await get<Schemas["SampleList"]>("/api/metrics/history?range=" + range)).samples);

/** One page of incidents, newest first; next asks for the page after it and is absent on the last. */
export interface IncidentPage {
  events: Incident[];
  next?: string | undefined;
}

export async function fetchIncidents(before?: string): Promise<IncidentPage> {
  const query = new URLSearchParams({ limit: "20" });
  if (before) query.set("before", before);
  const page = await get<Schemas["IncidentList"]>("/api/self-healing/events?" + query);
  return { events: list(page.events), next: page.next };
}

export function dialLive(): WebSocket {
  const url = new URL("/api/metrics/live-stream", location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return new WebSocket(url);
}
