// A development aid, never shipped: the made-up appliance's accounts, sessions,
// audit, logs and certificates, as the real ones answer. Passwords are compared
// in the clear and codes do not depend on the time; nothing here is a model.

import { answerApps, appsWorld } from "./apps.mjs";
import { answerUpdates, updatesWorld } from "./updates.mjs";
import { randomUUID } from "node:crypto";

const iso = (ms) => new Date(ms).toISOString();
const HOUR = 3_600_000;
const COOKIE = "__Host-arasul";
const firefox = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:146.0) Gecko/20100101 Firefox/146.0";
const iphone = "Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.1 Mobile/15E148 Safari/604.1";

/** What there is to change before or while the page looks at it. */
export function adminWorld() {
  const now = Date.now();
  const open = (id, address, user_agent, kind, used) => [
    id,
    { id, address, user_agent, kind, created_at: iso(now - 5 * HOUR), last_used_at: iso(now - used), expires_at: iso(now + 19 * HOUR) },
  ];
  return {
    password: "Correct-Horse-7", // undefined: not set up
    code: "K7QM-2X9D-PA4V",
    available: true,
    secure: true,
    statusOpen: true,
    totp: "", // the code that fits; "" while it is off
    enrolling: "",
    recovery: [],
    used: [], // passwords of the past
    failures: 0,
    lockedUntil: 0,
    restarts: [],
    restartFails: false,
    changedAt: iso(now - 40 * 24 * HOUR),
    sessions: new Map([
      open("s-laptop", "192.168.1.23", firefox, "cookie", 12 * 60_000),
      open("s-phone", "192.168.1.57", iphone, "cookie", 3 * HOUR),
      open("s-script", "fd12:3456:789a::5", "curl/8.14.1", "bearer", 2 * 60_000),
    ]),
    audit: auditOf(now),
    apps: appsWorld(now),
    updates: updatesWorld(now),
    logs: logsOf(now),
    followers: new Set(),
    certificates: {
      ca: {
        subject: "CN=Arasul arasul 7F3A",
        fingerprint_sha256: "3F:9A:0C:51:7E:22:D4:B8:19:6B:E0:43:AA:5D:8F:71:C2:36:94:0E:57:DB:68:F5:21:9C:B3:47:E8:0A:7D:16",
        not_before: iso(now - 30 * 24 * HOUR),
        not_after: iso(now + 3620 * 24 * HOUR),
      },
      certificate: {
        names: ["arasul.local", "arasul-s3.local", "arasul", "localhost"],
        addresses: ["192.168.1.20", "fd12:3456:789a::20", "127.0.0.1", "::1"],
        issuer: "local",
        fingerprint_sha256: "AA:BB",
        not_before: iso(now - 30 * 24 * HOUR),
        not_after: iso(now + 60 * 24 * HOUR),
      },
      ready: true,
    },
  };
}

function auditOf(now) {
  const kinds = [
    ["auth.login", "success", "192.168.1.23", firefox, ""],
    ["auth.login", "refused", "192.168.1.99", "python-requests/2.32", "wrong password"],
    ["service.restart", "success", "192.168.1.23", firefox, "arasul-n8n.service"],
    ["auth.password", "success", "192.168.1.23", firefox, ""],
    ["auth.totp-confirm", "failed", "192.168.1.57", iphone, "database away"],
    ["update.upload", "success", "192.168.1.23", firefox, ""],
  ];
  return Array.from({ length: 120 }, (_, n) => {
    const [action, result, address, user_agent, extra] = kinds[n % kinds.length];
    const subject = action === "service.restart" ? extra : "";
    const detail = action === "service.restart" ? "" : extra;
    return { id: 120 - n, at: iso(now - n * 37 * 60_000), actor: "admin", action, subject, address, user_agent, result, detail };
  });
}

function logsOf(now) {
  const said = [
    ["arasul-metrics.service", "info", "samples stored duration=12ms"],
    ["arasul-healer.service", "notice", "unit restarted unit=arasul-metrics.service attempt=1 reason=\"watchdog timeout (limit 10s)\""],
    ["arasul-proxy.service", "info", "request addr=192.168.1.23 path=/api/metrics/history?range=24h duration=3.1ms result=200"],
    ["arasul-dashboard.service", "warning", "database away, answering without it err=\"dial unix /run/arasul/postgres/.s.PGSQL.5432: connect: connection refused\""],
    ["arasul-metrics.service", "err", "storing samples err=\"context deadline exceeded\""],
  ];
  return Array.from({ length: 420 }, (_, n) => {
    const [unit, severity, message] = said[n % said.length];
    return { time: iso(now - (420 - n) * 9000), unit, severity, message, cursor: "c" + n };
  });
}

