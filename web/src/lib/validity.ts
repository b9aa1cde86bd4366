// Whether a certificate is good at a moment. Pure.

import { instant } from "./format";

/**
 * "soon" means that renewal is late: less than a sixth of its life is left,
 * where a third is when it is due.
 */
export function validity(c: { not_before: string; not_after: string }, now: number): "early" | "valid" | "soon" | "over" {
  const from = instant(c.not_before) ?? 0;
  const to = instant(c.not_after) ?? 0;
  if (now < from) return "early";
  if (now >= to) return "over";
  return to - now < (to - from) / 6 ? "soon" : "valid";
}
