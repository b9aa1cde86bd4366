// The made-up appliance's models, workflows and set-up, as the real ones answer.

const iso = (ms) => new Date(ms).toISOString();

export function appsWorld(now) {
  return {
    models: [
      { name: "llama3.1:8b", back_end: "local", kind: "chat", size_bytes: 4_920_000_000, parameters: "8.0B", quantisation: "Q4_K_M", default: true, loaded: true, gpu_ratio: 1 },
      { name: "qwen3:32b", back_end: "rack", kind: "chat", size_bytes: 0, default: false, loaded: false },
      { name: "nomic-embed-text:latest", back_end: "local", kind: "embedding", size_bytes: 274_000_000, parameters: "137M", quantisation: "F16", default: true, loaded: false },
    ],
    tasks: [
      { id: "1-1", action: "pull", model: "gemma3:12b", kind: "chat", state: "running", phase: "fetching", done_bytes: 2_100_000_000, total_bytes: 8_100_000_000, started_at: iso(now - 90_000) },
      { id: "1-2", action: "pull", model: "nonsense", kind: "chat", state: "failed", done_bytes: 0, total_bytes: 0, error: "file does not exist", suggestion: "There is no model of this name", started_at: iso(now - 60_000), ended_at: iso(now - 59_000) },
    ],
    runs: [
      { number: 3, id: "12", workflow_id: "a", workflow: "Take a document in", status: "success", mode: "webhook", started_at: iso(now - 60_000), ended_at: iso(now - 58_600), duration_seconds: 1.4, source: "hook" },
      { number: 2, id: "11", workflow_id: "b", workflow: "Daily summary", status: "error", mode: "trigger", started_at: iso(now - 3_600_000), ended_at: iso(now - 3_599_000), duration_seconds: 1, error: "The service refused the connection - perhaps it is offline", failed_node: "HTTP Request", source: "hook" },
      { number: 1, id: "10", workflow_id: "c", workflow: "A very long one", status: "crashed", mode: "manual", source: "reconciled" },
    ],
    ai: {
      services: [{ name: "llm", unit: "arasul-llm.service", status: "up", models: [{ name: "llama3.1:8b", bytes: 6_400_000_000, gpu_bytes: 6_400_000_000, context_tokens: 8192 }] }],
      llm: engine("llama3.1:8b", { tokens_per_second: 31.4, first_token_seconds: 0.42 }),
      embeddings: engine("nomic-embed-text", { status: "degraded", reason: "no model is installed" }),
    },
    network: {
      interfaces: [
        { name: "eth0", up: true, addresses: ["192.168.1.20/24", "2001:db8:1:2:3a2b:1cff:fe4d:5e6f/64", "fe80::3a2b:1cff:fe4d:5e6f/64"] },
        { name: "wlan0", up: false, addresses: [] },
      ],
      default_route: true, dns: true, internet: true, mdns: "announced as arasul.local", mdns_name: "arasul.local",
    },
    images: [{ name: "embeddings", unit: "arasul-embeddings.service", reference: "docker.io/ollama/ollama:1", present: false, kept: false, reason: "there is no image for it yet", suggestion: "sudo arasul images pull embeddings" }],
    setup: {
      done: false,
      answers: { name: "arasul" },
      choices: {
        interfaces: [{ name: "eth0", up: true, addresses: ["192.168.1.20/24"] }, { name: "wlan0", up: true, addresses: ["192.168.1.21/24"] }],
        llm_models: [
          { name: "llama3.1:8b", size_bytes: 4_900_000_000, memory_bytes: 6_400_000_000, fits: true, installed: true },
          { name: "qwen3:32b", size_bytes: 20_000_000_000, memory_bytes: 24_000_000_000, fits: false, installed: false },
        ],
        embedding_models: [{ name: "nomic-embed-text", size_bytes: 274_000_000, memory_bytes: 500_000_000, fits: true, installed: false }],
      },
      report: {
        mode: "bootstrap", state: "running", version: "1", machine: "NVIDIA Jetson AGX Orin, JetPack 6.1", started_at: iso(now - 20_000), duration_seconds: 20, attempts: 1,
        steps: [
          { id: "disk", title: "Disk", state: "ok", detail: "1.0 TB, 588 GB free", duration_seconds: 0 },
          { id: "memory", title: "Memory", state: "warning", detail: "32 GB; 64 GB or more are recommended", suggestion: "Nothing needs to be done.", duration_seconds: 0 },
          { id: "image-minio", title: "Image of the object store", state: "failed", error: "there is no image for it yet", suggestion: "sudo arasul images pull minio", duration_seconds: 1 },
          { id: "model-llm", title: "Language model", state: "running", detail: "fetching", done: 2_000_000_000, total: 4_900_000_000, duration_seconds: 4 },
          { id: "buckets", title: "Buckets", state: "skipped", detail: "waits for: Object store", duration_seconds: 0 },
          { id: "smoke-llm", title: "Test: a prompt", state: "pending", duration_seconds: 0 },
        ],
      },
    },
  };
}

