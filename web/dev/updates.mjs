// The made-up appliance's updates, as the real ones answer. A run goes one step
// further whenever somebody looks, and the dashboard is away in its middle.

const iso = (ms) => new Date(ms).toISOString();
const names = ["preflight", "keep", "load", "quiesce", "snapshot", "install", "migrate", "switch", "start", "probation", "commit", "cleanup"];
const away = ["install", "migrate", "switch"];

export function updatesWorld(now) {
  return {
    current: { version: "1.3.2", sequence: 12, committed_at: iso(now - 40 * 86_400_000), previous: "1.3.1" },
    staged: undefined,
    partial: 0,
    refuse: undefined, // what a whole upload is refused with
    breaks: 0, // slices that are lost on the way
    fails: false, // the next run goes back
    run: undefined,
    stick: undefined,
    slices: [],
    history: [
      ended("1", "1.3.1", "1.3.2", now - 40 * 86_400_000, { outcome: "committed", downtime_seconds: 41 }),
      ended("0", "1.3.1", "1.3.2", now - 41 * 86_400_000, { outcome: "rolled-back", back: true, actor: "usb", reason: "probation: arasul-dashboard.service answers 500", interruptions: 1 }),
    ],
  };
}

const ended = (id, from, to, at, change) => ({
  id: "20261016T101500-" + id, kind: "update", from, to, actor: "admin", back: false, percent: 100, steps: [],
  started_at: iso(at), ended_at: iso(at + 63_000), interruptions: 0, can_cancel: false, ...change,
});

export const release = (change = {}) => ({
  bundle: "sha256:" + "5e".repeat(32), version: "1.4.0", sequence: 13, channel: "stable", built_at: iso(Date.now() - 86_400_000), size_bytes: 612_000_000,
  received_bytes: 612_000_000, complete: true, since: iso(Date.now() - 60_000), data_class: "compatible", notes: "Models load faster.\nTwo faults of the clock were mended.",
  parts: ["package", "images"], signers: ["9d1c3a27"], ...change,
});

export const stick = (change = {}) => ({
  label: "KINGSTON", timestamp: iso(Date.now() - 60_000),
  files: [
    { name: "arasul-1.4.0.araupdate", version: "1.4.0", taken: true },
    { name: "arasul-1.3.2.araupdate", version: "1.3.2", taken: false, problem: { code: "not-newer", message: "the release 1.3.2 is installed already" } },
    { name: "holiday.araupdate", taken: false, problem: { code: "bad-signature", message: "it is signed by nobody whom this machine trusts" } },
  ],
  ...change,
});

export function begin(w, kind, to, change = {}) {
  w.run = {
    id: "20261126T101500-2", kind, from: w.current.version, to, actor: "admin", outcome: "", back: false, percent: 0, step: names[0],
    steps: names.map((name) => ({ name, state: "pending" })), started_at: iso(Date.now()), interruptions: 0, can_cancel: kind === "update", ...change,
  };
  w.at = -1;
}

function advance(w) {
  if (++w.at < names.length) {
    const steps = names.map((name, n) => ({ name, state: n < w.at ? "done" : n === w.at ? "running" : "pending" }));
    Object.assign(w.run, { step: names[w.at], percent: Math.round((100 * w.at) / names.length), steps, can_cancel: w.at < 3 });
    return;
  }
  const { kind, from, to } = w.run;
  const outcome = w.fails ? { outcome: "rolled-back", back: true, reason: "migrate: division by zero" } : { outcome: "committed" };
  Object.assign(w.run, outcome, { percent: 100, ended_at: iso(Date.now()), downtime_seconds: 19, can_cancel: false });
  if (!w.fails) w.current = { ...w.current, version: to, committed_at: iso(Date.now()), previous: kind === "update" ? from : undefined };
  w.staged = undefined;
  w.history.unshift(w.run);
}

const underWay = (w) => w.run?.outcome === "";
const state = (w) => ({ state: underWay(w) ? "updating" : "idle", current: w.current, staged: w.staged, run: w.run, stick: w.stick });

/** An answer, or undefined for what is not about updates. */
export function answerUpdates(w, route, req, body) {
  const ok = (b, status = 200) => ({ status, body: { ...b, timestamp: iso(Date.now()) } });
  const no = (status, code, detail, more = {}) => ({ status, body: { type: "urn:arasul:problem:update", title: detail, status, detail, code, ...more } });
  switch (route) {
    case "GET /api/update/status":
      if (underWay(w)) advance(w);
      if (underWay(w) && away.includes(w.run.step)) {
        const { id, to, step, percent, back } = w.run;
        return { status: 503, headers: { "Retry-After": "2" }, body: { status: 503, title: "Away", update: { id, to, step, percent, back } } };
      }
      return ok(state(w));
    case "GET /api/update/history":
      return ok({ runs: w.history });
    case "POST /api/update/upload": {
      const [, from, to, size] = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(req.headers["content-range"]).map(Number);
      if (w.breaks > 0 && from > 0 && w.breaks--) return { status: 502, body: {} };
      if (from !== w.partial) return no(409, "", "That is not where it goes on.", { received_bytes: w.partial });
      w.slices.push([from, body.length]);
      w.partial = to + 1;
      w.staged = release({ size_bytes: size, received_bytes: w.partial, complete: w.partial === size });
      if (w.staged.complete) {
        w.partial = 0;
        if (w.refuse) return (w.staged = undefined), no(422, w.refuse, "the signature is of no key that is trusted", { hint: "ask where it is from" });
      }
      return ok(w.staged, w.staged.complete ? 201 : 202);
    }
    case "DELETE /api/update/upload":
      w.staged = undefined;
      w.partial = 0;
      return { status: 204 };
    case "POST /api/update/apply":
      if (body.bundle !== w.staged?.bundle) return no(409, "busy", "Another was staged meanwhile.");
      begin(w, "update", w.staged.version);
      return ok(state(w), 202);
    case "POST /api/update/rollback":
      begin(w, "rollback", w.current.previous);
      return ok(state(w), 202);
    case "POST /api/update/cancel":
      Object.assign(w.run, { outcome: "rolled-back", back: true, reason: "cancelled", percent: 100 });
      return ok(state(w));
  }
}
