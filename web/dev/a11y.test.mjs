// The built page in a real browser: axe-core finds nothing serious in any
// state, the Content-Security-Policy is not violated, and the keyboard reaches
// every control.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { faultless, launch, sticksOut, visitAt } from "./browser.mjs";
import { gpu, incident, overload } from "./server.mjs";

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());
const visit = (change, options, act) => visitAt(browser, "", change, options, act);

const trouble = (w) => {
  w.status = { ...w.status, status: "CRITICAL", healing: true };
  w.status.reasons = [
    { severity: "CRITICAL", code: "service-down", subject: "arasul-metrics.service", message: "" },
    { severity: "WARNING", code: "disk-high", message: "" },
  ];
  w.shift = { ...gpu, disk_used_bytes: 950e9, temperature_celsius: undefined };
  w.services[0] = { ...w.services[0], status: "degraded" };
  w.services[1] = { ...w.services[1], status: "down", reason: "killed by SIGKILL" };
  w.services[2] = { ...w.services[2], status: "unknown" };
  const now = Date.now();
  w.incidents.unshift(
    incident("9", "mdns", now, { state: "exhausted" }),
    incident("8", "metrics", now, { state: "acting" }),
    incident("7", "n8n", now, { state: "suppressed", cause: "arasul-postgres.service" }),
    overload("6", "heat-critical", now, { class: "C", state: "holding" }),
    overload("5", "own-rule", now, { state: "open", actions: [] }),
  );
};

// inspect expects neither axe nor the policy to find fault; the browser may
// complain about what the healer has forgotten (404), and about a lost
// connection only where the test cuts it.
const inspect = (options, change, act = async () => {}, { cut = false } = {}) =>
  visit(change, options, async (page, s, w, complaints) => {
    await page.waitForTimeout(600);
    await act(page, s, w);
    await faultless(page, complaints, (c) => /status of 404/.test(c) || (cut && /WebSocket connection/.test(c)));
  });

const unfold = async (page) => {
  for (const summary of await page.locator("summary").all()) await summary.click();
  for (const more of await page.locator("button[aria-expanded]").all()) await more.click();
  for (const story of await page.locator("details").all()) await story.getByRole("button", { name: /^(Why|Warum)\?$/ }).click();
  await page.getByText("rung 1 of 2").waitFor();
};

const lose = async (page, s, w) => {
  w.broken = true;
  s.drop();
  await page.getByRole("button", { name: "Try again" }).waitFor({ timeout: 15_000 });
};

for (const colorScheme of ["light", "dark"]) {
  for (const locale of ["en-GB", "de-DE"]) {
    test(`all is well, ${colorScheme}, ${locale}`, () => inspect({ colorScheme, locale }, () => {}, unfold));
    test(`trouble, ${colorScheme}, ${locale}`, () => inspect({ colorScheme, locale }, trouble, unfold));
  }
  const phone = { colorScheme, viewport: { width: 360, height: 740 } };
  test(`on a phone, ${colorScheme}`, () => inspect(phone, trouble, unfold));
  test(`loading, ${colorScheme}`, () => inspect({ colorScheme }, (w) => (w.slow = true)));
  test(`empty, ${colorScheme}`, () =>
    inspect({ colorScheme }, (w) => Object.assign(w, { empty: true, incidents: [], services: [] })));
  test(`connection lost, ${colorScheme}`, () => inspect({ colorScheme }, () => {}, lose, { cut: true }));
}

test("comes back by itself, shows an incident as it happens, and announces it", () =>
  visit(() => {}, {}, async (page, s, w) => {
    await page.getByText("Live", { exact: true }).waitFor();
    w.broken = true;
    s.drop();
    await page.getByText("Reconnecting…").waitFor();
    w.broken = false;
    await page.getByText("Live", { exact: true }).waitFor();
    await page.waitForTimeout(300);
    s.push({ type: "incident", incident: incident("new", "healer", Date.now()) });
    await page.locator("summary", { hasText: "The self-repair crashed" }).waitFor();
    const said = await page.locator("main [aria-live]").textContent();
    assert.match(said, /The self-repair crashed .* running again after 2\.1\ss/);
  }));

test("incidents are searched, explained and counted", () =>
  visit(trouble, {}, async (page, s, w) => {
    w.incidents.push(overload("old", "disk-full", Date.now() - 30 * 86_400_000, { class: "C" })); // known to the server only
    const kinds = page.getByLabel("Kind");
    await kinds.selectOption({ label: "Critical" });
    await page.locator(".story", { hasText: "Storage almost full" }).waitFor();
    assert.equal(await page.locator(".story").count(), 2);
    await kinds.selectOption({ label: "All kinds" });
    await page.locator(".story", { hasText: "own-rule at" }).waitFor();
    const story = page.locator("summary", { hasText: "Memory almost used up" });
    assert.match(await story.textContent(), /over\s+Overload.*noticed after 2\s*min, Workflows paused, Workflows resumed, back to normal after/s);
    await story.click();
    await page.locator("li", { has: story }).getByRole("button", { name: "Why?" }).click();
    await page.getByText("workflows can wait").waitFor();
    await page.getByRole("button", { name: "How fast?" }).click();
    const crashes = await page.getByRole("row", { name: /^Crash/ }).textContent();
    assert.equal(crashes.replace(/\s/g, " "), "Crash1412 ms31 ms2.1 s6.4 s");
  }));

test("keyboard and choices: the language and the colours stay", () =>
  visit(() => {}, { colorScheme: "light" }, async (page) => {
    await page.getByText("Everything is running").first().waitFor();
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to content");
    for (const key of ["Tab", "Tab", "Enter", "Tab", "Enter"]) await page.keyboard.press(key);
    await page.reload();
    await page.getByText("Alles läuft").first().waitFor();
    assert.deepEqual(
      await page.evaluate(() => [document.documentElement.lang, document.documentElement.dataset.theme, document.title]),
      ["de", "dark", "Alles läuft – Arasul"],
    );
  }));

for (const width of [320, 390, 820, 1280]) {
  test(`nothing sticks out sideways at ${width} pixels`, () =>
    visit(trouble, { viewport: { width, height: 800 }, locale: "de-DE" }, async (page) => {
      await page.locator("summary").first().click();
      assert.deepEqual(await sticksOut(page), []);
    }));
}
