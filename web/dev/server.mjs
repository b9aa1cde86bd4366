// A development aid, never shipped: serves the built page under the strict
// Content-Security-Policy, with a made-up appliance behind it.

import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { WebSocketServer } from "ws";
import { adminWorld, answerAdmin } from "./admin.mjs";

const dist = fileURLToPath(new URL("../dist", import.meta.url));
const types = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };
const csp =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; " +
  "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const iso = (ms) => new Date(ms).toISOString();

/** A sample at a time, with values that look like a quiet machine. */
export function sampleAt(ms, change = {}) {
  const t = ms / 1000;
  const wave = (period, phase = 0) => (Math.sin((t * 2 * Math.PI) / period + phase) + 1) / 2;
  const noise = (seed) => Math.abs(Math.sin(t * seed) * 43758.5453) % 1;
  const cpu = 0.06 + 0.12 * wave(340) + 0.5 * wave(3300) ** 12 + 0.06 * noise(12.9898);
  return {
    timestamp: iso(ms),
    cpu_ratio: cpu,
    cpu_cores: 12,
    load1: 12 * cpu + noise(3.1),
    uptime_seconds: 3 * 86400 + 4 * 3600 + (t % 3600),
    memory_total_bytes: 65_893_158_912,
    memory_used_bytes: 21_400_000_000 + 3e9 * wave(5400) + 2e8 * noise(7.7),
    swap_total_bytes: 0,
    swap_used_bytes: 0,
    disk_total_bytes: 1_000_204_886_016,
    disk_used_bytes: 412_300_000_000,
    disk_read_bytes_per_second: 2.1e6 * noise(5.1),
    disk_write_bytes_per_second: 8.4e5 * noise(2.3),
    network_receive_bytes_per_second: 4.2e6 * wave(200) ** 4 + 3e4 * noise(1.7),
    network_transmit_bytes_per_second: 9e5 * wave(170, 1) ** 3 + 2e4 * noise(9.1),
    temperature_celsius: 46 + 9 * wave(3300) ** 6 + noise(4.2),
    pressure_cpu_ratio: 0.02 * noise(8.8),
    pressure_memory_ratio: 0,
    pressure_io_ratio: 0.01 * noise(6.3),
    ...change,
  };
}

export function service(name, since, change = {}) {
  return {
    name,
    unit: `arasul-${name}.service`,
    description: "",
    status: "up",
    load_state: "loaded",
    active_state: "active",
    sub_state: "running",
    result: "success",
    restarts: 0,
    main_pid: 812,
    restartable: true,
    since: iso(since),
    ...change,
  };
}

/** An incident that ended well: crashed, noticed after 12 ms, back after 2.1 s. */
export function incident(id, unit, at, change = {}) {
  const fault = { fault: "crashed", detail: "killed by SIGKILL", at: iso(at), detected_at: iso(at + 12) };
  return {
    id,
    rule: "down",
    class: "A",
    policy: "0123456789ab",
    unit: `arasul-${unit}.service`,
    fault: "crashed",
    detail: "killed by SIGKILL",
    state: "resolved",
    failures: [fault],
    failure_count: 1,
    fault_at: iso(at),
    detected_at: iso(at + 12),
    acted_at: iso(at + 104),
    recovered_at: iso(at + 2104),
    verified_at: iso(at + 7104),
    closed_at: iso(at + 2104),
    actions: [
      {
        attempt: 1,
        action: "systemd-restart",
        unit: `arasul-${unit}.service`,
        reason: "Restart= of the unit",
        started_at: iso(at + 104),
        finished_at: iso(at + 310),
        outcome: "helped",
      },
    ],
    ...change,
  };
}

