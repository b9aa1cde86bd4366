import { expect, test } from "vitest";
import { SLICE, stepsAt, upload, type Send } from "../src/lib/updates";
import { refusal } from "../src/lib/updates-words";

const size = 2 * SLICE + 5;
const file = new Blob([new Uint8Array(size)]);
const say = (status: number, body: object) => new Response(JSON.stringify(body), { status });
const at = (received_bytes: number) => say(received_bytes === size ? 201 : 202, { received_bytes, complete: received_bytes === size });

/** Sends file to answers, and gives where each slice began. */
async function sendTo(answers: (Response | Error)[], signal = new AbortController().signal) {
  const begins: number[] = [];
  const seen: number[] = [];
  const send: Send = async (slice, from) => {
    begins.push(from);
    const answer = answers.shift();
    if (!answer) throw new Error("one slice too many");
    if (answer instanceof Error) throw answer;
    expect(slice.size).toBe(Math.min(SLICE, size - from));
    return answer;
  };
  const done = await upload(file, (n) => seen.push(n), signal, send, 0).catch((err: unknown) => err);
  return { begins, seen, done };
}

// Proves UPD-7.
test("a file goes slice by slice", async () => {
  const { begins, seen, done } = await sendTo([at(SLICE), at(2 * SLICE), at(size)]);
  expect(begins).toEqual([0, SLICE, 2 * SLICE]);
  expect(seen).toEqual([SLICE, 2 * SLICE, size]);
  expect(done).toMatchObject({ complete: true });
});

test("what was received before is not sent again", async () => {
  const { begins } = await sendTo([say(409, { received_bytes: 2 * SLICE }), at(size)]);
  expect(begins).toEqual([0, 2 * SLICE]);
});

test("a connection that breaks, a proxy that has nobody and a limit are waited out", async () => {
  const { begins } = await sendTo([at(SLICE), new TypeError("network"), say(502, {}), say(429, {}), at(2 * SLICE), at(size)]);
  expect(begins).toEqual([0, SLICE, SLICE, SLICE, SLICE, 2 * SLICE]);
});

test("a line that brings a part of each slice is slow, and no failure", async () => {
  const parts = Array.from({ length: 80 }, (_, i) => (i % 2 ? say(409, { received_bytes: (i + 1) * 1000 }) : say(503, {})));
  const { begins, done } = await sendTo([...parts, say(409, { received_bytes: 2 * SLICE }), at(size)]);
  expect(begins.length).toBe(82);
  expect(done).toMatchObject({ complete: true });
});

test("a refusal ends it, with what to do", async () => {
  const { done } = await sendTo([at(SLICE), say(422, { code: "corrupt", detail: "it is damaged", hint: "copy it again" })]);
  expect(done).toMatchObject({ code: "corrupt", message: "it is damaged", hint: "copy it again" });
});

test("a full disk is a refusal and not waited out", async () => {
  const { done } = await sendTo([say(507, { code: "no-space", detail: "no space" })]);
  expect(done).toMatchObject({ code: "no-space" });
});

test("it is given up at last, and at once when told to", async () => {
  const { begins } = await sendTo(Array.from({ length: 40 }, () => new TypeError("network")));
  expect(begins.length).toBe(31);
  const stop = new AbortController();
  stop.abort();
  expect((await sendTo([new TypeError("aborted")], stop.signal)).begins.length).toBe(1);
});

test("while the dashboard is away the steps go on with the progress", () => {
  const known = ["preflight:done", "load:running", "install:pending", "start:pending"].map((s) => {
    const [name = "", state = ""] = s.split(":");
    return { name, state };
  });
  const shown = (step: string, back = false) => stepsAt(known as never, { id: "", to: "", percent: 0, step, back }).map((s) => s.state);
  expect(shown("load")).toEqual(["done", "running", "pending", "pending"]);
  expect(shown("install")).toEqual(["done", "done", "running", "pending"]);
  expect(shown("")).toEqual(["done", "running", "pending", "pending"]);
  expect(shown("load", true)).toEqual([]);
});

test("a refusal is said in the reader's language, with what is missing", () => {
  const said = { code: "not-ready", message: "Depends: podman", hint: "Install it." };
  expect(refusal("en", said)).toEqual({ text: "Depends: podman", hint: "Install it." });
  expect(refusal("de", said).text).toMatch(/fehlt ein Paket/);
  expect(refusal("de", said).hint).toMatch(/apt.*Depends: podman$/);
  expect(refusal("de", { code: "unheard-of", message: "as it is" })).toEqual({ text: "as it is", hint: "" });
});
