// A hook of n8n's: tells the dashboard of each run that ended.
//
// n8n waits for what a hook returns, and a hook that throws turns a good run into
// a failed one. So this one does neither: it puts a few words into a list in
// memory and returns. What the list loses, when n8n dies or the dashboard is away
// for long, the dashboard finds in n8n's database.
import { request } from "node:http";

const socket = process.env.ARASUL_EXECUTIONS_SOCKET ?? "/run/arasul/n8n/executions.sock";
const most = 1000; // runs that wait
const atOnce = 100;
const limit = 2000; // milliseconds

interface Run {
  status?: string;
  mode?: string;
  finished?: boolean;
  startedAt?: Date | string;
  stoppedAt?: Date | string;
  data?: { resultData?: { error?: { message?: unknown; node?: { name?: unknown } }; lastNodeExecuted?: unknown } };
}

interface Workflow {
  id?: unknown;
  name?: unknown;
}

let waiting: object[] = [];
let busy = false;
let pause = 0;

function iso(at: Date | string | undefined): string | undefined {
  if (at === undefined) return undefined;
  const date = new Date(at);
  return Number.isNaN(date.getTime()) ? undefined : date.toISOString();
}

const words = (v: unknown, length: number) => (v === undefined || v === null ? "" : String(v).slice(0, length));

export function describe(run: Run, workflow: Workflow, id: unknown): object {
  const error = run.data?.resultData?.error;
  const started = iso(run.startedAt);
  const ended = iso(run.stoppedAt) ?? new Date().toISOString();
  return {
    id: words(id, 64),
    workflow_id: words(workflow.id, 64),
    workflow: words(workflow.name, 200),
    status: run.status ?? (error ? "error" : run.finished ? "success" : "running"),
    mode: words(run.mode, 32),
    ...(started === undefined ? {} : { started_at: started }),
    ended_at: ended,
    error: words(error?.message, 1000),
    failed_node: error === undefined ? "" : words(error.node?.name ?? run.data?.resultData?.lastNodeExecuted, 200),
  };
}

function send(): void {
  if (busy || waiting.length === 0) return;
  busy = true;
  const part = waiting.slice(0, atOnce);
  const body = JSON.stringify(part);
  let over = false;
  const done = (well: boolean) => {
    if (over) return;
    over = true;
    busy = false;
    if (well) {
      waiting = waiting.slice(part.length);
      pause = 0;
    } else {
      pause = Math.min(60_000, Math.max(1000, pause * 2));
    }
    setTimeout(send, pause).unref();
  };
  const r = request(
    {
      socketPath: socket,
      path: "/executions",
      method: "POST",
      timeout: limit,
      headers: { Host: "arasul", "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) },
    },
    (answer) => {
      answer.resume();
      // What is refused as nonsense will not be taken the next time, either.
      answer.on("end", () => done(answer.statusCode !== undefined && answer.statusCode < 500 && answer.statusCode !== 429));
      answer.on("error", () => done(false));
    },
  );
  r.on("timeout", () => r.destroy());
  r.on("error", () => done(false));
  r.end(body);
}

function ended(run: Run, workflow: Workflow, id: unknown): void {
  try {
    if (waiting.length >= most) waiting.shift();
    waiting.push(describe(run, workflow, id));
    setImmediate(send);
  } catch {
    // Whatever it was, the run must not suffer from it.
  }
}

export const workflow = { postExecute: [ended] };
