// What only the admin may read: logs, the audit, the certificates.

import { get, list } from "./api";

export interface LogEntry {
  time: string;
  unit: string;
  severity: string;
  message: string;
  cursor: string;
}

export interface LogFilter {
  /** A service's name, "" for all. */
  service: string;
  /** At least this grave, "" for all. */
  severity: string;
  lines: string;
}

const query = (values: object): string => {
  const q = new URLSearchParams();
  for (const [key, value] of Object.entries(values)) if (value) q.set(key, String(value));
  return q.size > 0 ? "?" + q : "";
};

/** Entries, oldest first, and where the older ones begin. */
export interface LogPage {
  entries: LogEntry[];
  next: string;
}

export async function fetchLogs(filter: LogFilter, before?: string): Promise<LogPage> {
  const page = await get<{ entries: LogEntry[] | null; next?: string }>("/api/logs" + query({ ...filter, before }));
  return { entries: sorted(list(page.entries)), next: page.next ?? "" };
}

/** The address of what happens from now on. */
export const logStream = ({ service, severity }: LogFilter): string => "/api/logs/stream" + query({ service, severity });

/** The address of the same as a file, with as much as the appliance gives at once. */
export const logDownload = ({ service, severity }: LogFilter): string => "/api/logs/download" + query({ service, severity });

/** Entries by time; those of one moment stay as they came. Each cursor once. */
export function sorted(entries: LogEntry[]): LogEntry[] {
  const first = entries[0];
  const last = entries.at(-1);
  const ascending = first && last && Date.parse(first.time) > Date.parse(last.time) ? entries.toReversed() : entries;
  const seen = new Set<string>();
  return ascending.filter((e) => !seen.has(e.cursor) && seen.add(e.cursor));
}

export type AuditResult = "success" | "refused" | "failed";

export interface AuditEvent {
  id: number;
  at: string;
  /** admin, console, or empty: nobody that the appliance knows. */
  actor: string;
  action: string;
  subject?: string;
  address?: string;
  user_agent?: string;
  result: AuditResult;
  detail?: string;
}

export interface AuditFilter {
  action: string;
  result: string;
  since: string;
}

export async function fetchAudit(filter: AuditFilter, before?: string): Promise<{ events: AuditEvent[]; next: string }> {
  const page = await get<{ events: AuditEvent[] | null; next?: number }>("/api/audit" + query({ ...filter, before, limit: 50 }));
  return { events: list(page.events), next: page.next ? String(page.next) : "" };
}

/** GET /api/certificates */
export interface Certificates {
  ca: { subject: string; fingerprint_sha256: string; not_before: string; not_after: string } | null;
  certificate: {
    names: string[] | null;
    addresses: string[] | null;
    issuer: "local" | "acme" | "own";
    not_before: string;
    not_after: string;
  } | null;
  ready: boolean;
  timestamp: string;
}

export const fetchCertificates = () => get<Certificates>("/api/certificates");