/** An incident of the machine that something is done against. */
export function overload(id, rule, at, change = {}) {
  const detail = "memory_ratio 0.93, above 0.90 for 2m0s";
  return {
    ...incident(id, "n8n", at),
    rule,
    class: "B",
    unit: undefined,
    fault: "measured",
    detail,
    failures: [{ fault: "measured", detail, at: iso(at), detected_at: iso(at + 120_000) }],
    detected_at: iso(at + 120_000),
    acted_at: iso(at + 120_010),
    recovered_at: iso(at + 165_000),
    verified_at: iso(at + 285_000),
    closed_at: iso(at + 285_000),
    actions: [
      {
        attempt: 1,
        action: "pause",
        unit: "arasul-n8n.service",
        reason: detail,
        started_at: iso(at + 120_010),
        finished_at: iso(at + 120_100),
        outcome: "undone",
      },
      {
        attempt: 2,
        action: "resume",
        unit: "arasul-n8n.service",
        reason: "calm for 2m0s",
        started_at: iso(at + 285_000),
        finished_at: iso(at + 285_040),
        outcome: "helped",
      },
    ],
    ...change,
  };
}

/** What the samples of a machine with a GPU say besides. */
export const gpu = {
  gpu_utilisation_ratio: 0.64,
  gpu_memory_total_bytes: 65_893_158_912,
  gpu_memory_used_bytes: 21_400_000_000,
  gpu_temperature_celsius: 58,
  gpu_power_watts: 31.4,
};

const explanation = `memory-overload is a rule of class B of policy 0123456789ab:
  memory is about to run out, and the kernel would kill what it likes; workflows can wait

14:02:10  memory_ratio was 0.93, above 0.90, in 3 of 5 samples for 2m0s
14:02:10  rung 1 of 2: pause arasul-n8n.service. It helped: memory_ratio 0.84 is below 0.85
14:04:55  calm for 2m0s: resume arasul-n8n.service`;

const statistics = [
  { rule: "down", fault: "crashed", count: 14, resolved: 14, detect_seconds: { p50: 0.012, p95: 0.031, p99: 0.06 }, repair_seconds: { p50: 2.1, p95: 6.4, p99: 9 } },
  { rule: "memory-overload", fault: "measured", count: 3, resolved: 3, detect_seconds: { p50: 120, p95: 124, p99: 125 }, repair_seconds: { p50: 165, p95: 402, p99: 420 } },
  { rule: "own-rule", fault: "measured", count: 1, resolved: 0, detect_seconds: { p50: 5, p95: 5, p99: 5 }, repair_seconds: { p50: 0, p95: 0, p99: 0 } },
];

/** What the made-up appliance knows; change it as you like and push events. */
export function world() {
  const now = Date.now();
  return {
    broken: false, // every answer an error, no stream
    slow: false, // no answer at all
    shift: {}, // laid over every sample
    admin: adminWorld(),
    status: { status: "OK", reasons: [], healing: false, hostname: "arasul", version: "0.1.0", uptime_seconds: 274_320 },
    services: ["postgres", "metrics", "healer", "dashboard", "proxy", "mdns"].map((n) => service(n, now - 274_000_000)),
    incidents: [
      incident("3", "metrics", now - 26 * 60_000),
      incident("2", "dashboard", now - 5 * 3_600_000, {
        fault: "hung",
        detail: "watchdog timeout (limit 10s)",
        failure_count: 2,
        actions: [1, 2].map((n) => ({
          attempt: n,
          action: n === 1 ? "systemd-restart" : "restart",
          reason: n === 1 ? "Restart= of the unit" : "down for 3 checks in a row",
          started_at: iso(now - 5 * 3_600_000 + n * 900),
          finished_at: iso(now - 5 * 3_600_000 + n * 900 + 200),
          outcome: n === 1 ? "failed" : "helped",
        })),
      }),
      overload("4", "memory-overload", now - 2 * 3_600_000),
      incident("1", "proxy", now - 3 * 86_400_000, { fault: "oom-killed", detail: "killed by the kernel: out of memory" }),
    ],
  };
}

const trouble = (status) => ({ type: "about:blank", title: "A made-up problem", status, detail: "The healer does not answer." });

async function bodyOf(req) {
  const parts = [];
  for await (const part of req) parts.push(part);
  const body = Buffer.concat(parts);
  if (req.headers["content-type"] === "application/octet-stream") return body;
  return body.length > 0 ? JSON.parse(body.toString()) : {};
}