const engine = (model, change = {}) => ({
  status: "up", model, back_ends: [{ name: "local", kind: "ollama", status: "up", running: 0, requests_total: 1, failures_total: 0 }],
  queue: { running: 1, waiting: 2, limit: 64 }, requests_total: 1, failures_total: 0, ...change,
});

/** An answer, or undefined for what is not about applications. */
export function answerApps(w, route, url, body) {
  const ok = (b, status = 200) => ({ status, body: { ...b, timestamp: iso(Date.now()) } });
  switch (route) {
    case "GET /api/services/ai":
      return ok(w.ai);
    case "GET /api/system/network":
      return ok(w.network);
    case "GET /api/images":
      return ok({ images: w.images, podman: "4.9.3" });
    case "GET /api/llm/models":
      return ok({ models: w.models, tasks: w.tasks });
    case "POST /api/llm/models/pull":
      w.tasks.unshift({ id: "1-" + (w.tasks.length + 1), action: "pull", model: body.model, kind: body.kind, state: "running", done_bytes: 0, total_bytes: 0, started_at: iso(Date.now()) });
      return ok(w.tasks[0], 202);
    case "POST /api/llm/models/remove":
      w.models = w.models.filter((m) => m.name !== body.model);
      return ok({ id: "9-9", action: "remove", model: body.model, kind: body.kind, state: "done", done_bytes: 0, total_bytes: 0, started_at: iso(Date.now()) }, 202);
    case "POST /api/llm/models/tasks/1-1/cancel":
      w.tasks.find((t) => t.id === "1-1").state = "cancelled";
      return ok(w.tasks[0]);
    case "POST /api/llm/chat":
      if (w.chatDown) return { status: 503, headers: { "Retry-After": "5" }, body: { type: "urn:arasul:problem:model", status: 503, detail: "no server of models answers: systemctl status arasul-llm" } };
      return {
        stream(res) {
          res.writeHead(200, { "Content-Type": "application/x-ndjson" });
          if (w.chatBreaks) return setTimeout(() => (res.write(JSON.stringify({ message: { content: "Half of " } }) + "\n"), setTimeout(() => res.end(), 50)), 20);
          const said = ["You ", "said: ", body.messages.at(-1).content];
          w.chatting = true;
          const timer = setInterval(() => {
            if (w.chatSlow) return res.write(JSON.stringify({ message: { content: "and so on " } }) + "\n");
            const content = said.shift();
            if (content !== undefined) return res.write(JSON.stringify({ model: "m", message: { role: "assistant", content }, done: false }) + "\n");
            clearInterval(timer);
            res.end(JSON.stringify({ model: "m", message: { role: "assistant", content: "" }, done: true, eval_count: 30, eval_duration: 1e9 }) + "\n");
          }, 30);
          res.on("close", () => {
            clearInterval(timer);
            w.chatting = false;
          });
        },
      };
    case "GET /api/workflows/activity": {
      const status = url.searchParams.get("status");
      return ok({ executions: w.runs.filter((r) => !status || r.status === status), counts: { success: 1, error: 1, crashed: 1, canceled: 0, running: 0 } });
    }
    case "GET /api/setup":
      return ok(w.setup);
    case "POST /api/setup":
      {
        const errors = [];
        if (!/^[a-z0-9-]+$/.test(body.name)) errors.push({ message: `"${body.name}" has other characters than a to z, 0 to 9 and hyphen`, location: "body.name" });
        if (body.minio_password && body.minio_password.length < 8) errors.push({ message: "it has to have 8 to 40 characters", location: "body.minio_password" });
        if (errors.length > 0) return { status: 422, body: { type: "urn:arasul:problem:answers", status: 422, detail: "Not all answers can be.", errors } };
      }
      w.answered = body;
      w.setup = { ...w.setup, answers: { ...w.setup.answers, ...body, minio_user: undefined, minio_password: undefined } };
      return ok(w.setup, 202);
    case "POST /api/setup/bootstrap":
      return ok(w.setup, 202);
  }
  return undefined;
}

