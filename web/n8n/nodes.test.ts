import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server } from "node:http";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test, vi } from "vitest";
import { ArasulApi } from "./ArasulApi.credentials";
import { ArasulEmbeddings } from "./ArasulEmbeddings.node";
import { ArasulLlm } from "./ArasulLlm.node";
import { describe as described } from "./executions";
import type { Execute, Item, Request } from "./n8n";

/** What n8n gives a node: items, parameters, and a way to ask. */
function context(items: Item[], parameters: Record<string, unknown>, reply: (r: Request) => unknown, goOn = false) {
  const asked: Request[] = [];
  return {
    asked,
    getInputData: () => items,
    getNodeParameter: (name: string, i: number, fallback?: unknown) => {
      const v = parameters[name];
      return typeof v === "function" ? (v as (i: number) => unknown)(i) : (v ?? fallback);
    },
    getCredentials: async () => ({ baseUrl: "http://gateway/" }),
    getNode: () => ({ name: "test" }),
    continueOnFail: () => goOn,
    helpers: {
      httpRequest: async (r: Request) => {
        asked.push(r);
        return reply(r);
      },
    },
  } satisfies Execute & { asked: Request[] };
}

const texts = (...all: string[]): Item[] => all.map((text) => ({ json: { text } }));

// Proves N8N-1: many texts are one request, and each item gets its own vector.
test("embeddings are made in batches, and in order", async () => {
  const c = context(texts("a", "b", "c"), { text: (i: number) => "abc"[i], batch: 2 }, (r) => ({
    model: "m",
    data: (r.body as { input: string[] }).input.map((t, index) => ({ index, embedding: [t.charCodeAt(0)] })).reverse(),
  }));
  const [out] = await new ArasulEmbeddings().execute.call(c);
  expect(out!.map((i) => i.json["embedding"])).toEqual([[97], [98], [99]]);
  expect(out!.map((i) => i.pairedItem?.item)).toEqual([0, 1, 2]);
  expect(c.asked.map((r) => [r.url, (r.body as { input: string[] }).input])).toEqual([
    ["http://gateway/v1/embeddings", ["a", "b"]],
    ["http://gateway/v1/embeddings", ["c"]],
  ]);
});

test("an empty text is named", async () => {
  const c = context(texts("a", " "), { text: (i: number) => ["a", " "][i] }, () => ({ data: [] }));
  await expect(new ArasulEmbeddings().execute.call(c)).rejects.toThrow("The text of item 1 is empty.");
});

// Proves N8N-1: a language model is asked for each item.
test("the model is asked for each item", async () => {
  const c = context(texts("x", "y"), { prompt: (i: number) => "p" + i, system: "be brief", options: { temperature: 0, maxTokens: 5 } }, () => ({
    model: "m",
    choices: [{ message: { content: "yes" } }],
    usage: { completion_tokens: 1 },
  }));
  const [out] = await new ArasulLlm().execute.call(c);
  expect(out).toHaveLength(2);
  expect(out![0]!.json).toMatchObject({ text: "yes", model: "m", tokens: 1 });
  expect(c.asked[1]!.body).toEqual({
    messages: [
      { role: "system", content: "be brief" },
      { role: "user", content: "p1" },
    ],
    stream: false,
    temperature: 0,
    max_tokens: 5,
  });
});

test("an answer that is to be JSON is parsed, or refused", async () => {
  const ask = (content: string) =>
    new ArasulLlm().execute.call(context(texts("x"), { prompt: "p", options: { json: true } }, () => ({ choices: [{ message: { content } }] })));
  expect((await ask('{"a":1}'))[0]![0]!.json["data"]).toEqual({ a: 1 });
  await expect(ask("no")).rejects.toThrow("not JSON");
});

test("what the gateway says is what the author reads", async () => {
  const failing = (err: object) => () => {
    throw err;
  };
  const say = async (err: object) => {
    const c = context(texts("x"), { prompt: "p" }, failing(err), true);
    return (await new ArasulLlm().execute.call(c))[0]![0]!.json["error"];
  };
  expect(await say({ response: { status: 404, data: { error: { message: "model x is not installed" } } } })).toBe("model x is not installed");
  expect(await say({ code: "ECONNREFUSED" })).toContain("systemctl status arasul-ai");
  expect(await say({ code: "ECONNABORTED" })).toContain("raise the node's timeout");
});

test("the credentials lead to this machine", () => {
  expect(new ArasulApi().properties[0]!.default).toBe("http://127.0.0.1:11440");
});

const running: Server[] = [];
afterEach(() => {
  for (const s of running.splice(0)) s.close();
  vi.unstubAllEnvs();
});

/** A dashboard that takes runs, after it refused the first few. */
function dashboard(refuse: number): { socket: string; got: Promise<{ id: string; status: string }[]> } {
  const socket = join(mkdtempSync(join(tmpdir(), "hook-")), "s");
  const got = new Promise<{ id: string; status: string }[]>((done) => {
    const all: { id: string; status: string }[] = [];
    const server = createServer((r: IncomingMessage, w) => {
      let body = "";
      r.on("data", (d) => (body += d));
      r.on("end", () => {
        w.statusCode = refuse-- > 0 ? 503 : 204;
        if (w.statusCode === 204) all.push(...JSON.parse(body));
        w.end();
        if (all.length === 3) done(all);
      });
    });
    server.listen(socket);
    running.push(server);
  });
  return { socket, got };
}

// Proves N8N-2: a run is told, also when the dashboard is away for a moment, and
// the hook neither waits nor throws.
test("runs reach the dashboard, in order, once it answers", async () => {
  const { socket, got } = dashboard(1);
  vi.stubEnv("ARASUL_EXECUTIONS_SOCKET", socket);
  vi.resetModules();
  const { workflow } = await import("./executions");
  const hook = workflow.postExecute[0]!;
  for (const n of [1, 2, 3]) {
    expect(hook({ status: n === 2 ? "error" : "success", mode: "webhook", startedAt: new Date(0), data: n === 2 ? { resultData: { error: { message: "no", node: { name: "X" } } } } : {} }, { id: "w", name: "W" }, String(n))).toBeUndefined();
  }
  expect((await got).map((e) => [e.id, e.status])).toEqual([
    ["1", "success"],
    ["2", "error"],
    ["3", "success"],
  ]);
});

test("the hook survives whatever it is given", async () => {
  const { workflow } = await import("./executions");
  const circle: Record<string, unknown> = {};
  circle["self"] = circle;
  for (const bad of [undefined, null, {}, circle, { data: { resultData: { error: { message: circle } } } }, { startedAt: "never" }]) {
    expect(() => workflow.postExecute[0]!(bad as never, bad as never, bad)).not.toThrow();
  }
});

test("errors are cut to what the dashboard takes", () => {
  const e = described({ data: { resultData: { error: { message: "x".repeat(5000) } } } }, {}, 1) as { error: string; status: string };
  expect(e.error).toHaveLength(1000);
  expect(e.status).toBe("error");
});

// n8n finds a node by the name of its file.
test("files are called as n8n wants", () => {
  for (const [file, name] of [
    ["ArasulLlm.node.ts", "ArasulLlm"],
    ["ArasulEmbeddings.node.ts", "ArasulEmbeddings"],
    ["ArasulApi.credentials.ts", "ArasulApi"],
  ] as const) {
    expect(readFileSync(join(import.meta.dirname, file), "utf8")).toContain(`export class ${name} {`);
  }
});
