// A development aid, never shipped: a made-up appliance in which, twice a
// minute, the measurements crash and are repaired.
//
//   npm run build && npm run play

import { incident, serve, world } from "./server.mjs";

const w = world();
const s = await serve(w, Number(process.env.PORT ?? 8090));
console.log(s.url);

const pause = (ms) => new Promise((done) => setTimeout(done, ms));
for (let n = 10; ; n++) {
  await pause(8000);
  const whole = incident(String(n), "metrics", Date.now() - 12);
  const show = (change, metrics, status) => {
    w.incidents = [{ ...whole, ...change }, ...w.incidents.filter((i) => i.id !== whole.id)].slice(0, 20);
    w.services = w.services.map((x) => (x.name === "metrics" ? { ...x, ...metrics } : x));
    w.status = { ...w.status, ...status };
    s.push({ type: "incident", incident: w.incidents[0] });
    s.push({ type: "services", services: w.services });
    s.pushStatus();
  };
  const open = { acted_at: undefined, recovered_at: undefined, verified_at: undefined, closed_at: undefined, actions: [] };
  const down = { severity: "CRITICAL", code: "service-down", subject: "arasul-metrics.service", message: "metrics is down" };
  const again = { severity: "WARNING", code: "service-restarted", subject: "arasul-metrics.service", message: "metrics was restarted" };
  show({ ...open, state: "open" }, { status: "down", active_state: "failed" }, { status: "CRITICAL", reasons: [down], healing: true });
  await pause(100);
  show({ recovered_at: undefined, verified_at: undefined, closed_at: undefined, state: "verifying" }, { status: "degraded" }, { status: "WARNING", reasons: [again] });
  await pause(2000);
  show({}, { status: "up", active_state: "active", since: new Date().toISOString(), restarts: n - 9 }, { healing: false });
  await pause(10_000);
  show({}, {}, { status: "OK", reasons: [] });
  await pause(10_000);
}
