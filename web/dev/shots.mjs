// A development aid, never shipped: pictures of the page in its states, to be
// looked at. Usage: node dev/shots.mjs FOLDER

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { launch, open } from "./browser.mjs";
import { gpu, incident, overload, serve, world } from "./server.mjs";

const folder = process.argv[2] ?? "shots";
await mkdir(folder, { recursive: true });
const browser = await launch();

async function shot(name, { change = () => {}, act = async () => {}, ...options } = {}) {
  const w = world();
  change(w);
  const s = await serve(w);
  const { page, context, complaints } = await open(browser, s.url, options);
  await page.waitForTimeout(900);
  await act(page, s, w);
  await page.screenshot({ path: join(folder, name + ".png"), fullPage: true });
  if (complaints.length) console.log(name, complaints);
  await context.close();
  await s.close();
}

const now = Date.now();
const crash = (w) => {
  w.status.status = "CRITICAL";
  w.status.healing = true;
  w.status.reasons = [
    { severity: "CRITICAL", code: "service-down", subject: "arasul-metrics.service", message: "" },
    { severity: "WARNING", code: "disk-high", message: "" },
  ];
  w.shift = { disk_used_bytes: 842e9 };
  w.services[1] = { ...w.services[1], status: "down", reason: "killed by SIGKILL", restarts: 2 };
  const acting = { state: "acting", recovered_at: undefined, verified_at: undefined, closed_at: undefined };
  w.incidents.unshift(
    incident("9", "metrics", now - 400, acting),
    incident("8", "mdns", now - 90_000, { fault: "start-limit", state: "exhausted", failure_count: 5, recovered_at: undefined, verified_at: undefined }),
  );
};
const hot = (w) => {
  w.status.status = "CRITICAL";
  w.status.reasons = [
    { severity: "CRITICAL", code: "incident-open", subject: "heat-critical", message: "" },
    { severity: "WARNING", code: "healer-breaker", message: "" },
  ];
  w.shift = { ...gpu, temperature_celsius: 91, gpu_temperature_celsius: 90 };
  w.incidents.unshift(
    overload("9", "heat-critical", now - 40_000, { class: "C", state: "acting", detected_at: new Date(now - 35_000).toISOString(), recovered_at: undefined }),
    incident("8", "n8n", now - 90_000, { state: "suppressed", cause: "arasul-postgres.service", recovered_at: undefined, actions: [] }),
    overload("7", "heat", now - 400_000, { state: "holding" }),
  );
};
const explain = async (page) => {
  await page.locator("summary", { hasText: /almost used up|fast aufgebraucht/ }).click();
  await page.getByRole("button", { name: /^(Why|Warum)\?$/ }).click();
  await page.getByRole("button", { name: /^(How fast|Wie schnell)\?$/ }).click();
  await page.waitForTimeout(400);
};
const phone = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };
const unfold = async (page) => {
  await page.locator("summary").nth(1).click();
  await page.waitForTimeout(400);
};

await shot("desktop-light");
await shot("desktop-dark-de", { colorScheme: "dark", locale: "de-DE" });
await shot("incident-light-de", { change: crash, act: unfold, locale: "de-DE" });
await shot("incident-dark", { change: crash, act: unfold, colorScheme: "dark" });
await shot("hot-light-de", { change: hot, act: explain, locale: "de-DE" });
await shot("hot-dark", { change: hot, act: explain, colorScheme: "dark" });
await shot("phone-hot", { ...phone, change: hot, act: explain, locale: "de-DE" });
await shot("phone-light", { ...phone, locale: "de-DE" });
await shot("phone-dark-incident", { ...phone, change: crash, act: unfold, colorScheme: "dark" });
await shot("tablet", { viewport: { width: 820, height: 1180 } });
await shot("loading", { change: (w) => (w.slow = true) });
await shot("empty", { change: (w) => Object.assign(w, { empty: true, incidents: [], services: [] }) });
await shot("no-sensor", { change: (w) => (w.shift = { temperature_celsius: undefined, pressure_cpu_ratio: undefined }) });
await shot("error", { change: (w) => (w.broken = true), act: (page) => page.waitForTimeout(5500) });
await shot("week-table", {
  act: async (page) => {
    await page.getByText("7 days").click();
    await page.waitForTimeout(500);
    await page.getByRole("button", { name: "As a table" }).click();
  },
});
const cut = async (page, s, w, ms) => {
  w.broken = true;
  s.drop();
  await page.waitForTimeout(ms);
};
await shot("reconnecting", { act: (page, s, w) => cut(page, s, w, 1200) });
await shot("lost", { act: (page, s, w) => cut(page, s, w, 7000) });

await browser.close();
