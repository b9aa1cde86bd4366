// The owner at a browser on the box's network, for update_box_test.go:
//
//	node update.mjs FOLDER set-up CODE PASSWORD        the first login
//	node update.mjs FOLDER watch PASSWORD TEXT NAME…   opens the page about updates, makes
//	                                                   FOLDER/watching, waits for TEXT, then
//	                                                   for what came of each file NAME
//	node update.mjs FOLDER upload PASSWORD FILE TEXT   has FILE installed, waits for TEXT
//
// Pictures go to FOLDER; the last line is JSON that says what was seen.

import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { launch, open } from "../../web/dev/browser.mjs";

const home = "https://arasul.local/";
const timeout = 90_000; // the box is emulated
const ending = 480_000;
const [folder, what, ...args] = process.argv.slice(2);
const browser = await launch();
const { page, context } = await open(browser, "about:blank");
context.setDefaultTimeout(timeout);
const shot = (name) => page.screenshot({ path: join(folder, `update-${name}.png`), fullPage: true });

async function setUp(code, password) {
  await page.goto(home + "login", { timeout });
  await page.getByLabel("Setup code").fill(code);
  await page.getByLabel("New password").fill(password);
  await page.getByRole("button", { name: "Finish setting up" }).click();
  await page.getByRole("button", { name: "Account" }).waitFor();
  return {};
}

async function enter(password) {
  await page.goto(home + "login?next=%2Fupdate", { timeout });
  await page.getByLabel("Password", { exact: true }).fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("Choose a file").waitFor();
}

/** What the bar shows until the end, without what it showed before. */
async function follow(text, name) {
  const bar = page.getByRole("progressbar");
  await bar.waitFor({ timeout: ending });
  const seen = [];
  const until = Date.now() + ending;
  while (Date.now() < until) {
    if (await page.getByText(text).first().isVisible()) break;
    const [percent, words] = await page
      .evaluate(() => [document.querySelector('[role="progressbar"]')?.ariaValueNow, document.querySelector('[role="progressbar"] + p [aria-live]')?.textContent])
      .catch(() => []);
    const now = percent == null ? "" : percent + words;
    if (now && now !== seen.at(-1)) seen.push(now);
    if (seen.length === 6) await shot(name + "-middle");
    await page.waitForTimeout(250);
  }
  await page.getByText(text).first().waitFor({ timeout: 1000 });
  await shot(name);
  return { seen };
}

async function watch(password, text, ...names) {
  await enter(password);
  await writeFile(join(folder, "watching"), "");
  const all = await follow(text, "stick");
  for (const name of names) await page.getByText(name).first().waitFor();
  await shot("stick");
  return all;
}

async function uploaded(password, file, text) {
  await enter(password);
  await page.locator("input[type=file]").setInputFiles(file);
  await page.getByRole("button", { name: "Install", exact: true }).click({ timeout: ending });
  await shot("received");
  await page.getByRole("button", { name: "Yes, install" }).click();
  return follow(text, "upload");
}

const acts = { "set-up": setUp, watch, upload: uploaded };
const seen = await acts[what](...args).catch(async (e) => {
  await shot("trouble").catch(() => {});
  return { trouble: String(e), url: page.url() };
});
console.log(JSON.stringify(seen));
await browser.close();
