// Arasul Embeddings: makes vectors of texts, many items with one request.
import { ask } from "./gateway";
import type { Description, Execute, Item } from "./n8n";

export class ArasulEmbeddings {
  description: Description = {
    displayName: "Arasul Embeddings",
    name: "arasulEmbeddings",
    icon: "fa:project-diagram",
    group: ["transform"],
    version: 1,
    description: "Makes vectors of texts, on this machine",
    defaults: { name: "Arasul Embeddings" },
    inputs: ["main"],
    outputs: ["main"],
    credentials: [{ name: "arasulApi", required: true }],
    properties: [
      {
        displayName: "Text",
        name: "text",
        type: "string",
        default: "={{ $json.text }}",
        required: true,
        description: "Of each item",
      },
      { displayName: "Model", name: "model", type: "string", default: "", description: "The one that is configured unless another is named" },
      {
        displayName: "Texts per Request",
        name: "batch",
        type: "number",
        default: 64,
        typeOptions: { minValue: 1, maxValue: 512 },
      },
    ],
  };

  async execute(this: Execute): Promise<Item[][]> {
    const items = this.getInputData();
    if (items.length === 0) return [[]];
    const batch = Math.min(512, Math.max(1, Number(this.getNodeParameter("batch", 0, 64)) || 64));
    const out: Item[] = [];
    for (let from = 0; from < items.length; from += batch) {
      const part = items.slice(from, from + batch);
      try {
        out.push(...(await vectors(this, part, from)));
      } catch (err) {
        if (!this.continueOnFail()) throw err;
        out.push(...part.map((item, i) => ({ json: { ...item.json, error: (err as Error).message }, pairedItem: { item: from + i } })));
      }
    }
    return [out];
  }
}

async function vectors(context: Execute, items: Item[], from: number): Promise<Item[]> {
  const input = items.map((_, i) => String(context.getNodeParameter("text", from + i, "") ?? ""));
  const empty = input.findIndex((t) => t.trim() === "");
  if (empty >= 0) throw new Error(`The text of item ${from + empty} is empty.`);
  const model = String(context.getNodeParameter("model", 0, "") ?? "");
  const reply = (await ask(context, "/v1/embeddings", { input, ...(model === "" ? {} : { model }) })) as {
    model?: string;
    data?: { index: number; embedding: number[] }[];
  };
  const data = [...(reply.data ?? [])].sort((a, b) => a.index - b.index);
  if (data.length !== items.length) throw new Error(`${items.length} texts were sent, and ${data.length} vectors came back.`);
  return items.map((item, i) => ({
    json: { ...item.json, embedding: data[i]!.embedding, dimensions: data[i]!.embedding.length, model: reply.model ?? "" },
    pairedItem: { item: from + i },
  }));
}
