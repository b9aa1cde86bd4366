// An incident told in one sentence, and step by step.
//
// Pure: the words come in as Messages, numbers and times as Format.

import { instant, type Format } from "./format";
import type { Action, Incident } from "./api";
import { nameOf, topicOf, word, type Messages } from "./i18n";

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
  return subject(i, at, t) + "; " + parts.join(", ") + ".";
}

/** Whether it is about a unit that does not run, or was to be restarted, and not about a figure. */
const isDown = (i: Incident) => i.rule === "down" || i.rule === "request";

function subject(i: Incident, at: string, t: Messages): string {
  if (!isDown(i)) return topicOf(i.rule, t) + " " + at;
  return (t.story.faults[i.fault] ?? t.story.faults.failed)(nameOf(i.unit ?? "", t).subject, at);
}

// What these actions are done to has to be said; others say it themselves.
const moves = new Set(["systemd-restart", "restart", "stop-start", "stop", "start", "kill", "pause", "resume"]);

// target names what was done to which part, unless that is what the story is about.
function target(a: Action, i: Incident, t: Messages): string {
  return a.unit && moves.has(a.action) && !(isDown(i) && a.unit === i.unit) ? nameOf(a.unit, t).label : "";
}

// deeds counts what was done, kind by kind in the order it began.
function deeds(i: Incident, t: Messages): string[] {
  const counts = new Map<string, number>();
  for (const a of i.actions ?? []) {
    if (a.outcome === "refused" || onlyWatched(a) || (a.outcome === "running" && i.state === "acting")) continue;
    const act = word<string>(t.story.acts, a.action) ?? a.action;
    const deed = [target(a, i, t), act].filter(Boolean).join(" ");
    counts.set(deed, (counts.get(deed) ?? 0) + 1);
  }
  const done = [...counts].map(([deed, n]) => t.story.done(deed, n));
  return (i.actions ?? []).some(onlyWatched) ? [...done, t.story.watched] : done;
}

function ending(i: Incident, fault: number, t: Messages, f: Format): string {
  const actions = i.actions ?? [];
  if (i.state === "exhausted" && actions.every(onlyWatched)) return t.story.untouched;
  if (i.state === "suppressed" && i.cause) return t.story.waits(nameOf(i.cause, t).label);
  if (i.state === "verifying" && instant(i.recovered_at) === undefined) return t.story.watching;
  if (i.state !== "resolved") return t.story[i.state] ?? t.story.open;
  const end = instant(i.recovered_at) ?? instant(i.verified_at) ?? instant(i.closed_at);
  if (end === undefined) return isDown(i) ? t.story.ended : t.story.over;
  const took = f.duration(end - fault);
  if (actions.some((a) => !onlyWatched(a))) return isDown(i) ? t.story.again(took) : t.story.normal(took);
  return isDown(i) ? t.story.alone(took) : t.story.calmed(took);
}

/** The state in a word. */
export function stateOf(i: Incident, t: Messages): string {
  if (i.state === "resolved" && !isDown(i)) return t.incidents.over;
  return t.incidents.states[i.state] ?? i.state;
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
    add("fault", failure.at, isDown(i) ? words.steps.fault : words.steps.trouble, failure.detail);
    add("detected", failure.detected_at, words.steps.detected);
  }
  for (const a of i.actions ?? []) {
    const outcome = words.outcomes[onlyWatched(a) ? "watched" : a.outcome] ?? a.outcome;
    const detail = [a.reason, a.error].filter(Boolean).join(" – ");
    const deed = [target(a, i, t), word<string>(words.kinds, a.action) ?? a.action].filter(Boolean).join(" – ");
    add("action", a.started_at, `${words.steps.action(a.attempt)}: ${deed} (${outcome})`, detail);
  }
  add("recovered", i.recovered_at, isDown(i) ? words.steps.recovered : words.steps.normal);
  add("verified", i.verified_at, words.steps.verified);
  if (i.state === "exhausted") add("closed", i.closed_at, words.steps.closed);

  // A stable sort keeps cause before effect where the times are the same.
  steps.sort((a, b) => a.at - b.at);
  const first = instant(i.fault_at) ?? steps[0]?.at ?? 0;
  return steps.map((s) => ({ ...s, after: s.at - first }));
}
