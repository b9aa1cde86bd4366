// A development aid, never shipped: a real Chromium for shots and the
// accessibility test. CHROMIUM names another binary.

import { chromium } from "playwright-core";

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
    async (password) =>
      (
        await fetch("/api/auth/login", {
          method: "POST",
          headers: { "Content-Type": "application/json" },
          body: JSON.stringify({ username: "admin", password }),
        })
      ).status,
    world.admin.password,
  );
  if (status !== 200) throw new Error("signing in: status " + status);
}
