// Fails when the first view is heavier than agreed: 80 kB, gzipped. The first
// view is index.html and what it names, directly or by an import that is not lazy.

import { readdirSync, readFileSync, statSync } from "node:fs";

const BUDGET = 80_000;
const dist = new URL("../dist/", import.meta.url);
const files = readdirSync(dist, { recursive: true }).filter((name) => name.endsWith(".gz")).map((name) => name.slice(0, -3));
const size = (name) => statSync(new URL(name + ".gz", dist)).size;

const first = new Set();
function add(name) {
  if (first.has(name) || !files.includes(name)) return;
  first.add(name);
  const text = readFileSync(new URL(name, dist), "utf8");
  if (name.endsWith(".html")) for (const [, asset] of text.matchAll(/"\/(assets\/[^"]+)"/g)) add(asset);
  // import"./x.js", from"./x.js"; a lazy one is import("./x.js").
  if (name.endsWith(".js")) for (const [, chunk] of text.matchAll(/(?:\bfrom|\bimport)\s*["'`]\.\/([^"'`]+)["'`]/g)) add("assets/" + chunk);
}
add("index.html");
for (const icon of files.filter((name) => /icon-.*\.svg$/.test(name))) add(icon);

const total = [...first].reduce((sum, name) => sum + size(name), 0);
for (const name of [...files].sort((a, b) => first.has(b) - first.has(a))) console.log(String(size(name)).padStart(8), name, first.has(name) ? "" : "(lazy)");
console.log(String(total).padStart(8), `of ${BUDGET} bytes`);
if (![...first].some((name) => name.endsWith(".js")) || total > BUDGET) process.exit(1);