/** Serves world on port (0: any). The result's push sends an event to all pages. */
export async function serve(world, port = 0) {
  const status = () => ({ ...world.status, timestamp: iso(Date.now()) });
  const history = (range) => {
    const [span, step] = { "1h": [3600, 5], "24h": [86400, 90], "7d": [604800, 606] }[range] ?? [3600, 5];
    const samples = [];
    const end = Date.now() - 2000;
    for (let t = end - span * 1000; t <= end; t += step * 1000) samples.push(sampleAt(t, world.shift));
    return samples;
  };
  const answers = {
    "/api/system/status": status,
    "/api/services": () => ({ services: world.services, timestamp: iso(Date.now()) }),
    "/api/self-healing/events": (q) => ({
      events: world.incidents.filter(
        (i) =>
          (!q.get("class") || q.get("class") === i.class) &&
          (!q.get("unit") || q.get("unit") === i.unit) &&
          (!q.get("open") || i.state !== "resolved"),
      ),
      timestamp: iso(Date.now()),
    }),
    "/api/self-healing/events/4/explanation": () => ({ text: explanation, timestamp: iso(Date.now()) }),
    "/api/self-healing/statistics": () => ({ since: iso(0), statistics, timestamp: iso(Date.now()) }),
    "/api/metrics/history": (q) => ({ samples: world.empty ? [] : history(q.get("range")), timestamp: iso(Date.now()) }),
  };

  const known = (url) => {
    const answer = answers[url.pathname];
    return answer ? { status: 200, body: answer(url.searchParams) } : { status: 404, body: trouble(404) };
  };

  const server = createServer(async (req, res) => {
    const url = new URL(req.url, "http://localhost");
    res.setHeader("Content-Security-Policy", csp);
    res.setHeader("Cache-Control", "no-store");
    if (url.pathname.startsWith("/api/")) {
      if (world.slow) return;
      const said = world.broken ? { status: 503, body: trouble(503) } : (answerAdmin(world.admin, req, url, await bodyOf(req)) ?? known(url));
      if (said.stream) return said.stream(res);
      const type = said.text !== undefined ? "text/plain" : said.status < 400 ? "application/json" : "application/problem+json";
      res.writeHead(said.status, { "Content-Type": type, ...said.headers });
      res.end(said.text ?? (said.body && JSON.stringify(said.body)));
      return;
    }
    if (url.pathname.startsWith("/ca.")) return res.end("made up");
    const path = normalize(url.pathname === "/" ? "/index.html" : url.pathname);
    const wantsPage = !path.startsWith("/assets/") && (req.headers.accept ?? "").includes("text/html");
    const body = await readFile(join(dist, path)).catch(() => wantsPage && readFile(join(dist, "index.html")));
    if (!body) return res.writeHead(404).end();
    res.setHeader("Content-Type", types[extname(path)] ?? types[".html"]);
    res.end(body);
  });

  const connections = new Set();
  server.on("connection", (c) => connections.add(c.on("close", () => connections.delete(c))));
  const sockets = new WebSocketServer({ noServer: true });
  server.on("upgrade", (req, socket, head) => {
    if (world.slow) return;
    if (world.broken || !world.admin.statusOpen) return socket.destroy();
    sockets.handleUpgrade(req, socket, head, (ws) => {
      ws.send(JSON.stringify({ type: "status", status: status() }));
      if (!world.empty) ws.send(JSON.stringify({ type: "sample", sample: sampleAt(Date.now(), world.shift) }));
      ws.send(JSON.stringify({ type: "services", services: world.services }));
    });
  });
  const push = (event) => sockets.clients.forEach((ws) => ws.send(JSON.stringify(event)));
  const beat = setInterval(() => {
    if (!world.empty) push({ type: "sample", sample: sampleAt(Date.now(), world.shift) });
  }, 5000);

  await new Promise((done) => server.listen(port, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    push,
    pushStatus: () => push({ type: "status", status: status() }),
    /** Drops every page's connection, as a restart does. */
    drop: () => sockets.clients.forEach((ws) => ws.terminate()),
    close: () => {
      clearInterval(beat);
      connections.forEach((c) => c.destroy());
      return new Promise((done) => server.close(done));
    },
  };
}
