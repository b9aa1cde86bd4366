import { describe, expect, test } from "vitest";
import type { Action, Incident } from "../src/lib/api";
import { formatFor } from "../src/lib/format";
import { messages, nameOf, preferred, type Lang } from "../src/lib/i18n";
import { isOpen, stateOf, story, timeline } from "../src/lib/story";

const start = new Date(2026, 10, 23, 14, 3, 12, 500).getTime();
const after = (ms: number) => new Date(start + ms).toISOString();

function action(change: Partial<Action> = {}): Action {
  return {
    attempt: 1,
    action: "systemd-restart",
    reason: "Restart= of the unit",
    started_at: after(104),
    finished_at: after(310),
    outcome: "helped",
    ...change,
  };
}

function incident(change: Partial<Incident> = {}): Incident {
  return {
    id: "1",
    rule: "down",
    class: "A",
    policy: "0123456789ab",
    unit: "arasul-metrics.service",
    fault: "crashed",
    detail: "killed by SIGKILL",
    state: "resolved",
    failures: [{ fault: "crashed", detail: "killed by SIGKILL", at: after(0), detected_at: after(12) }],
    failure_count: 1,
    fault_at: after(0),
    detected_at: after(12),
    acted_at: after(104),
    recovered_at: after(2104),
    verified_at: after(7104),
    closed_at: after(2104),
    actions: [action()],
    ...change,
  };
}

// Without a key, as when the server leaves it out.
function without(i: Incident, ...keys: (keyof Incident)[]): Incident {
  return Object.fromEntries(Object.entries(i).filter(([k]) => !keys.includes(k as keyof Incident))) as unknown as Incident;
}

const tell = (i: Incident, lang: Lang = "en", now = start + 60_000) =>
  story(i, now, messages[lang], formatFor(lang === "en" ? "en-GB" : "de-DE")).replace(/\u00a0/g, " ");

describe("story", () => {
  test("tells a crash that was healed", () => {
    expect(tell(incident())).toBe(
      "Measurements crashed at 14:03:12; noticed after 12 ms, restarted by systemd, running again after 2.1 s.",
    );
    expect(tell(incident(), "de")).toBe(
      "Die Messung ist um 14:03:12 abgestürzt; nach 12 ms bemerkt, von systemd neu gestartet, nach 2,1 s wieder in Betrieb.",
    );
  });

  test("names the day when it was not today", () => {
    expect(tell(incident(), "en", start + 2 * 86_400_000)).toMatch(/^Measurements crashed on Mon.* at 14:03:12;/);
  });

  test("says that a repair is under way without claiming it happened", () => {
    const i = without(incident({ state: "acting", actions: [action({ outcome: "running" })] }), "recovered_at", "verified_at", "closed_at");
    expect(tell(i)).toBe("Measurements crashed at 14:03:12; noticed after 12 ms, the repair is under way.");
  });

  test("counts repeated faults and repairs, kind by kind", () => {
    const actions = [action({ outcome: "failed" }), action({ outcome: "failed" }), action({ action: "stop-start" })];
    expect(tell(incident({ failure_count: 3, actions }))).toContain(
      "3 faults in all, restarted by systemd (2 times), stopped and started afresh, running again",
    );
  });

  test("does not count a repair that was refused", () => {
    expect(tell(incident({ actions: [action({ outcome: "refused" })], state: "exhausted" }))).toBe(
      "Measurements crashed at 14:03:12; noticed after 12 ms, no repair helped – somebody has to look at it.",
    );
  });

  test("claims no repair where the healer only watched", () => {
    const watched = [action({ action: "restart", outcome: "failed", error: "shadow mode: decided, not done" })];
    expect(tell(without(incident({ actions: watched, state: "open" }), "recovered_at"))).toBe(
      "Measurements crashed at 14:03:12; noticed after 12 ms, the self-repair only watched and touched nothing, not repaired yet.",
    );
    expect(tell(incident({ actions: watched, state: "exhausted" }))).toMatch(/touched nothing, somebody has to look at it\.$/);
    expect(tell(incident({ actions: watched }), "de")).toMatch(/nichts angerührt, nach 2,1 s von selbst wieder in Betrieb\.$/);
    expect(timeline(incident({ actions: watched }), messages.en)[2]?.title).toBe("Step 1: restart (only considered)");
  });

  test("says when it came back by itself", () => {
    expect(tell(incident({ actions: null }))).toContain("recovered by itself after 2.1 s");
  });

  test("survives a clock that was set back and a unit nobody knows", () => {
    expect(tell(incident({ unit: "arasul-odd.service", detected_at: after(-3000) }))).toMatch(/^The part “odd” crashed .* < 1 ms/);
  });

  test("knows every fault and state in both languages", () => {
    for (const lang of ["en", "de"] as const) {
      for (const fault of Object.keys(messages.en.story.faults) as Incident["fault"][]) {
        for (const state of Object.keys(messages.en.incidents.states) as Incident["state"][]) {
          for (const rule of ["down", "heat"]) {
            expect(tell(incident({ rule, fault, state }), lang)).not.toMatch(/undefined|null|NaN/);
          }
        }
      }
    }
  });
});

