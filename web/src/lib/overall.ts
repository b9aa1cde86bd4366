// The one word at the top of the page. Pure.

import type { SystemStatus } from "./api";
import type { Link } from "./stream";

export type Level = "loading" | "ok" | "warning" | "critical" | "unknown";

/** A connection may be gone this long, in milliseconds, before what it said last no longer counts. */
export const GRACE = 5_000;

/**
 * How the appliance is, as far as this page can know: what it said last, or
 * "unknown" when nothing has been heard for longer than GRACE.
 */
export function overall(status: SystemStatus | undefined, link: Link, silentFor: number): Level {
  if (link !== "live" && silentFor > GRACE) return "unknown";
  switch (status?.status) {
    case undefined:
      return "loading";
    case "OK":
      return "ok";
    case "WARNING":
      return "warning";
    case "CRITICAL":
      return "critical";
    default:
      return "unknown";
  }
}
