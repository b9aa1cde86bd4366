// A development aid, never shipped: a real Chromium for shots and the
// accessibility test. CHROMIUM names another binary.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";
import { serve, world } from "./server.mjs";

const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export const launch = () =>
  chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });

/** A page that collects what the browser complains about, Content-Security-Policy included. */
export async function open(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, locale: "en-GB", ...options });
  const page = await context.newPage();
  const complaints = [];
  page.on("console", (m) => ["error", "warning"].includes(m.type()) && complaints.push(m.text()));
  page.on("pageerror", (e) => complaints.push(String(e)));
  await page.goto(url);
  return { page, context, complaints };
}

/** Signs in as a person would, but for the form. */
export async function signIn(page, world) {
  const status = await page.evaluate(
    async ({ password, totp }) =>
      (
        await fetch("/api/auth/login", {
          method: "POST",
          headers: { "Content-Type": "application/json" },
          body: JSON.stringify({ username: "admin", password, ...(totp ? { totp } : {}) }),
        })
      ).status,
    { password: world.admin.password, totp: world.admin.totp },
  );
  if (status !== 200) throw new Error("signing in: status " + status);
}

/** Opens a path of a made-up appliance, lets act look at it, and closes both, whatever happens. */
export async function visitAt(browser, path, change, { admin = false, ...options }, act) {
  const w = world();
  change(w);
  const s = await serve(w);
  try {
    const { page, context, complaints } = await open(browser, s.url + (admin ? "" : path), { reducedMotion: "reduce", ...options });
    try {
      if (admin) {
        await signIn(page, w);
        await page.goto(s.url + path);
      }
      await page.locator("h1").first().waitFor();
      await act(page, s, w, complaints);
    } finally {
      await context.close();
    }
  } finally {
    await s.close();
  }
}

/** Expects axe to find nothing, and the browser to complain about nothing but what is expected. */
export async function faultless(page, complaints, expected = () => false) {
  await page.evaluate(axe); // not subject to the page's own policy
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  assert.deepEqual(
    violations.map((v) => `${v.impact} ${v.id}: ${v.nodes.map((n) => n.target + " " + n.failureSummary).join("; ")}`),
    [],
  );
  assert.deepEqual(complaints.filter((c) => !expected(c)), []);
}

/** What reaches beyond the right edge and cannot be scrolled to inside of something. */
export const sticksOut = (page) =>
  page.evaluate(() =>
    [...document.querySelectorAll("body *")]
      .filter((e) => e.getBoundingClientRect().right > innerWidth && !e.closest(".visually-hidden, .u-over, .table"))
      .map((e) => e.outerHTML.slice(0, 100)),
  );
