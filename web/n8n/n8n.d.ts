// What of n8n's types these nodes use. n8n's own package of them is 40 MB, and its
// loader looks at nothing but names.

export interface Item {
  json: Record<string, unknown>;
  pairedItem?: { item: number };
  [key: string]: unknown;
}

export interface Request {
  method: "GET" | "POST";
  url: string;
  body?: unknown;
  json: true;
  headers?: Record<string, string>;
  timeout?: number;
}

interface Context {
  getCredentials(name: string): Promise<{ baseUrl?: unknown }>;
  getNode(): { name: string };
  helpers: { httpRequest(request: Request): Promise<unknown> };
}

export type LoadOptions = Context;

export interface Execute extends Context {
  getInputData(): Item[];
  getNodeParameter(name: string, item: number, fallback?: unknown): unknown;
  continueOnFail(): boolean;
  getExecutionCancelSignal?(): AbortSignal | undefined;
}

export interface Property {
  displayName: string;
  name: string;
  type: "string" | "number" | "boolean" | "options" | "collection";
  default: unknown;
  description?: string;
  placeholder?: string;
  required?: boolean;
  options?: unknown[];
  typeOptions?: Record<string, unknown>;
}

export interface Description {
  displayName: string;
  name: string;
  icon: string;
  group: string[];
  version: number;
  subtitle?: string;
  description: string;
  defaults: { name: string };
  inputs: string[];
  outputs: string[];
  credentials: { name: string; required: boolean }[];
  properties: Property[];
}