describe("a story of the machine itself", () => {
  const machine = (change: Partial<Incident> = {}) =>
    without(incident({ rule: "heat", class: "B", fault: "measured", detail: "91 °C", actions: [action({ action: "cap-clocks" })], ...change }), "unit");

  test("is told by its rule", () => {
    expect(tell(machine())).toBe("Getting hot at 14:03:12; noticed after 12 ms, graphics processor slowed down, back to normal after 2.1 s.");
    expect(tell(machine(), "de")).toBe("Wird heiß um 14:03:12; nach 12 ms bemerkt, Grafikprozessor gebremst, nach 2,1 s wieder normal.");
  });

  test("does not claim success before the readings say so", () => {
    expect(tell(without(machine({ state: "verifying" }), "recovered_at"))).toContain("slowed down, being checked whether it has helped.");
    expect(tell(machine({ state: "verifying" }))).toContain("slowed down, being checked whether the repair holds.");
  });

  test("names what was moved for its sake", () => {
    const actions = [action({ action: "pause", unit: "arasul-n8n.service" }), action({ action: "unload-models", unit: "arasul-llm.service" })];
    expect(tell(machine({ actions }))).toContain("Workflows paused, models unloaded, back to normal");
    expect(timeline(machine({ actions }), messages.en)[2]?.title).toBe("Step 1: Workflows – pause (helped)");
  });

  test("says when it passed by itself, and when somebody has to look", () => {
    expect(tell(machine({ actions: [] }))).toContain("back to normal by itself after 2.1 s");
    expect(tell(machine({ actions: [], state: "exhausted" }))).toContain("somebody has to look at it");
  });

  test("keeps the names of rules and actions that nobody has translated", () => {
    expect(tell(machine({ rule: "toString", actions: [action({ action: "constructor" })] }))).toBe(
      "toString at 14:03:12; noticed after 12 ms, constructor, back to normal after 2.1 s.",
    );
  });

  test("has a state that does not claim a repair", () => {
    expect([stateOf(incident(), messages.en), stateOf(machine(), messages.en)]).toEqual(["repaired", "over"]);
  });
});

test("an incident that waits says for what", () => {
  const i = incident({ state: "suppressed", cause: "arasul-postgres.service", actions: [] });
  expect(tell(i)).toContain("waiting for: Database.");
  expect(tell(i, "de")).toContain("wartet auf: Datenbank.");
});

test("only a resolved incident is not open", () => {
  expect(isOpen(incident())).toBe(false);
  expect(isOpen(incident({ state: "exhausted" }))).toBe(true);
});

describe("timeline", () => {
  test("is in order, with the time since the fault", () => {
    const steps = timeline(incident(), messages.en);
    expect(steps.map((s) => [s.kind, s.after])).toEqual([
      ["fault", 0],
      ["detected", 12],
      ["action", 104],
      ["recovered", 2104],
      ["verified", 7104],
    ]);
    expect(steps[2]?.title).toBe("Step 1: restart by systemd (helped)");
  });

  test("falls back to the incident itself when its faults were not kept", () => {
    expect(timeline(incident({ failures: null }), messages.en).map((s) => s.kind)).toEqual(["fault", "detected", "action", "recovered", "verified"]);
  });

  test("ends with giving up when nothing helped", () => {
    const i = without(incident({ state: "exhausted" }), "recovered_at", "verified_at");
    expect(timeline(i, messages.en).at(-1)?.kind).toBe("closed");
  });
});

test("a unit and its short name are called the same", () => {
  expect(nameOf("arasul-metrics.service", messages.en).label).toBe("Measurements");
  expect(nameOf("metrics", messages.en).label).toBe("Measurements");
  expect(nameOf("arasul-usb@sda1.service", messages.de).label).toBe("USB-Updates");
});

test("the first language that we speak is taken", () => {
  expect(preferred(["fr", "de-AT", "en"])).toBe("de");
  expect(preferred(["fr"])).toBe("en");
});
