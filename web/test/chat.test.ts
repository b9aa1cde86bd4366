import { expect, test } from "vitest";
import { ApiError, problemOf } from "../src/lib/api";
import { answer, BROKEN_OFF } from "../src/lib/chat";

const stream = (...parts: (string | Uint8Array<ArrayBuffer>)[]) => {
  const bytes = parts.map((p) => (typeof p === "string" ? new TextEncoder().encode(p) : p));
  return new ReadableStream<Uint8Array<ArrayBuffer>>({
    start(c) {
      bytes.forEach((b) => c.enqueue(b));
      c.close();
    },
  });
};
const said = (content: string) => JSON.stringify({ message: { role: "assistant", content }, done: false }) + "\n";
const end = JSON.stringify({ message: { content: "" }, done: true, eval_count: 30, eval_duration: 2e9 });

async function read(body: ReadableStream<Uint8Array<ArrayBuffer>>) {
  let text = "";
  const speed = await answer(body, (piece) => (text += piece), () => 420);
  return { text, speed };
}
const refused = async (body: ReadableStream<Uint8Array<ArrayBuffer>>) => {
  let text = "";
  const err = await answer(body, (piece) => (text += piece), () => 0).catch((e: unknown) => e);
  expect(err).toBeInstanceOf(ApiError);
  return { text, err: err as ApiError };
};

test("an answer is its pieces, with how fast they came", async () => {
  expect(await read(stream(said("one "), said("two"), end))).toEqual({ text: "one two", speed: { perSecond: 15, first: 0.42 } });
});

test("lines and letters may be cut anywhere", async () => {
  const bytes = new TextEncoder().encode(said("Käse 🧀 ") + "\n" + said("<b>") + end);
  for (const size of [1, 2, 3, 7]) {
    const parts = Array.from({ length: Math.ceil(bytes.length / size) }, (_, n) => bytes.slice(n * size, (n + 1) * size));
    expect((await read(stream(...parts))).text).toBe("Käse 🧀 <b>");
  }
});

test("an answer that ends before it is whole is told from one that is whole", async () => {
  const { text, err } = await refused(stream(said("half of ")));
  expect([text, err.kind]).toEqual(["half of ", BROKEN_OFF]);
  expect((await refused(stream(said("x"), '{"message":{"cont'))).err.kind).toBe(BROKEN_OFF);
  expect((await refused(stream())).err.kind).toBe(BROKEN_OFF);
});

test("a connection that breaks is an answer that broke off", async () => {
  const body = new ReadableStream<Uint8Array<ArrayBuffer>>({ start: (c) => c.error(new TypeError("network error")) });
  expect((await refused(body)).err.kind).toBe(BROKEN_OFF);
});

test("an error in the middle of an answer is told in its own words", async () => {
  const { err } = await refused(stream(said("x"), '{"error":"the model was unloaded"}\n'));
  expect([err.status, err.message, err.kind]).toEqual([502, "the model was unloaded", ""]);
});

test("what is said after the end is not heard, and the stream is given back", async () => {
  let cancelled = false;
  const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
    start: (c) => c.enqueue(new TextEncoder().encode(said("x") + end + "\n" + said("y"))),
    cancel: () => void (cancelled = true),
  });
  expect((await read(body)).text).toBe("x");
  await new Promise((done) => setTimeout(done));
  expect(cancelled).toBe(true);
});

test("a problem says what kind it is, how long to wait, and which field it is about", async () => {
  const body = { type: "urn:arasul:problem:answers", detail: "Not all.", errors: [{ message: "too short", location: "body.minio_user" }, { message: "odd" }] };
  const err = await problemOf(new Response(JSON.stringify(body), { status: 422, headers: { "Retry-After": "7" } }));
  expect([err.kind, err.message, err.wait, err.faults, err.fields]).toEqual(["answers", "Not all.", 7, ["too short", "odd"], { minio_user: "too short" }]);
  const bare = await problemOf(new Response("<html>", { status: 502, statusText: "Bad Gateway" }));
  expect([bare.kind, bare.message, bare.wait]).toEqual(["", "Bad Gateway", 0]);
});
