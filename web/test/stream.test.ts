import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { backoff, FIRST_WAIT, LONGEST_WAIT, OPEN_WITHIN, SILENCE, STEADY, Stream, type Link, type Socket } from "../src/lib/stream";

class FakeSocket implements Socket {
  onopen: Socket["onopen"] = null;
  onmessage: Socket["onmessage"] = null;
  onclose: Socket["onclose"] = null;
  closed = false;

  close() {
    this.closed = true;
  }
  open() {
    this.onopen?.({} as Event);
  }
  say(data: string) {
    this.onmessage?.({ data } as MessageEvent);
  }
  end() {
    this.onclose?.({} as CloseEvent);
  }
}

let sockets: FakeSocket[];
let links: Link[];
let heard: string[];
let stream: Stream;
const last = () => sockets.at(-1)!;

beforeEach(() => {
  vi.useFakeTimers();
  sockets = [];
  links = [];
  heard = [];
  stream = new Stream({
    dial: () => {
      const s = new FakeSocket();
      sockets.push(s);
      return s;
    },
    onLink: (l) => links.push(l),
    onMessage: (m) => heard.push(m),
    random: () => 1, // the whole wait
  });
});

afterEach(() => {
  stream.stop();
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
});

// fail ends the connection and returns the wait until the next attempt.
function fail(): number {
  last().end();
  const before = sockets.length;
  let waited = 0;
  while (sockets.length === before) {
    vi.advanceTimersByTime(1);
    waited++;
  }
  return waited;
}

test("passes on what it hears while it is live", () => {
  stream.start();
  last().open();
  last().say("one");
  expect(links).toEqual(["connecting", "live"]);
  expect(heard).toEqual(["one"]);
});

test("waits twice as long after each failure, up to ten seconds", () => {
  stream.start();
  const waits = Array.from({ length: 8 }, fail);
  expect(waits).toEqual([250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
});

test("begins with short waits again after a connection that held", () => {
  stream.start();
  fail();
  fail();
  last().open();
  vi.advanceTimersByTime(STEADY);
  expect(fail()).toBe(FIRST_WAIT);
});

test("keeps waiting longer when connections open but do not hold", () => {
  stream.start();
  fail();
  last().open();
  expect(fail()).toBe(2 * FIRST_WAIT);
});

test("gives up on a connection that does not open", () => {
  stream.start();
  vi.advanceTimersByTime(OPEN_WITHIN);
  expect(stream.link).toBe("waiting");
  expect(last().closed).toBe(true);
});

test("gives up on a connection that went silent", () => {
  stream.start();
  last().open();
  vi.advanceTimersByTime(SILENCE - 1);
  last().say("still here");
  vi.advanceTimersByTime(SILENCE - 1);
  expect(stream.link).toBe("live");
  vi.advanceTimersByTime(1);
  expect(stream.link).toBe("waiting");
});

test("wakes from a wait at once, and only from a wait", () => {
  stream.start();
  stream.wake();
  expect(sockets).toHaveLength(1);
  last().end();
  stream.wake();
  expect(sockets).toHaveLength(2);
});

test("does not hear a socket that it has left", () => {
  stream.start();
  const old = last();
  old.open();
  vi.advanceTimersByTime(SILENCE);
  stream.wake();
  old.say("late");
  old.end();
  expect(heard).toEqual([]);
  expect(stream.link).toBe("connecting");
});

test("stops during a wait", () => {
  stream.start();
  last().end();
  stream.stop();
  vi.advanceTimersByTime(60_000);
  expect(sockets).toHaveLength(1);
  expect(stream.link).toBe("stopped");
});

test("waits when dialling itself fails", () => {
  stream = new Stream({
    dial: () => {
      throw new SyntaxError("no such scheme");
    },
    onLink: (l) => links.push(l),
    onMessage: () => {},
  });
  stream.start();
  expect(links).toEqual(["connecting", "waiting"]);
});

describe("backoff", () => {
  test("stays between half and all of the doubled wait", () => {
    expect(backoff(0, 0)).toBe(FIRST_WAIT / 2);
    expect(backoff(0, 1)).toBe(FIRST_WAIT);
    expect(backoff(1000, 1)).toBe(LONGEST_WAIT);
  });
});
