import { describe, expect, test } from "vitest";
import { formatFor, instant } from "../src/lib/format";

const en = formatFor("en-GB");
const de = formatFor("de-DE");
// What a reader sees; which kind of space keeps it together does not matter here.
const plain = (s: string) => s.replace(/\s/g, " ");

describe("duration", () => {
  test.each([
    [-5, "< 1 ms"],
    [0.4, "< 1 ms"],
    [12, "12 ms"],
    [999.4, "999 ms"],
    [999.6, "1 s"],
    [2104, "2.1 s"],
    [59_949, "59.9 s"],
    [59_960, "1 min"],
    [192_000, "3 min 12 s"],
    [3_599_600, "1 h"],
    [3 * 3_600_000 + 300_000, "3 h 5 min"],
    [86_400_000, "1 d"],
    [274_320_000, "3 d 4 h"],
  ])("%d ms is %s", (ms, want) => expect(plain(en.duration(ms))).toBe(want));

  test("is written with a comma in German", () => expect(plain(de.duration(2104))).toBe("2,1 s"));
});

describe("bytes", () => {
  test.each([
    [0, "0 B"],
    [999, "999 B"],
    [999.6, "1 kB"],
    [1000, "1 kB"],
    [86_700, "86.7 kB"],
    [999_499, "999 kB"],
    [999_600, "1 MB"],
    [65_893_158_912, "65.9 GB"],
    [1_000_204_886_016, "1 TB"],
    [5e18, "5,000 PB"],
  ])("%d is %s", (n, want) => expect(plain(en.bytes(n))).toBe(want));

  test("is written with a comma in German", () => expect(plain(de.rate(1_500_000))).toBe("1,5 MB/s"));
});

test("a moment ago is now, and never in the future", () => {
  expect(en.ago(-3000)).toBe("now");
  expect(en.ago(9000)).toBe("now");
  expect(en.ago(12_000)).toBe("12 seconds ago");
  expect(de.ago(12_000)).toBe("vor 12 Sekunden");
  expect(en.ago(2 * 86_400_000)).toBe("2 days ago");
});

test("another day is named", () => {
  const now = new Date(2026, 10, 23, 14, 3, 12).getTime();
  expect(en.when(now, now)).toBe("14:03:12");
  expect(en.when(now - 86_400_000, now)).toContain("22");
});

test("percent has no decimals", () => {
  expect(plain(en.percent(0.416))).toBe("42%");
  expect(plain(de.percent(0.416))).toBe("42 %");
});

test("instant reads nanoseconds and refuses what is no time", () => {
  expect(instant("2026-11-23T14:03:12.123456789Z")).toBe(Date.UTC(2026, 10, 23, 14, 3, 12, 123));
  expect(instant("0001-01-01T00:00:00Z")).toBeUndefined();
  expect(instant("yesterday")).toBeUndefined();
  expect(instant(undefined)).toBeUndefined();
});
