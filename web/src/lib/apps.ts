// What the dashboard answers about models, workflows and the set-up.

import type { components } from "../api";
import { ApiError, get, list, retryAfter, send } from "./api";

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

export function fetchActivity(status: string, before?: number): Promise<Activity> {
  const query = new URLSearchParams({ limit: "50" });
  if (status) query.set("status", status);
  if (before) query.set("before", String(before));
  return get<Activity>("/api/workflows/activity?" + query);
}

export const fetchSetup = () => get<Setup>("/api/setup");
export const answerSetup = (answers: Answers) => send<Setup>("POST", "/api/setup", answers);
export const checkAgain = () => send<Setup>("POST", "/api/setup/bootstrap");

export interface Message {
  role: "user" | "assistant";
  content: string;
}

/** How fast an answer was: tokens per second, and seconds until the first. */
export interface Speed {
  perSecond: number;
  first: number;
}

/**
 * Asks a language model and hands over its answer piece by piece. Ending the signal
 * ends the answer, on the appliance too.
 */
export async function chat(model: string, messages: Message[], piece: (text: string) => void, signal: AbortSignal): Promise<Speed | undefined> {
  const began = performance.now();
  const res = await fetch("/api/llm/chat", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...(model ? { model } : {}), messages }),
    signal,
  });
  if (!res.ok || !res.body) {
    const body = await res.json().catch(() => undefined);
    throw new ApiError(res.status, body?.detail ?? res.statusText, "", retryAfter(res.headers.get("Retry-After"), Date.now()));
  }
  let first = 0;
  let rest = "";
  const reader = res.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { value, done } = await reader.read();
    rest += value ?? "";
    const lines = rest.split("\n");
    rest = done ? "" : (lines.pop() ?? "");
    for (const line of lines) {
      if (!line.trim()) continue;
      const part = JSON.parse(line);
      if (part.error) throw new ApiError(502, String(part.error));
      if (part.message?.content) {
        first ||= performance.now() - began;
        piece(part.message.content);
      }
      if (part.done) {
        const seconds = (part.eval_duration ?? 0) / 1e9;
        return seconds > 0 ? { perSecond: (part.eval_count ?? 0) / seconds, first: first / 1000 } : undefined;
      }
    }
    if (done) return undefined;
  }
}
