// Whether a password fulfils what the appliance requires, while it is typed.
// The appliance decides; this only spares a round of trying. Pure.

/** GET /api/auth/password-requirements */
export interface Requirements {
  /** Characters. */
  min_length: number;
  /** Bytes of UTF-8, the limit of bcrypt. */
  max_bytes: number;
  upper: boolean;
  lower: boolean;
  digit: boolean;
  special: boolean;
  /** How many of the last passwords are refused; only the appliance can tell. */
  history: number;
}

export type Rule = "min_length" | "max_bytes" | "upper" | "lower" | "digit" | "special";

/** Every rule that applies, in the order in which it is shown, and whether password fulfils it. */
export function check(password: string, r: Requirements): { rule: Rule; met: boolean }[] {
  const bytes = new TextEncoder().encode(password).length;
  const rules: [Rule, boolean, boolean][] = [
    ["min_length", r.min_length > 0, [...password].length >= r.min_length],
    ["upper", r.upper, /\p{Lu}/u.test(password)],
    ["lower", r.lower, /\p{Ll}/u.test(password)],
    ["digit", r.digit, /\p{Nd}/u.test(password)],
    ["special", r.special, /[^\p{L}\p{N}]/u.test(password)],
    // Hardly anybody types that much: said only to those who do.
    ["max_bytes", r.max_bytes > 0 && bytes > r.max_bytes, bytes <= r.max_bytes],
  ];
  return rules.filter(([, applies]) => applies).map(([rule, , met]) => ({ rule, met }));
}

/**
 * A setup code as it is printed, XXXX-XXXX-XXXX, from the way it was typed. The
 * alphabet has no I, L, O: who reads one sees a 1 or a 0.
 */
export function setupCode(typed: string): string {
  const plain = typed.toUpperCase().replace(/[^0-9A-Z]/g, "").replace(/[IL]/g, "1").replace(/O/g, "0");
  return plain.match(/.{1,4}/g)?.join("-") ?? "";
}
