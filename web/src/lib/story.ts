// An incident told in one sentence, and step by step.
//
// Pure: the words come in as Messages, numbers and times as Format.

import { instant, type Format } from "./format";
import type { Action, Incident } from "./api";
import { nameOf, type Messages } from "./i18n";

/** Whether the incident still needs something to happen. */
export function isOpen(i: Incident): boolean {
  return i.state !== "resolved";
}

// In shadow mode the healer decides and does nothing.
const onlyWatched = (a: Action) => a.error?.startsWith("shadow mode") ?? false;

/** One sentence: what failed when, how fast it was noticed, what was done, how it ended. */
export function story(i: Incident, now: number, t: Messages, f: Format): string {
  const fault = instant(i.fault_at) ?? instant(i.detected_at) ?? now;
  const parts: string[] = [];

  const detected = instant(i.detected_at);
  if (detected !== undefined) parts.push(t.story.noticed(f.duration(detected - fault)));
  if (i.failure_count > 1) parts.push(t.story.times(i.failure_count));
  parts.push(...deeds(i, t), ending(i, fault, t, f));

  const sameDay = new Date(fault).toDateString() === new Date(now).toDateString();
  const at = sameDay ? t.story.at(f.time(fault)) : t.story.on(f.day(fault), f.time(fault));
  const tell = t.story.faults[i.fault] ?? t.story.faults.failed;
  return tell(nameOf(i.unit, t).subject, at) + "; " + parts.join(", ") + ".";
}

// deeds counts what was done, kind by kind in the order it began.
function deeds(i: Incident, t: Messages): string[] {
  const counts = new Map<keyof typeof t.story.acts, number>();
  for (const a of i.actions ?? []) {
    if (a.outcome === "refused" || onlyWatched(a) || (a.outcome === "running" && i.state === "acting")) continue;
    counts.set(a.action, (counts.get(a.action) ?? 0) + 1);
  }
  const done: string[] = [...counts].map(([kind, n]) => t.story.acts[kind]?.(n) ?? kind);
  return (i.actions ?? []).some(onlyWatched) ? [...done, t.story.watched] : done;
}

function ending(i: Incident, fault: number, t: Messages, f: Format): string {
  const actions = i.actions ?? [];
  if (i.state === "exhausted" && actions.some(onlyWatched)) return t.story.untouched;
  if (i.state !== "resolved") return t.story[i.state] ?? t.story.open;
  const end = instant(i.recovered_at) ?? instant(i.verified_at) ?? instant(i.closed_at);
  if (end === undefined) return t.story.ended;
  const took = f.duration(end - fault);
  return actions.some((a) => !onlyWatched(a)) ? t.story.again(took) : t.story.alone(took);
}

export interface Step {
  kind: "fault" | "detected" | "action" | "recovered" | "verified" | "closed";
  title: string;
  detail: string;
  /** Milliseconds since 1970. */
  at: number;
  /** Milliseconds since the first fault. */
  after: number;
}

/** The course of events in the order of their times. */
export function timeline(i: Incident, t: Messages): Step[] {
  const words = t.incidents;
  const steps: Omit<Step, "after">[] = [];
  const add = (kind: Step["kind"], timestamp: string | undefined, title: string, detail = "") => {
    const at = instant(timestamp);
    if (at !== undefined) steps.push({ kind, at, title, detail });
  };

  const failures = i.failures?.length ? i.failures : [{ detail: i.detail, at: i.fault_at, detected_at: i.detected_at }];
  for (const failure of failures) {
    add("fault", failure.at, words.steps.fault, failure.detail);
    add("detected", failure.detected_at, words.steps.detected);
  }
  for (const a of i.actions ?? []) {
    const outcome = words.outcomes[onlyWatched(a) ? "watched" : a.outcome] ?? a.outcome;
    const detail = [a.reason, a.error].filter(Boolean).join(" – ");
    add("action", a.started_at, `${words.steps.action(a.attempt)}: ${words.kinds[a.action] ?? a.action} (${outcome})`, detail);
  }
  add("recovered", i.recovered_at, words.steps.recovered);
  add("verified", i.verified_at, words.steps.verified);
  if (i.state === "exhausted") add("closed", i.closed_at, words.steps.closed);

  // A stable sort keeps cause before effect where the times are the same.
  steps.sort((a, b) => a.at - b.at);
  const first = instant(i.fault_at) ?? steps[0]?.at ?? 0;
  return steps.map((s) => ({ ...s, after: s.at - first }));
}
