// What a problem means to who sits in front of it. Pure.

import type { ApiError } from "./api";

export type Trouble = "wrong" | "signed-out" | "https" | "forbidden" | "gone" | "done" | "unfit" | "weak" | "wait" | "away" | "silent" | "other";

/** The word for a problem; its texts are in words.ts. */
export function troubleOf(err: ApiError): Trouble {
  switch (err.kind) {
    case "invalid-credentials":
      return "wrong";
    case "https-required":
      return "https";
    case "weak-password":
      return "weak";
  }
  switch (err.status) {
    case 0:
      return "silent";
    case 401:
      return "signed-out";
    case 403:
      return "forbidden";
    case 404:
      return "gone";
    case 409:
      return "done";
    case 400:
    case 422:
      return "unfit";
    case 429:
      return "wait";
    case 502:
    case 503:
    case 504:
      return "away";
    default:
      return "other";
  }
}
