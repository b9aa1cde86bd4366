// A conversation with a language model: the answer is read as it comes.

import { ApiError, asApiError, problemOf } from "./api";

export interface Message {
  role: "user" | "assistant";
  content: string;
}

/** How fast an answer was: tokens per second, and seconds until the first. */
export interface Speed {
  perSecond: number;
  first: number;
}

/** The kind of the error of an answer that ended before it was whole. */
export const BROKEN_OFF = "broken-off";

/**
 * Asks a language model and hands over its answer piece by piece. Ending the signal
 * ends the answer, on the appliance too. Throws an ApiError when none comes, and one of
 * the kind BROKEN_OFF when it ends in the middle.
 */
export async function chat(model: string, messages: Message[], piece: (text: string) => void, signal: AbortSignal): Promise<Speed | undefined> {
  const began = performance.now();
  const res = await fetch("/api/llm/chat", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...(model ? { model } : {}), messages }),
    signal,
  });
  if (!res.ok || !res.body) throw await problemOf(res);
  return answer(res.body, piece, () => performance.now() - began);
}

/** Reads an answer in Ollama's form. since tells the milliseconds since it was asked for. */
export async function answer(body: ReadableStream<Uint8Array<ArrayBuffer>>, piece: (text: string) => void, since: () => number): Promise<Speed | undefined> {
  let first: number | undefined;
  for await (const line of lines(body)) {
    const part = parse(line);
    if (part.error) throw new ApiError(502, part.error);
    if (part.message?.content) {
      first ??= since();
      piece(part.message.content);
    }
    if (part.done) {
      const seconds = (part.eval_duration ?? 0) / 1e9;
      return seconds > 0 && first !== undefined ? { perSecond: (part.eval_count ?? 0) / seconds, first: first / 1000 } : undefined;
    }
  }
  throw new ApiError(502, "the answer ended before it was whole", BROKEN_OFF);
}

interface Part {
  message?: { content?: string };
  error?: string;
  done?: boolean;
  eval_count?: number;
  /** In nanoseconds. */
  eval_duration?: number;
}

function parse(line: string): Part {
  try {
    return JSON.parse(line) as Part;
  } catch {
    throw new ApiError(502, "the answer is not JSON", BROKEN_OFF);
  }
}

/** The lines of a stream that say something. Whoever stops reading ends the stream. */
async function* lines(body: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string> {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      const all = (rest + (value ?? "")).split("\n");
      rest = done ? "" : (all.pop() ?? "");
      yield* all.filter((line) => line.trim());
      if (done) return;
    }
  } catch (err) {
    throw asApiError(err, BROKEN_OFF);
  } finally {
    void reader.cancel().catch(() => {}); // it may have failed already
  }
}
