// Fails when the first view is heavier than agreed: 80 kB, gzipped.

import { readdirSync, statSync } from "node:fs";

const BUDGET = 80_000;
const dist = new URL("../dist/", import.meta.url);
const files = readdirSync(dist, { recursive: true }).filter((name) => name.endsWith(".gz"));
const sizes = files.map((name) => [name, statSync(new URL(name, dist)).size]);
const total = sizes.reduce((sum, [, size]) => sum + size, 0);
for (const [name, size] of sizes) console.log(String(size).padStart(8), name);
console.log(String(total).padStart(8), `of ${BUDGET} bytes`);
if (total === 0 || total > BUDGET) process.exit(1);
