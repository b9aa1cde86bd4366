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
  /** What kind of problem, "totp-required" for one; "" when the status says it all. */
  readonly kind: string;
  /** Seconds until asking again makes sense (Retry-After); 0 when nothing was said. */
  readonly wait: number;
  /** What in particular is wrong: words for what a new password lacks. */
  readonly faults: string[];
  /** The same by the field that it is about, where the problem names fields. */
  readonly fields: Record<string, string>;
  /** Which refusal of the updater it is, and what to do about it; "" for all else. */
  readonly code: string;
  readonly hint: string;

  constructor(
    status: number,
    message: string,
    kind = "",
    wait = 0,
    faults: string[] = [],
    fields: Record<string, string> = {},
    { code = "", hint = "" }: Problem = {},
  ) {
    super(message);
    this.status = status;
    this.kind = kind;
    this.wait = wait;
    this.faults = faults;
    this.fields = fields;
    this.code = code;
    this.hint = hint;
  }
}

// A Go slice without elements may arrive as null.
export const list = <T>(items: T[] | null | undefined): T[] => items ?? [];

/** Whatever was thrown, as an ApiError. */
export const asApiError = (err: unknown, kind = ""): ApiError => (err instanceof ApiError ? err : new ApiError(0, String(err), kind));

/** The seconds that a Retry-After header asks for: a number or a date, never below zero. */
export function retryAfter(header: string | null, now: number): number {
  if (!header) return 0;
  const seconds = /^\d+$/.test(header) ? Number(header) : (Date.parse(header) - now) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, Math.ceil(seconds)) : 0;
}

async function ask(path: string, init: RequestInit = {}): Promise<unknown> {
  let res: Response;
  try {
    res = await fetch(path, { ...init, headers: { Accept: "application/json", ...init.headers }, signal: AbortSignal.timeout(PATIENCE) });
  } catch (err) {
    throw new ApiError(0, String(err));
  }
  if (!res.ok) throw await problemOf(res);
  return res.json().catch(() => undefined);
}

interface Problem {
  code?: string;
  hint?: string;
  type?: string;
  title?: string;
  detail?: string;
  errors?: { message?: string; location?: string }[] | null;
}

/** What an answer that is none says, as far as it says it in the form of RFC 9457. */
export async function problemOf(res: Response): Promise<ApiError> {
  const body = (await res.json().catch(() => undefined)) as Problem | undefined;
  const kind = String(body?.type ?? "").replace(/^urn:arasul:problem:/, "");
  const wait = retryAfter(res.headers.get("Retry-After"), Date.now());
  const errors = list(body?.errors);
  const fields = errors.map((e) => [e.location?.replace(/^body\./, ""), e.message ?? ""] as const).filter(([at]) => at);
  return new ApiError(
    res.status,
    body?.detail ?? body?.title ?? res.statusText,
    kind === "about:blank" ? "" : kind,
    wait,
    errors.map((e) => e.message ?? ""),
    Object.fromEntries(fields),
    body,
  );
}

/** Asks for something that is there to be read. */
export async function get<T>(path: string): Promise<T> {
  const body = await ask(path);
  if (body === undefined) throw new ApiError(200, "the answer is not JSON");
  return body as T;
}

/**
 * Asks for a change. The session is a cookie that this page cannot see; the
 * content type is what a form of another site could not send.
 */
export const send = async <T = void>(method: "POST" | "DELETE", path: string, body: object = {}): Promise<T> =>
  (await ask(path, {
    method,
    headers: { "Content-Type": "application/json" },
    ...(method === "POST" ? { body: JSON.stringify(body) } : {}),
  })) as T;

export const fetchStatus = () => get<SystemStatus>("/api/system/status");

export const fetchServices = async () => list((await get<Schemas["ServiceList"]>("/api/services")).services);

/** Asks the healer to restart a service; it says how that goes by an incident. */
export const restartService = (name: string) => send("POST", `/api/services/${encodeURIComponent(name)}/restart`);

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
