// What the dashboard answers about models, workflows and the set-up.

import type { components } from "../api";
import { get, list, send } from "./api";

type Schemas = components["schemas"];
export type Engine = Schemas["Engine"];
export type InstalledModel = Schemas["InstalledModel"];
export type ModelTask = Schemas["ModelTask"];
export type Execution = Schemas["Execution"];
export type Activity = Schemas["WorkflowActivity"];
export type Setup = Schemas["Setup"];
export type Answers = Schemas["Answers"];
export type Report = Schemas["Report"];
export type ModelChoice = Schemas["ModelChoice"];
export type Image = Schemas["Image"];

export const fetchAI = () => get<Schemas["AIServices"]>("/api/services/ai");

export const fetchImages = async () => list((await get<Schemas["ImageList"]>("/api/images")).images);

export async function fetchModels(): Promise<{ models: InstalledModel[]; tasks: ModelTask[] }> {
  const all = await get<Schemas["ModelList"]>("/api/llm/models");
  return { models: list(all.models), tasks: list(all.tasks) };
}

export const pullModel = (model: string, kind: string) => send("POST", "/api/llm/models/pull", { model, kind });
export const removeModel = (model: string, kind: string) => send("POST", "/api/llm/models/remove", { model, kind });
export const cancelTask = (id: string) => send("POST", `/api/llm/models/tasks/${encodeURIComponent(id)}/cancel`);

/** How many runs are asked for at once. */
export const PAGE = 50;

export function fetchActivity(status: string, before?: number): Promise<Activity> {
  const query = new URLSearchParams({ limit: String(PAGE) });
  if (status) query.set("status", status);
  if (before) query.set("before", String(before));
  return get<Activity>("/api/workflows/activity?" + query);
}

export const fetchNetwork = () => get<Schemas["Network"]>("/api/system/network");

export const fetchSetup = () => get<Setup>("/api/setup");
export const answerSetup = (answers: Answers) => send<Setup>("POST", "/api/setup", answers);
export const checkAgain = () => send<Setup>("POST", "/api/setup/bootstrap");

/** How an engine does, by the gateway, which asks all of its servers, and by the healer, which looks at this machine's own. */
export interface EngineState {
  status: Engine["status"];
  /** Why it is not up, in the appliance's words. */
  reason: string;
  /** The model that is slow because it does not run on the GPU that there is. */
  onCPU: string | undefined;
  /** How much of what is loaded is on a GPU, 0 to 1; undefined when nothing is. */
  gpu: number | undefined;
}

/** The healer's words for it, in pkg/ollama. */
const ON_CPU = /^(.+) runs on the CPU although there is a GPU$/;

export function stateOf(engine: Engine | undefined, own: Schemas["AIService"] | undefined): EngineState {
  // What is up by the gateway may be up elsewhere: only what is seen to be wrong here counts against it.
  const healer = own && engine?.status === "up" && own.status === "degraded";
  const { status, reason = "" } = (healer ? own : engine) ?? { status: "unknown" as const };
  const loaded = list(own?.models);
  const bytes = loaded.reduce((sum, m) => sum + m.bytes, 0);
  return {
    status,
    reason,
    onCPU: ON_CPU.exec(reason)?.[1],
    gpu: bytes > 0 ? loaded.reduce((sum, m) => sum + m.gpu_bytes, 0) / bytes : undefined,
  };
}
