import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { decodeQR } from "qr/decode.js";
import { logDownload, logStream, sorted, type LogEntry } from "../src/lib/admin";
import { agentName, systemOf } from "../src/lib/agent";
import { ApiError, retryAfter, send } from "../src/lib/api";
import { Countdown } from "../src/lib/countdown.svelte";
import { picture } from "../src/lib/qr";
import { troubleOf } from "../src/lib/troubles";
import { validity } from "../src/lib/validity";
import { words } from "../src/lib/words";

afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

describe("how long to wait", () => {
  const now = Date.UTC(2026, 10, 23, 14, 0, 0);
  test.each([
    [null, 0],
    ["", 0],
    ["0", 0],
    ["872", 872],
    ["Mon, 23 Nov 2026 14:01:30 GMT", 90],
    ["Mon, 23 Nov 2026 13:00:00 GMT", 0],
    ["soon", 0],
    ["-5", 0],
  ])("%j is %d s", (header, want) => expect(retryAfter(header, now)).toBe(want));
});

describe("a change", () => {
  const answer = (status: number, body?: object, headers = {}) =>
    vi.fn(async (_: string, __: RequestInit) => new Response(body && JSON.stringify(body), { status, headers }));

  test("is sent as JSON, which no form of another site can do, and without a token", async () => {
    const fetched = answer(204);
    vi.stubGlobal("fetch", fetched);
    await send("POST", "/api/auth/logout");
    const [path, init] = fetched.mock.calls[0]!;
    expect(path).toBe("/api/auth/logout");
    expect(init.headers).toEqual({ Accept: "application/json", "Content-Type": "application/json" });
    expect(init.body).toBe("{}");
  });

  test("that is refused says how and for how long", async () => {
    vi.stubGlobal("fetch", answer(429, { type: "urn:arasul:problem:locked", detail: "Later." }, { "Retry-After": "60" }));
    const err = await send("POST", "/x").catch((e: unknown) => e as ApiError);
    expect(err).toMatchObject({ status: 429, kind: "locked", wait: 60, message: "Later." });
  });

  test("without an answer is status 0", async () => {
    vi.stubGlobal("fetch", () => Promise.reject(new TypeError("network")));
    expect(await send("POST", "/x").catch((e: unknown) => e as ApiError)).toMatchObject({ status: 0 });
  });
});

describe("a problem in plain words", () => {
  test.each([
    [401, "invalid-credentials", "wrong"],
    [401, "", "signed-out"],
    [403, "https-required", "https"],
    [403, "", "forbidden"],
    [409, "", "done"],
    [422, "", "unfit"],
    [429, "", "wait"],
    [503, "", "away"],
    [0, "", "silent"],
    [500, "", "other"],
  ] as const)("%d %s is %s", (status, kind, want) => {
    expect(troubleOf(new ApiError(status, "", kind))).toBe(want);
    expect(words.de.troubles[want]).not.toBe("");
  });
});

describe("a wait", () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });

  test("is counted down by the clock, also when the browser slept", () => {
    const c = new Countdown();
    c.start(90);
    expect(c.left).toBe(90);
    vi.advanceTimersByTime(1000);
    expect(c.left).toBe(89);
    vi.setSystemTime(Date.now() + 60_000);
    vi.advanceTimersByTime(250);
    expect(c.left).toBe(29);
    vi.advanceTimersByTime(29_000);
    expect(c.left).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("of nothing is none", () => {
    const c = new Countdown();
    c.start(0);
    expect([c.left, vi.getTimerCount()]).toEqual([0, 0]);
  });
});

describe("a device is recognised by its browser's own words", () => {
  test.each([
    ["Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:146.0) Gecko/20100101 Firefox/146.0", "Firefox, Windows", "windows"],
    ["Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36 Edg/156.0.0.0", "Edge, Windows", "windows"],
    ["Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.1 Safari/605.1.15", "Safari, macOS", "macos"],
    ["Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/156.0 Mobile/15E148 Safari/604.1", "Chrome, iPhone", "ios"],
    ["Mozilla/5.0 (Linux; Android 16; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Mobile Safari/537.36", "Chrome, Android", "android"],
    ["Mozilla/5.0 (X11; Linux x86_64; rv:146.0) Gecko/20100101 Firefox/146.0", "Firefox, Linux", "linux"],
    ["curl/8.14.1", "curl/8.14.1", undefined],
    ["<script>alert(1)</script> x", "<script>alert(1)</script>", undefined],
    ["", "", undefined],
  ])("%s", (agent, name, system) => {
    expect(agentName(agent)).toBe(name);
    expect(systemOf(agent)).toBe(system);
  });
});

describe("log lines", () => {
  const line = (n: number): LogEntry => ({ time: new Date(n * 1000).toISOString(), unit: "u", severity: "info", message: "", cursor: "c" + n });

  test("are shown oldest first, each once, whichever way they came", () => {
    const want = [1, 2, 3].map(line);
    expect(sorted([3, 2, 1].map(line))).toEqual(want);
    expect(sorted([1, 2, 2, 3, 3].map(line))).toEqual(want);
    expect(sorted([])).toEqual([]);
  });

  test("are asked for by what was chosen, and by nothing that was not", () => {
    const all = { service: "", severity: "", lines: "200" };
    expect(logStream(all)).toBe("/api/logs/stream");
    expect(logDownload({ ...all, service: "n8n", severity: "err" })).toBe("/api/logs/download?service=n8n&severity=err");
    expect(logStream({ ...all, service: "a&b=c" })).toBe("/api/logs/stream?service=a%26b%3Dc");
  });
});

describe("a certificate", () => {
  const c = { not_before: "2026-01-01T00:00:00Z", not_after: "2026-03-31T00:00:00Z" };
  test.each([
    ["2025-12-31T23:59:59Z", "early"],
    ["2026-01-01T00:00:00Z", "valid"],
    ["2026-03-01T00:00:00Z", "valid"],
    ["2026-03-20T00:00:00Z", "soon"],
    ["2026-03-31T00:00:00Z", "over"],
  ])("at %s is %s", (now, want) => expect(validity(c, Date.parse(now))).toBe(want));
});

test("the picture of a second factor says what it should to a camera", () => {
  const uri = "otpauth://totp/Arasul:admin@arasul?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=Arasul";
  const { path, size } = picture(uri);
  const scale = 4;
  const width = size * scale;
  const data = new Uint8Array(width * width * 4).fill(255);
  for (const [, x, y] of path.matchAll(/M(\d+) (\d+)h1v1h-1z/g))
    for (let dy = 0; dy < scale; dy++)
      for (let dx = 0; dx < scale; dx++) data.fill(0, ((Number(y) * scale + dy) * width + Number(x) * scale + dx) * 4, ((Number(y) * scale + dy) * width + Number(x) * scale + dx) * 4 + 3);
  expect(decodeQR({ width, height: width, data })).toBe(uri);
});
