import { expect, test } from "vitest";
import type { Sample } from "../src/lib/api";
import { overall } from "../src/lib/overall";
import { append, columns, gpuMemoryRatio, memoryRatio, merge, spans, stat, WINDOW } from "../src/lib/series";

const start = Date.UTC(2026, 10, 23, 12);
const sample = (second: number, change: Partial<Sample> = {}) =>
  ({
    timestamp: new Date(start + second * 1000).toISOString(),
    cpu_ratio: 0.5,
    memory_total_bytes: 100,
    memory_used_bytes: 40,
    ...change,
  }) as Sample;
const seconds = (samples: Sample[]) => samples.map((s) => (Date.parse(s.timestamp) - start) / 1000);

test("history and stream become one series, each sample once and in order", () => {
  expect(seconds(merge([sample(0), sample(5), sample(10)], [sample(10), sample(5), sample(15)]))).toEqual([0, 5, 10, 15]);
});

test("only the last 15 minutes are kept", () => {
  const full = Array.from({ length: 400 }, (_, i) => sample(i * 5));
  expect(merge(full, [])).toHaveLength(WINDOW / 5000);
});

test("a clock that was set back starts the series afresh", () => {
  expect(seconds(append([sample(1000), sample(1005)], sample(5)))).toEqual([5]);
  expect(seconds(append([sample(0), sample(5)], sample(4)))).toEqual([0, 4, 5]);
});

test("a gap becomes a hole in the line", () => {
  const [times, cpu] = columns([sample(0), sample(5), sample(10), sample(60), sample(65)]);
  expect(times.map((t) => t - start / 1000)).toEqual([0, 5, 10, 35, 60, 65]);
  expect(cpu).toEqual([50, 50, 50, null, 50, 50]);
});

test("without a sensor there is no temperature, not zero", () => {
  expect(columns([sample(0), sample(5)])[3]).toEqual([null, null]);
  expect(stat([sample(0)], (s) => s.temperature_celsius)).toBeUndefined();
});

test("a machine without a GPU has no line of one, and one that shares its memory no share", () => {
  expect(columns([sample(0)])[4]).toEqual([null]);
  expect(columns([sample(0, { gpu_utilisation_ratio: 0.25 })])[4]).toEqual([25]);
  expect(gpuMemoryRatio(sample(0))).toBeUndefined();
  expect(gpuMemoryRatio(sample(0, { gpu_memory_total_bytes: 8, gpu_memory_used_bytes: 2 }))).toBe(0.25);
});

test("mean and maximum are those of the samples", () => {
  expect(stat([sample(0, { cpu_ratio: 0.2 }), sample(5, { cpu_ratio: 0.4 })], (s) => s.cpu_ratio)?.mean).toBeCloseTo(0.3);
});

test("a machine that reports no memory has none in use", () => {
  expect(memoryRatio(sample(0, { memory_total_bytes: 0 }))).toBe(0);
});

test("table rows are spans, newest first", () => {
  const rows = spans([sample(0), sample(30), sample(60)], 60_000);
  expect(rows.map((r) => [(r.from - start) / 1000, r.samples.length])).toEqual([
    [60, 1],
    [0, 2],
  ]);
});

test("what was said long ago no longer counts when the connection is gone", () => {
  const status = { status: "OK" } as Parameters<typeof overall>[0];
  expect(overall(status, "live", 60_000)).toBe("ok");
  expect(overall(status, "waiting", 4000)).toBe("ok");
  expect(overall(status, "waiting", 6000)).toBe("unknown");
  expect(overall(undefined, "connecting", 0)).toBe("loading");
});
