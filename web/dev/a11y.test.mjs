// The built page in a real browser: axe-core finds nothing serious in any
// state, the Content-Security-Policy is not violated, and the keyboard reaches
// every control.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { launch, open } from "./browser.mjs";
import { incident, serve, world } from "./server.mjs";

const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

const trouble = (w) => {
  w.status = { ...w.status, status: "CRITICAL", healing: true };
  w.status.reasons = [
    { severity: "CRITICAL", code: "service-down", subject: "arasul-metrics.service", message: "" },
    { severity: "WARNING", code: "disk-high", message: "" },
  ];
  w.shift = { disk_used_bytes: 950e9, temperature_celsius: undefined };
  w.services[0] = { ...w.services[0], status: "degraded" };
  w.services[1] = { ...w.services[1], status: "down", reason: "killed by SIGKILL" };
  w.services[2] = { ...w.services[2], status: "unknown" };
  w.incidents.unshift(incident("9", "mdns", Date.now(), { state: "exhausted" }), incident("8", "metrics", Date.now(), { state: "acting" }));
};

async function inspect(options, change, act = async () => {}) {
  const w = world();
  change(w);
  const s = await serve(w);
  const { page, context, complaints } = await open(browser, s.url, { reducedMotion: "reduce", ...options });
  try {
    await page.locator("h1").waitFor();
    await page.waitForTimeout(600);
    await act(page, s, w);
    // Playwright's evaluation is not subject to the page's policy, so axe runs under it.
    await page.evaluate(await (await import("node:fs/promises")).readFile(axe, "utf8"));
    const { violations } = await page.evaluate(() => axe.run());
    const found = violations.map((v) => `${v.impact} ${v.id}: ${v.nodes.map((n) => n.target + " " + n.failureSummary).join("; ")}`);
    assert.deepEqual(found, []);
    const policy = complaints.filter((c) => /Content.Security.Policy/i.test(c));
    assert.deepEqual(policy, []);
    return complaints;
  } finally {
    await context.close();
    await s.close();
  }
}

const unfold = async (page) => {
  for (const summary of await page.locator("summary").all()) await summary.click();
  await page.locator("button[aria-expanded]").click();
};

for (const colorScheme of ["light", "dark"]) {
  for (const locale of ["en-GB", "de-DE"]) {
    test(`all is well, ${colorScheme}, ${locale}`, async () =>
      assert.deepEqual(await inspect({ colorScheme, locale }, () => {}, unfold), []));
    test(`trouble, ${colorScheme}, ${locale}`, async () =>
      assert.deepEqual(await inspect({ colorScheme, locale }, trouble, unfold), []));
  }
  test(`on a phone, ${colorScheme}`, () => inspect({ colorScheme, viewport: { width: 360, height: 740 } }, trouble, unfold));
  test(`loading, ${colorScheme}`, () => inspect({ colorScheme }, (w) => (w.slow = true)));
  test(`empty, ${colorScheme}`, () => inspect({ colorScheme }, (w) => Object.assign(w, { empty: true, incidents: [], services: [] })));
  test(`connection lost, ${colorScheme}`, () =>
    inspect({ colorScheme }, () => {}, async (page, s, w) => {
      w.broken = true;
      s.drop();
      await page.getByRole("button", { name: "Try again" }).waitFor({ timeout: 15_000 });
    }));
}

test("comes back by itself, shows an incident as it happens, and announces it", async () => {
  const w = world();
  const s = await serve(w);
  const { page, context } = await open(browser, s.url);
  await page.getByText("Everything is running").first().waitFor();
  w.broken = true;
  s.drop();
  await page.getByText("Reconnecting…").waitFor();
  w.broken = false;
  await page.getByText("Live", { exact: true }).waitFor();
  s.push({ type: "incident", incident: incident("new", "healer", Date.now()) });
  await page.locator("summary", { hasText: "The self-repair crashed" }).waitFor();
  assert.match(await page.locator("main [aria-live]").textContent(), /The self-repair crashed .* running again after 2\.1\ss/);
  await context.close();
  await s.close();
});

test("keyboard and choices: the language and the colours stay", async () => {
  const s = await serve(world());
  const { page, context } = await open(browser, s.url, { colorScheme: "light" });
  await page.getByText("Everything is running").first().waitFor();
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to content");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.reload();
  await page.getByText("Alles läuft").first().waitFor();
  assert.deepEqual(
    await page.evaluate(() => [document.documentElement.lang, document.documentElement.dataset.theme, document.title]),
    ["de", "dark", "Alles läuft – Arasul"],
  );
  await context.close();
  await s.close();
});

test("nothing sticks out sideways, down to 320 pixels", async () => {
  const w = world();
  trouble(w);
  const s = await serve(w);
  for (const width of [320, 390, 820, 1280]) {
    const { page, context } = await open(browser, s.url, { viewport: { width, height: 800 }, locale: "de-DE" });
    await page.locator("summary").first().click();
    assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= width, `at ${width}`);
    await context.close();
  }
  await s.close();
});
