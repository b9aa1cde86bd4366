// A development aid, never shipped: pictures of what is behind the login, to be
// looked at. Usage: node dev/shots-admin.mjs FOLDER [PART OF A NAME [PART OF A KIND]]

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { launch, open, signIn } from "./browser.mjs";
import { states } from "./apps.mjs";
import { begin, release, stick } from "./updates.mjs";
import { serve, world } from "./server.mjs";

const [folder = "shots", only = "", kinds = ""] = process.argv.slice(2);
await mkdir(folder, { recursive: true });
const browser = await launch();
const desktop = { viewport: { width: 1440, height: 900 } };
const tablet = { viewport: { width: 820, height: 1180 } };
const phone = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };

async function shot(name, path, { change = () => {}, act = async () => {}, admin = true } = {}) {
  if (!name.includes(only)) return;
  for (const [kind, options] of [
    ["phone-light", { ...phone, locale: "de-DE" }],
    ["desktop-dark", { ...desktop, colorScheme: "dark" }],
    ["desktop-light", desktop],
    ["tablet-light", tablet],
    ["tablet-dark", { ...tablet, colorScheme: "dark", locale: "de-DE" }],
    ["phone-dark", { ...phone, colorScheme: "dark" }],
  ]) {
    if (!kind.includes(kinds)) continue;
    const w = world();
    change(w);
    const s = await serve(w);
    const { page, context, complaints } = await open(browser, s.url, options);
    if (admin) await signIn(page, w);
    await page.goto(s.url + path);
    await page.waitForTimeout(600);
    await act(page, s, w);
    await page.screenshot({ path: join(folder, `${name}-${kind}.png`), fullPage: true });
    if (complaints.length) console.log(name, kind, complaints);
    await context.close();
    await s.close();
  }
}

const guess = async (page) => {
  await page.locator("[name=current-password]").fill("wrong");
  await page.locator("form button.primary").click();
  await page.waitForTimeout(300);
};
const enter = async (page, w) => {
  await page.locator("[name=current-password]").fill(w.admin.password);
  await page.locator("form button.primary").click();
  await page.waitForTimeout(300);
};

await shot("login", "login", { admin: false });
await shot("login-wrong", "login", { admin: false, act: guess });
await shot("login-locked", "login", { admin: false, change: (w) => (w.admin.lockedUntil = Date.now() + 872_000), act: guess });
await shot("login-code", "?next=/n8n/", { admin: false, change: (w) => (w.admin.totp = "123456"), act: (page, s, w) => enter(page, w) });
await shot("login-http", "login", { admin: false, change: (w) => (w.admin.secure = false) });
await shot("setup", "login", {
  admin: false,
  change: (w) => (w.admin.password = undefined),
  act: (page) => page.locator("[name=new-password]").fill("Horse7"),
});
await shot("unset", "", { admin: false, change: (w) => (w.admin.password = undefined) });
await shot("menu", "", { act: (page) => page.getByRole("button", { name: /^(Account|Konto)$/ }).click() });
await shot("restart", "", { act: (page) => page.getByRole("button", { name: /(Restart|Neu starten): / }).nth(1).click() });
await shot("account", "account");
const enroll = async (page, s, w) => {
  await page.getByRole("button", { name: /^(Turn on|Einschalten)$/ }).click();
  await page.locator("form [name=current-password]").nth(1).fill(w.admin.password);
  await page.getByRole("button", { name: /^(Turn on|Einschalten)$/ }).click();
  await page.locator("[name=totp]").waitFor();
};
await shot("factor", "account", { act: enroll });
await shot("codes", "account", {
  act: async (page, s, w) => {
    await enroll(page, s, w);
    await page.locator("[name=totp]").fill("123456");
    await page.getByRole("button", { name: /^(Turn on|Einschalten)$/ }).click();
    await page.waitForTimeout(400);
  },
});
await shot("certificates", "certificates");
await shot("certificates-open", "certificates", { admin: false });
await shot("logs", "logs", { act: (page) => page.getByRole("button", { name: /^(Follow|Mitlesen)$/ }).click() });
await shot("audit", "audit");
await shot("offer", "audit", { admin: false });
await shot("failed", "audit", { act: async (page, s, w) => ((w.broken = true), await page.locator("select").nth(1).selectOption("failed"), await page.waitForTimeout(500)) });

const a = (name) => (w) => states[name](w.admin.apps);
const talk = async (page) => {
  for (const text of ["Which <b>parts</b> does this appliance have, and what does each of them do?", "In one line:\n\n```\nls -l\n```"]) {
    await page.locator("textarea").fill(text);
    await page.keyboard.press("Enter");
    await page.getByText("You said: " + text.slice(0, 5)).first().waitFor();
    await page.waitForTimeout(300);
  }
};
await shot("chat", "chat", { act: talk });
await shot("chat-none", "chat", { change: a("nothing") });
await shot("chat-broken", "chat", { change: (w) => (w.admin.apps.chatBreaks = true), act: async (page) => (await page.locator("textarea").fill("Hello"), await page.keyboard.press("Enter"), await page.waitForTimeout(500)) });
await shot("ai", "ai");
await shot("ai-cpu", "ai", { change: a("onCPU") });
await shot("ai-nothing", "ai", { change: a("nothing") });
await shot("ai-servers", "ai", { change: a("servers") });
await shot("workflows", "workflows");
await shot("workflows-none", "workflows", { change: a("nothing") });
await shot("first-run", "setup");
await shot("first-run-wrong", "setup", {
  act: async (page) => {
    await page.locator("[name=name]").fill("My Box");
    await page.locator("summary").click();
    await page.locator("[name=new-password]").fill("short");
    await page.locator("form button.primary").click();
    await page.waitForTimeout(300);
  },
});
await shot("first-run-failed", "setup", { change: a("failed") });
await shot("first-run-ready", "setup", { change: a("ready") });
await shot("home", "");
await shot("home-nothing", "", { change: a("nothing") });
await shot("home-release", "", { change: (w) => (w.admin.updates.staged = release()) });
await shot("update", "update");
await shot("update-staged", "update", { change: (w) => (w.admin.updates.staged = release()), act: (page) => page.getByRole("button", { name: /^Install/ }).click() });
await shot("update-stick-unread", "update", { change: (w) => (w.admin.updates.stick = stick({ files: [], error: "its file system is ntfs: FAT, exFAT and ext4 are read" })) });
await shot("update-stick", "update", { change: (w) => (w.admin.updates.stick = stick()) });
await shot("update-run", "update", { change: (w) => begin(w.admin.updates, "update", "1.4.0") });
await shot("update-stuck", "update", { change: (w) => begin(w.admin.updates, "update", "1.4.0", { outcome: "stuck", reason: "dpkg: no space left on device" }) });

await browser.close();
