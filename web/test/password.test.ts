import { describe, expect, test } from "vitest";
import { check, setupCode, type Requirements } from "../src/lib/password";

const strict: Requirements = { min_length: 12, max_bytes: 72, upper: true, lower: true, digit: true, special: true, history: 5 };
const unmet = (password: string, r = strict) => check(password, r).flatMap((x) => (x.met ? [] : x.rule));

// Proves AUTH-3.
describe("says what a password lacks", () => {
  test.each([
    ["", ["min_length", "upper", "lower", "digit", "special"]],
    ["Correct-Horse-7", []],
    ["correct-horse-7", ["upper"]],
    ["CORRECT-HORSE-7", ["lower"]],
    ["Correct-Horse-x", ["digit"]],
    ["CorrectHorse77", ["special"]],
    ["Aa1-", ["min_length"]],
    ["Äöü-1234-Größe", []],
    ["Straße 12 Bonn", []],
    ["Aa1-😀😀😀😀", ["min_length"]], // eight characters, not twelve
    ["Aa1-" + "x".repeat(68), []], // 72 bytes
    ["Aa1-" + "x".repeat(69), ["max_bytes"]],
    ["Aa1-" + "ä".repeat(35), ["max_bytes"]], // 39 characters, 74 bytes
  ])("%j", (password, want) => expect(unmet(password)).toEqual(want));

  test("and nothing that is not required", () => {
    expect(unmet("", { ...strict, min_length: 0, upper: false, lower: false, digit: false, special: false })).toEqual([]);
  });
});

describe("reads a setup code as people type it", () => {
  test.each([
    ["K7QM-2X9D-PA4V", "K7QM-2X9D-PA4V"],
    [" k7qm2x9dpa4v ", "K7QM-2X9D-PA4V"],
    ["k7qm 2x9d pa4v", "K7QM-2X9D-PA4V"],
    ["k7qm–2x9d–pa4v", "K7QM-2X9D-PA4V"],
    ["OIl0-0000-0000", "0110-0000-0000"],
    ["k7", "K7"],
    ["", ""],
  ])("%j", (typed, want) => expect(setupCode(typed)).toBe(want));
});
