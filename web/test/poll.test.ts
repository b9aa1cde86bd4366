import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { poll } from "../src/lib/poll";

class Page extends EventTarget {
  hidden = false;
  show(seen: boolean) {
    this.hidden = !seen;
    this.dispatchEvent(new Event("visibilitychange"));
  }
}

let page: Page;
let asked: number;
beforeEach(() => {
  vi.useFakeTimers();
  page = new Page();
  asked = 0;
  vi.stubGlobal("document", page);
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});
const ask = async () => void asked++;
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

test("it asks at once, and again after the pause that is due then", async () => {
  let pause = 1000;
  const end = poll(() => pause, ask);
  expect(asked).toBe(1);
  pause = 5000;
  await pass(4999);
  expect(asked).toBe(1);
  await pass(1);
  expect(asked).toBe(2);
  end();
  await pass(60_000);
  expect(asked).toBe(2);
});

test("a page that nobody sees asks nothing, and at once when it is seen again", async () => {
  const end = poll(() => 1000, ask);
  await pass(0);
  page.show(false);
  await pass(60_000);
  expect(asked).toBe(1);
  page.show(true);
  await pass(0);
  expect(asked).toBe(2);
  await pass(1000);
  expect(asked).toBe(3);
  end();
  page.show(true);
  expect(asked).toBe(3);
});

test("while an answer is awaited nothing more is asked", async () => {
  let answer = () => {};
  const end = poll(
    () => 1000,
    () => new Promise<void>((done) => ((answer = done), asked++)),
  );
  await pass(30_000);
  page.show(true);
  expect(asked).toBe(1);
  answer();
  await pass(1000);
  expect(asked).toBe(2);
  end();
});
