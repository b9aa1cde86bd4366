// One request to the gateway, for both nodes.
import type { Execute, LoadOptions, Request } from "./n8n";

export const defaultAddress = "http://127.0.0.1:11440";

/** What a node asks, with an error that says what to do. */
export async function ask(context: Execute | LoadOptions, path: string, body?: unknown, seconds = 120): Promise<Record<string, unknown>> {
  const { baseUrl } = await context.getCredentials("arasulApi");
  const address = (typeof baseUrl === "string" && baseUrl !== "" ? baseUrl : defaultAddress).replace(/\/+$/, "");
  const request: Request = {
    method: body === undefined ? "GET" : "POST",
    url: address + path,
    json: true,
    timeout: seconds * 1000,
    headers: { "Arasul-Client": "n8n" },
    ...(body === undefined ? {} : { body }),
  };
  try {
    return (await context.helpers.httpRequest(request)) as Record<string, unknown>;
  } catch (err) {
    throw new Error(explain(err, address));
  }
}

interface Failure {
  message?: string;
  code?: string;
  response?: { status?: number; data?: { error?: { message?: string } | string; detail?: string } };
}

function explain(err: unknown, address: string): string {
  const e = err as Failure;
  const data = e.response?.data;
  const said = typeof data?.error === "string" ? data.error : (data?.error?.message ?? data?.detail);
  if (said !== undefined) return said;
  if (e.code === "ECONNREFUSED") return `The gateway to the models does not answer at ${address}: systemctl status arasul-ai`;
  if (e.code === "ECONNABORTED" || e.code === "ETIMEDOUT") return "The model did not answer in time. A large one takes minutes to be loaded: raise the node's timeout.";
  return e.message ?? "The request failed.";
}
