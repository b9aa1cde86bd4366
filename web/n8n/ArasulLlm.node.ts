// Arasul LLM: asks a language model of this machine, once for each item.
import { ask } from "./gateway";
import type { Description, Execute, Item, LoadOptions } from "./n8n";

interface Options {
  temperature?: number;
  maxTokens?: number;
  json?: boolean;
  timeout?: number;
}

export class ArasulLlm {
  description: Description = {
    displayName: "Arasul LLM",
    name: "arasulLlm",
    icon: "fa:comment-dots",
    group: ["transform"],
    version: 1,
    subtitle: '={{$parameter["model"] || "the default model"}}',
    description: "Asks a language model on this machine",
    defaults: { name: "Arasul LLM" },
    inputs: ["main"],
    outputs: ["main"],
    credentials: [{ name: "arasulApi", required: true }],
    properties: [
      {
        displayName: "Model",
        name: "model",
        type: "options",
        default: "",
        description: "The one that is configured unless another is chosen",
        typeOptions: { loadOptionsMethod: "models" },
      },
      {
        displayName: "Prompt",
        name: "prompt",
        type: "string",
        default: "",
        required: true,
        placeholder: "Summarise in one sentence: {{ $json.text }}",
        typeOptions: { rows: 4 },
      },
      {
        displayName: "System Prompt",
        name: "system",
        type: "string",
        default: "",
        description: "How the model is to behave",
        typeOptions: { rows: 2 },
      },
      {
        displayName: "Options",
        name: "options",
        type: "collection",
        default: {},
        placeholder: "Add option",
        options: [
          { displayName: "Temperature", name: "temperature", type: "number", default: 0.7, typeOptions: { minValue: 0, maxValue: 2 } },
          { displayName: "Most Tokens", name: "maxTokens", type: "number", default: 1024, typeOptions: { minValue: 1 } },
          { displayName: "Answer Is JSON", name: "json", type: "boolean", default: false },
          { displayName: "Timeout (Seconds)", name: "timeout", type: "number", default: 300, typeOptions: { minValue: 1 } },
        ],
      },
    ],
  };

  methods = {
    loadOptions: {
      async models(this: LoadOptions) {
        const { data } = (await ask(this, "/v1/models", undefined, 10)) as { data?: { id: string }[] };
        return [{ name: "Default", value: "" }, ...(data ?? []).map((m) => ({ name: m.id, value: m.id }))];
      },
    },
  };

  async execute(this: Execute): Promise<Item[][]> {
    const out: Item[] = [];
    const items = this.getInputData();
    for (let i = 0; i < items.length; i++) {
      try {
        out.push({ json: await answer(this, i), pairedItem: { item: i } });
      } catch (err) {
        if (!this.continueOnFail()) throw err;
        out.push({ json: { error: (err as Error).message }, pairedItem: { item: i } });
      }
    }
    return [out];
  }
}

async function answer(context: Execute, i: number): Promise<Record<string, unknown>> {
  const text = (name: string) => String(context.getNodeParameter(name, i, "") ?? "");
  const options = (context.getNodeParameter("options", i, {}) ?? {}) as Options;
  if (text("prompt").trim() === "") throw new Error(`The prompt of item ${i} is empty.`);
  const messages = [{ role: "user", content: text("prompt") }];
  if (text("system") !== "") messages.unshift({ role: "system", content: text("system") });
  const started = Date.now();
  const reply = (await ask(
    context,
    "/v1/chat/completions",
    {
      ...(text("model") === "" ? {} : { model: text("model") }),
      messages,
      stream: false,
      ...(options.temperature === undefined ? {} : { temperature: options.temperature }),
      ...(options.maxTokens === undefined ? {} : { max_tokens: options.maxTokens }),
      ...(options.json ? { response_format: { type: "json_object" } } : {}),
    },
    options.timeout ?? 300,
  )) as { model?: string; choices?: { message?: { content?: string } }[]; usage?: { completion_tokens?: number } };
  const content = reply.choices?.[0]?.message?.content;
  if (content === undefined) throw new Error("The model answered in a form that is not understood.");
  return {
    text: content,
    ...(options.json ? { data: parsed(content) } : {}),
    model: reply.model ?? "",
    tokens: reply.usage?.completion_tokens ?? 0,
    seconds: (Date.now() - started) / 1000,
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error("The model's answer is not JSON. A smaller temperature may help, or a larger model.");
  }
}