const report = (state, steps) => ({ mode: "bootstrap", state, version: "1", machine: "PC, no Jetson, no GPU", started_at: iso(Date.now() - 90_000), ended_at: iso(Date.now() - 20_000), duration_seconds: 70, attempts: 2, steps });

/** The states that these views can be in, by name: each changes what the made-up appliance knows. */
export const states = {
  onCPU: (a) => Object.assign(a.ai.services[0], { status: "degraded", reason: "llama3.1:8b runs on the CPU although there is a GPU", models: [{ name: "llama3.1:8b", bytes: 6_400_000_000, gpu_bytes: 0, context_tokens: 8192 }] }),
  noGateway: (a) => (a.ai = { services: [] }),
  nothing: (a) => {
    Object.assign(a, { models: [], tasks: [], runs: [] });
    a.images = ["llm", "embeddings"].map((name) => ({ name, unit: `arasul-${name}.service`, reference: "docker.io/ollama/ollama:1", present: false, kept: false, reason: "there is no image for it yet", suggestion: `sudo arasul images pull ${name}` }));
    for (const key of ["llm", "embeddings"]) a.ai[key] = engine("", { status: "down", reason: `arasul-${key}.service does not answer`, queue: { running: 0, waiting: 0, limit: 64 } });
    a.ai.services = [];
    Object.assign(a.network, { internet: false, default_route: false, mdns_name: undefined });
  },
  servers: (a) => (a.ai.llm = engine("llama3.1:8b", { status: "degraded", reason: "not all of its back ends are well", back_ends: [{ name: "local", status: "up" }, { name: "rack", status: "down" }] })),
  failed: (a) =>
    (a.setup.report = report("failed", [
      { id: "disk", title: "Disk", state: "ok", detail: "1.0 TB, 588 GB free", duration_seconds: 0 },
      { id: "image-n8n", title: "Image of n8n", state: "failed", error: "the licence of n8n was not accepted yet", suggestion: "Accept it above, or: sudo arasul images pull n8n --accept-licence", duration_seconds: 0 },
      { id: "n8n", title: "n8n", state: "skipped", detail: "waits for: Image of n8n", duration_seconds: 0 },
    ])),
  ready: (a) =>
    Object.assign(a.setup, {
      done: true,
      report: report("ok", [
        { id: "disk", title: "Disk", state: "ok", detail: "1.0 TB, 588 GB free", duration_seconds: 0 },
        { id: "smoke-llm", title: "Test: a prompt", state: "changed", detail: "an answer after 0.9 s", duration_seconds: 0.9 },
      ]),
    }),
};
