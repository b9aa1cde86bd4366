// Releases: received, installed, taken back. The dashboard itself is replaced
// meanwhile; what is known of the update then comes from who answers in its place.

import type { components } from "../api";
import { ApiError, get, list, problemOf, send } from "./api";

type Schemas = components["schemas"];
export type Update = Schemas["Update"];
export type StagedBundle = Schemas["StagedBundle"];
export type UpdateRun = Schemas["UpdateRun"];
export type Stick = Schemas["Stick"];
type UpdateStep = Schemas["UpdateStep"];

export const fetchUpdate = () => get<Update>("/api/update/status");
export const fetchUpdates = async () => list((await get<Schemas["UpdateHistory"]>("/api/update/history")).runs);
export const applyUpdate = (bundle: string) => send<Update>("POST", "/api/update/apply", { bundle });
export const cancelUpdate = () => send<Update>("POST", "/api/update/cancel", {});
export const rollBack = () => send<Update>("POST", "/api/update/rollback", {});
export const forgetUpload = () => send("DELETE", "/api/update/upload");

/** How far an update is, in few words. */
export interface Progress {
  id: string;
  to: string;
  step: string;
  percent: number;
  back: boolean;
}

export const progressOf = (run: UpdateRun): Progress => ({ id: run.id, to: run.to, step: run.step ?? "", percent: run.percent, back: run.back });

/**
 * The steps as they are at a point of progress that is newer than what is known of them: the
 * dashboard is away in the middle of an update, and who answers in its place names one step only.
 * On the way back it is not known which of them there were, so there are none.
 */
export function stepsAt(steps: UpdateStep[], { step, back }: Progress): UpdateStep[] {
  const at = steps.findIndex((s) => s.name === step);
  if (back && steps[at]?.state !== "undoing") return [];
  if (back || steps[at]?.state !== "pending") return steps;
  return steps.map((s, i) => ({ ...s, state: i < at ? "done" : i === at ? "running" : s.state }));
}

/** What the answer of a dashboard that is away says of the update, if it says so. */
export async function askProgress(): Promise<Update | Progress | undefined> {
  const res = await fetch("/api/update/status", { headers: { Accept: "application/json" }, signal: AbortSignal.timeout(10_000) });
  const body = (await res.json().catch(() => undefined)) as (Update & { update?: Progress }) | undefined;
  return res.ok ? body : body?.update;
}

/** The colour of an outcome. */
export const toneOf = (outcome: string) => (outcome === "committed" ? "ok" : outcome === "" ? "neutral" : outcome === "stuck" ? "critical" : "warning");

/** How much is sent at once, in bytes. */
export const SLICE = 8 << 20;
/** How often a slice is sent again that did not arrive, and the pause before, in milliseconds. */
const TRIES = 30;
const PAUSE = 2000;

/** What passes by itself: another place to go on from (409), too much at once, and nobody behind the proxy. */
const passing = new Set([408, 409, 429, 502, 503, 504]);

/** Sends one slice; the answer says where the file goes on. */
export type Send = (slice: Blob, from: number, size: number, signal: AbortSignal) => Promise<Response>;

const post: Send = (slice, from, size, signal) =>
  fetch("/api/update/upload", {
    method: "POST",
    headers: {
      Accept: "application/json",
      "Content-Type": "application/octet-stream",
      "Content-Range": `bytes ${from}-${from + slice.size - 1}/${size}`,
    },
    body: slice,
    signal,
  });

/**
 * Sends a file, slice by slice, and goes on where it broke off: after a lost
 * connection by itself, and after anything else when it is called again with the
 * same file. Rejects with an ApiError, which has a code when the file is not wanted,
 * and with an AbortError when signal says so.
 */
export async function upload(
  file: Blob,
  onProgress: (received: number) => void,
  signal: AbortSignal,
  sendSlice: Send = post,
  pause = PAUSE,
): Promise<StagedBundle> {
  let at = 0;
  for (let failures = 0; ; ) {
    const slice = file.slice(at, Math.min(at + SLICE, file.size));
    const res = await sendSlice(slice, at, file.size, signal).catch((err: unknown) => {
      if (signal.aborted) throw err;
    });
    if (res?.ok) {
      const staged = (await res.json()) as StagedBundle;
      onProgress(staged.received_bytes);
      if (staged.complete) return staged;
      failures = staged.received_bytes > at ? 0 : failures + 1;
      at = staged.received_bytes;
    } else {
      if ((res && !passing.has(res.status)) || failures === TRIES) throw res ? await problemOf(res) : new ApiError(0, "it came no further");
      const there = ((await res?.json().catch(() => undefined)) as { received_bytes?: number } | undefined)?.received_bytes ?? at;
      failures = there > at ? 0 : failures + 1; // a slow line brings a part of a slice in the time that there is for it
      at = there;
    }
    if (failures > 0) await sleep(pause, signal);
  }
}

const sleep = (ms: number, signal: AbortSignal) =>
  new Promise<void>((resolve, reject) => {
    const stop = () => (clearTimeout(timer), reject(signal.reason as Error));
    const timer = setTimeout(() => (signal.removeEventListener("abort", stop), resolve()), ms);
    signal.addEventListener("abort", stop, { once: true });
  });
