// Samples as the charts need them: a rolling window, columns with gaps, and
// the averages that the text and the table speak of. Pure.

import { instant } from "./format";
import type { Sample } from "./api";

/** How much of the stream the page keeps, in milliseconds. */
export const WINDOW = 15 * 60_000;
/** A newest sample that is this much older than the one before says that the clock was set back. */
const SET_BACK = 60_000;

const at = (s: Sample) => instant(s.timestamp) ?? 0;

/** The samples of have and more in order, each once, no older than WINDOW before the newest. */
export function merge(have: readonly Sample[], more: readonly Sample[]): Sample[] {
  const byTime = new Map([...have, ...more].map((s) => [at(s), s]));
  const sorted = [...byTime].sort(([a], [b]) => a - b);
  const newest = sorted.at(-1)?.[0] ?? 0;
  return sorted.filter(([time]) => time > newest - WINDOW).map(([, s]) => s);
}

/** have with one new sample at its end; starts afresh when the appliance's clock was set back. */
export function append(have: readonly Sample[], sample: Sample): Sample[] {
  const last = have.at(-1);
  return last && at(sample) < at(last) - SET_BACK ? [sample] : merge(have, [sample]);
}

/** What a chart shows of a sample: percent, percent, °C, percent. */
const lines: ((s: Sample) => number | null)[] = [
  (s) => s.cpu_ratio * 100,
  (s) => memoryRatio(s) * 100,
  (s) => s.temperature_celsius ?? null,
  (s) => (s.gpu_utilisation_ratio === undefined ? null : s.gpu_utilisation_ratio * 100),
];

/** Columns for the chart: seconds since 1970, then a column per line. */
export type Columns = [number[], ...(number | null)[][]];

/** Puts a hole where samples are missing, so that no line is drawn across. */
export function columns(samples: readonly Sample[]): Columns {
  const times: number[] = [];
  const drawn: (number | null)[][] = lines.map(() => []);
  const gap = 3 * spacing(samples);
  for (const s of samples) {
    const t = at(s) / 1000;
    const before = times.at(-1);
    if (before !== undefined && t - before > gap) {
      times.push((before + t) / 2);
      drawn.forEach((column) => column.push(null));
    }
    times.push(t);
    drawn.forEach((column, i) => column.push(lines[i]!(s)));
  }
  return [times, ...drawn];
}

// spacing is the usual distance between two samples: the median, in seconds.
function spacing(samples: readonly Sample[]): number {
  const distances: number[] = [];
  for (let i = 1; i < samples.length; i++) distances.push((at(samples[i]!) - at(samples[i - 1]!)) / 1000);
  distances.sort((a, b) => a - b);
  return distances[distances.length >> 1] ?? Infinity;
}

export const memoryRatio = (s: Sample) => share(s.memory_used_bytes, s.memory_total_bytes);
/** Undefined without a GPU that has memory of its own, and of which this is known. */
export const gpuMemoryRatio = (s: Sample) =>
  s.gpu_memory_total_bytes ? share(s.gpu_memory_used_bytes ?? 0, s.gpu_memory_total_bytes) : undefined;
export const diskRatio = (s: Sample) => share(s.disk_used_bytes, s.disk_total_bytes);

const share = (part: number, whole: number) => (whole > 0 ? part / whole : 0);

export interface Stat {
  mean: number;
  max: number;
}

/** Mean and maximum of what pick finds; undefined when it finds nothing. */
export function stat(samples: readonly Sample[], pick: (s: Sample) => number | undefined): Stat | undefined {
  const values = samples.map(pick).filter((v) => v !== undefined);
  if (values.length === 0) return undefined;
  return { mean: values.reduce((a, b) => a + b, 0) / values.length, max: Math.max(...values) };
}

/** The samples in spans of step milliseconds, newest first, each with the time it begins at. */
export function spans(samples: readonly Sample[], step: number): { from: number; samples: Sample[] }[] {
  const groups = new Map<number, Sample[]>();
  for (const s of samples) {
    const from = Math.floor(at(s) / step) * step;
    const group = groups.get(from);
    if (group) group.push(s);
    else groups.set(from, [s]);
  }
  return [...groups].sort(([a], [b]) => b - a).map(([from, samples]) => ({ from, samples }));
}