const severities = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
const requirements = { min_length: 12, max_bytes: 72, upper: true, lower: true, digit: true, special: true, history: 5 };
const problem = (status, kind, detail, headers = {}, faults) => ({
  status,
  headers,
  body: { type: kind ? "urn:arasul:problem:" + kind : "about:blank", title: detail, status, detail, errors: faults?.map((message) => ({ location: "password", message })) },
});
const ok = (body = {}, status = 200, headers = {}) => ({ status, headers, body: { ...body, timestamp: iso(Date.now()) } });
const none = (headers = {}) => ({ status: 204, headers });
const lacks = (p, used = []) =>
  Object.entries({
    min_length: [...p].length < 12,
    max_bytes: Buffer.byteLength(p) > 72,
    upper: !/\p{Lu}/u.test(p),
    lower: !/\p{Ll}/u.test(p),
    digit: !/\p{Nd}/u.test(p),
    special: !/[^\p{L}\p{N}]/u.test(p),
    guessable: /passwor[dt]/i.test(p),
    history: used.includes(p),
  }).flatMap(([word, yes]) => (yes ? word : []));
const weak = (words) => problem(422, "weak-password", "The password is too weak.", {}, words);

/** Answers what belongs here, or undefined. body is the parsed JSON of a request that has one. */
export function answerAdmin(a, req, url, body) {
  const id = /(?:^|; )__Host-arasul=([^;]*)/.exec(req.headers.cookie ?? "")?.[1];
  const mine = id ? a.sessions.get(id) : undefined;
  const path = url.pathname;
  const route = req.method + " " + path;
  const signIn = () => {
    const fresh = randomUUID();
    const now = Date.now();
    const entry = { id: fresh, address: "127.0.0.1", user_agent: req.headers["user-agent"], kind: "cookie", created_at: iso(now), last_used_at: iso(now), expires_at: iso(now + 24 * HOUR) };
    a.sessions.set(fresh, entry);
    return ok({ username: "admin", session: fresh, expires_at: entry.expires_at }, 200, { "Set-Cookie": `${COOKIE}=${fresh}; Secure; HttpOnly; SameSite=Lax; Path=/` });
  };
  const gone = { "Set-Cookie": `${COOKIE}=; Max-Age=0; Secure; HttpOnly; SameSite=Lax; Path=/` };
  // Five wrong guesses lock, whatever was guessed at.
  const wrong = (what, kind = "invalid-credentials") => {
    if (++a.failures >= 5) a.lockedUntil = Date.now() + 15 * 60_000;
    return problem(mine ? 403 : 401, kind, what); // with a good session, only what was typed is wrong
  };
  const locked = () => (a.lockedUntil > Date.now() ? problem(429, "locked", "Too many attempts.", { "Retry-After": String(Math.ceil((a.lockedUntil - Date.now()) / 1000)) }) : undefined);
  const second = (code) => {
    if (code === a.totp) return true;
    const n = a.recovery.indexOf(code);
    return n >= 0 && a.recovery.splice(n, 1).length === 1;
  };

  if (req.method !== "GET") {
    if (req.headers["sec-fetch-site"] && req.headers["sec-fetch-site"] !== "same-origin") return problem(403, "", "Cross-site.");
    const wanted = path === "/api/update/upload" && req.method === "POST" ? "application/octet-stream" : "application/json";
    if (req.headers["content-type"] !== wanted) return problem(415, "", "Not JSON.");
  }
  switch (route) {
    case "GET /api/auth/status":
      return ok({ available: a.available, setup_needed: a.available && a.password === undefined, authenticated: !!mine, secure: a.secure, status_open: a.statusOpen });
    case "GET /api/auth/password-requirements":
      return ok(requirements);
    case "POST /api/auth/setup":
      if (!a.secure) return problem(403, "https-required", "Use https.");
      if (a.password !== undefined) return problem(409, "exists", "This is there already.");
      if (locked()) return locked();
      if (body.code !== a.code) return wrong("That is not the setup code.");
      if (lacks(body.password).length > 0) return weak(lacks(body.password));
      a.password = body.password;
      return signIn();
    case "POST /api/auth/login":
      if (!a.secure) return problem(403, "https-required", "Use https.");
      if (locked()) return locked();
      if (body.username !== "admin" || body.password !== a.password) return wrong("User name or password is wrong.");
      if (a.totp && !body.totp) return problem(401, "totp-required", "A second factor is needed.");
      if (a.totp && !second(body.totp)) return wrong("The code is wrong.");
      a.failures = 0;
      return signIn();
  }
  const admins = /^\/api\/(auth|audit|logs|certificates|llm|workflows|setup|images|update|system\/network|services\/ai|services\/[^/]+\/restart)/;
  if (!admins.test(path)) return !mine && !a.statusOpen ? problem(401, "unauthenticated", "Please sign in.") : undefined;
  if (!mine) return problem(401, "unauthenticated", "Please sign in.");
  mine.last_used_at = iso(Date.now());
  const app = answerApps(a.apps, route, url, body) ?? answerUpdates(a.updates, route, req, body);
  if (app) return app;

  switch (route) {
    case "POST /api/auth/logout":
      a.sessions.delete(id);
      return none(gone);
    case "POST /api/auth/logout-all":
      a.sessions.clear();
      return none(gone);
    case "GET /api/auth/me":
      return ok({ username: "admin", session: id, created_at: mine.created_at, expires_at: mine.expires_at, totp_enabled: a.totp !== "", recovery_codes_left: a.recovery.length, password_changed_at: a.changedAt });
    case "GET /api/auth/sessions":
      return ok({ sessions: [...a.sessions.values()].map((s) => ({ ...s, current: s.id === id })) });
    case "DELETE /api/auth/sessions":
      for (const other of a.sessions.keys()) if (other !== id) a.sessions.delete(other);
      return none();
    case "POST /api/auth/change-password":
      if (locked()) return locked();
      if (body.current_password !== a.password) return wrong("The present password is wrong.");
      if (lacks(body.new_password, [a.password, ...a.used]).length > 0) return weak(lacks(body.new_password, [a.password, ...a.used]));
      a.used.push(a.password);
      a.password = body.new_password;
      a.changedAt = iso(Date.now());
      for (const other of a.sessions.keys()) if (other !== id) a.sessions.delete(other);
      return none();
    case "POST /api/auth/totp/enroll":
      if (body.password !== a.password) return wrong("The password is wrong.");
      a.enrolling = "123456";
      return ok({ secret: "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP", uri: "otpauth://totp/Arasul:admin@arasul?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=Arasul&algorithm=SHA1&digits=6&period=30" });
    case "POST /api/auth/totp/confirm":
      if (!a.enrolling || body.code !== a.enrolling) return wrong("The code is wrong.");
      a.totp = a.enrolling;
      a.recovery = ["7QK2-M9XD-PA4V-8T3W", "H5RN-2C6J-Y8BE-4S1G", "F3DZ-6K9P-T2WM-7V5X", "R9CJ-1H4N-G6SY-3E8B", "X5PD-9F2K-N4JC-8R7H", "Q2VT-7B6M-C9XE-3K1D", "W8HN-5R4P-A7GS-0Z6Y", "M3JK-1D9F-V4TC-8Q2B", "E6XP-2N7W-H5RA-9G3S", "B0ZY-8C4K-J1MV-6T5D"];
      return ok({ recovery_codes: a.recovery });
    case "POST /api/auth/totp/disable":
      if (body.password !== a.password || !second(body.code)) return wrong("Password or code is wrong.");
      a.totp = "";
      a.recovery = [];
      return none();
    case "GET /api/audit": {
      const q = url.searchParams;
      const found = a.audit.filter(
        (e) =>
          (!q.get("action") || e.action === q.get("action") || e.action.startsWith(q.get("action") + ".")) &&
          (!q.get("result") || e.result === q.get("result")) &&
          (!q.get("since") || e.at >= q.get("since")) &&
          (!q.get("before") || e.id < Number(q.get("before"))),
      );
      const events = found.slice(0, Number(q.get("limit") ?? 50));
      return ok({ events, ...(found.length > events.length ? { next: events.at(-1).id } : {}) });
    }
    case "GET /api/logs": {
      const before = url.searchParams.get("before");
      const found = chosen(a.logs, url).filter((e) => !before || Number(e.cursor.slice(1)) < Number(before.slice(1)));
      const entries = found.slice(-Number(url.searchParams.get("lines") ?? 100)).reverse(); // newest first
      return ok({ entries, ...(found.length > entries.length ? { next: entries.at(-1).cursor } : {}) });
    }
    case "GET /api/logs/stream":
      return { stream: (res) => follow(a, url, res) };
    case "GET /api/logs/download":
      return { status: 200, headers: { "Content-Disposition": 'attachment; filename="arasul.log"' }, text: chosen(a.logs, url).map((e) => `${e.time} ${e.unit} ${e.message}\n`).join("") };
    case "GET /api/certificates":
      return ok(a.certificates);
  }
  const one = /^DELETE \/api\/auth\/sessions\/([^/]+)$/.exec(route);
  if (one) return a.sessions.delete(decodeURIComponent(one[1])) ? none() : problem(404, "", "No such session.");
  const restart = /^POST \/api\/services\/([^/]+)\/restart$/.exec(route);
  if (restart) {
    if (a.restartFails) return problem(409, "", "The healer is paused.");
    a.restarts.push(restart[1]);
    return ok({ incident: "77" }, 202);
  }
  return problem(404, "", "Nothing here.");
}

const chosen = (logs, url) => {
  const service = url.searchParams.get("service");
  const least = severities.indexOf(url.searchParams.get("severity") || "debug");
  return logs.filter((e) => (!service || e.unit === `arasul-${service}.service`) && severities.indexOf(e.severity) <= least);
};

function follow(a, url, res) {
  res.writeHead(200, { "Content-Type": "text/event-stream" });
  res.write(": hello\n\n");
  const hear = (entry) => chosen([entry], url).forEach((e) => res.write(`data: ${JSON.stringify(e)}\n\n`));
  a.followers.add(hear);
  res.on("close", () => a.followers.delete(hear));
}

/** Writes a line into the log, which those who follow hear. */
export function log(a, unit, severity, message) {
  const entry = { time: iso(Date.now()), unit, severity, message, cursor: "c" + a.logs.length };
  a.logs.push(entry);
  a.followers.forEach((hear) => hear(entry));
}
