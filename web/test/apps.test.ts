import { expect, test } from "vitest";
import { stateOf, type Engine } from "../src/lib/apps";

const engine = (change: Partial<Engine> = {}): Engine => ({
  status: "up",
  model: "m",
  back_ends: [],
  queue: { running: 0, waiting: 0, limit: 64 },
  requests_total: 0,
  failures_total: 0,
  ...change,
});
type Own = NonNullable<Parameters<typeof stateOf>[1]>;
const own = (change: Partial<Own> = {}): Own => ({ name: "llm", unit: "arasul-llm.service", status: "up", models: [], ...change });

test("the healer, who looks at this machine, knows of a model that fell back to the processor", () => {
  const slow = own({ status: "degraded", reason: "llama3.1:8b runs on the CPU although there is a GPU" });
  expect(stateOf(engine(), slow)).toMatchObject({ status: "degraded", onCPU: "llama3.1:8b" });
});

test("an engine that is elsewhere is not down because nothing is installed here", () => {
  for (const status of ["down", "unknown"] as const) expect(stateOf(engine(), own({ status, reason: "not installed" })).status).toBe("up");
});

test("what the gateway says is wrong comes before what the healer sees", () => {
  const state = stateOf(engine({ status: "down", reason: "none of its back ends is well" }), own({ status: "degraded", reason: "slow" }));
  expect(state).toMatchObject({ status: "down", reason: "none of its back ends is well" });
});

test("without a gateway nothing is claimed", () => {
  expect(stateOf(undefined, own())).toEqual({ status: "unknown", reason: "", onCPU: undefined, gpu: undefined });
});

test("the share on the GPU is that of all that is loaded, and unknown when nothing is", () => {
  const model = (bytes: number, gpu_bytes: number) => ({ name: "m", bytes, gpu_bytes, context_tokens: 4096 });
  expect(stateOf(engine(), own({ models: [model(3, 3), model(1, 0)] })).gpu).toBe(0.75);
  expect(stateOf(engine(), own({ models: null })).gpu).toBeUndefined();
});
