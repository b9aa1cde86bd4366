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
export type FaultStatistics = Schemas["FaultStatistics"];
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

/** Which incidents; what is empty leaves it open. */
export interface IncidentFilter {
  open: boolean;
  class: string;
  unit: string;
}

export async function fetchIncidents(filter: IncidentFilter, before?: string): Promise<IncidentPage> {
  const query = new URLSearchParams({ limit: "20" });
  for (const [key, value] of Object.entries({ ...filter, before })) {
    if (value) query.set(key, String(value));
  }
  const page = await get<Schemas["IncidentList"]>("/api/self-healing/events?" + query);
  return { events: list(page.events), next: page.next };
}

/** Why the healer did what it did, in its own words; ApiError 404 when it has forgotten. */
export const fetchExplanation = async (id: string) =>
  (await get<Schemas["Explanation"]>(`/api/self-healing/events/${encodeURIComponent(id)}/explanation`)).text;

/** How the faults of the last 30 days were dealt with. */
export const fetchStatistics = async () => list((await get<Schemas["FaultStatisticsList"]>("/api/self-healing/statistics")).statistics);

export function dialLive(): WebSocket {
  const url = new URL("/api/metrics/live-stream", location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return new WebSocket(url);
}
