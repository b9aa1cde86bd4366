// What is behind the login, built and in a real browser: axe-core finds nothing
// in any view, and a person gets in, around and out by keyboard and mouse.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { log } from "./admin.mjs";
import { states } from "./apps.mjs";
import { begin, release, stick } from "./updates.mjs";
import { faultless, launch, sticksOut, visitAt } from "./browser.mjs";

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());
const visit = (path, change, options, act) => visitAt(browser, path, change, options, act);

const unset = (w) => (w.admin.password = undefined);
const factor = (w) => Object.assign(w.admin, { totp: "123456", recovery: ["7QK2-M9XD-PA4V-8T3W", "H5RN-2C6J-Y8BE-4S1G"] });
const submit = (page) => page.locator("form button.primary").click();
const enter = async (page, password) => {
  await page.locator("[name=current-password]").first().fill(password);
  await submit(page);
};
const guess = async (page) => {
  await enter(page, "wrong");
  await page.getByRole("alert").locator("p").waitFor();
};
const turnOn = async (page, w) => {
  await page.getByRole("button", { name: /^(Turn on|Einschalten)$/ }).click();
  await page.locator("form [name=current-password]").nth(1).fill(w.admin.password);
  await page.getByRole("button", { name: /^(Turn on|Einschalten)$/ }).click();
  await page.locator("[name=totp]").fill("123456");
};
const codes = async (page, w) => {
  await turnOn(page, w);
  await page.getByRole("button", { name: /^(Turn on|Einschalten)$/ }).click();
  await page.locator("li code").first().waitFor();
};

// Refusals are what some of these are about; the browser notes each.
const refusal = (c) => /status of (401|403|409|422|429|503)/.test(c);

// Name, path, whether somebody is signed in, what is changed, what is done.
const looks = [
  ["login", "login", false, () => {}],
  ["wrong password", "login", false, () => {}, guess],
  ["locked", "login", false, (w) => (w.admin.lockedUntil = Date.now() + 872_000), guess],
  ["second factor", "?next=/n8n/", false, factor, (page, w) => enter(page, w.admin.password)],
  ["over http", "login", false, (w) => (w.admin.secure = false)],
  ["database away", "login", false, (w) => (w.admin.available = false)],
  ["first login", "login", false, unset, (page) => page.locator("[name=new-password]").fill("Horse7")],
  ["not set up", "", false, unset],
  ["menu", "", true, () => {}, (page) => page.getByRole("button", { name: /^(Account|Konto)$/ }).click()],
  ["restart", "", true, () => {}, (page) => page.getByRole("button", { name: /(Restart|Neu starten): / }).first().click()],
  ["account", "account", true, factor],
  ["turning a second factor on", "account", true, () => {}, turnOn],
  ["recovery codes", "account", true, () => {}, codes],
  ["certificates", "certificates", true, () => {}],
  ["certificates, not signed in", "certificates", false, () => {}],
  ["no certificate yet", "certificates", true, (w) => Object.assign(w.admin.certificates, { ca: null, certificate: null, ready: false })],
  ["logs", "logs", true, () => {}],
  ["no logs", "logs", true, (w) => (w.admin.logs = [])],
  ["audit", "audit", true, () => {}],
  ["chat", "chat", true, () => {}, async (page) => {
    await page.locator("textarea").fill("Hello");
    await page.keyboard.press("Enter");
    await page.getByText("You said: Hello").waitFor();
  }],
  ["models", "ai", true, () => {}],
  ["a model on the processor", "ai", true, (w) => states.onCPU(w.admin.apps)],
  ["no gateway", "ai", true, (w) => states.noGateway(w.admin.apps)],
  ["several servers of models", "ai", true, (w) => states.servers(w.admin.apps)],
  ["nothing is there yet", "", true, (w) => states.nothing(w.admin.apps)],
  ["no models", "ai", true, (w) => states.nothing(w.admin.apps)],
  ["chat without a model", "chat", true, (w) => states.nothing(w.admin.apps)],
  ["an answer that broke off", "chat", true, (w) => (w.admin.apps.chatBreaks = true), async (page) => {
    await page.locator("textarea").fill("Hello");
    await page.keyboard.press("Enter");
    await page.getByRole("alert").waitFor();
  }],
  ["workflows", "workflows", true, () => {}],
  ["no workflows", "workflows", true, (w) => states.nothing(w.admin.apps)],
  ["set-up, refused", "setup", true, () => {}, async (page) => {
    await page.locator("[name=name]").fill("My Box");
    await page.locator("summary").click();
    await page.locator("[name=new-password]").fill("short");
    await submit(page);
    await page.getByText("it has to have 8 to 40 characters").waitFor();
  }],
  ["set-up that failed", "setup", true, (w) => states.failed(w.admin.apps)],
  ["all is set up", "setup", true, (w) => states.ready(w.admin.apps)],
  ["set-up", "setup", true, () => {}],
  ["set-up before it ran", "setup", true, (w) => delete w.admin.apps.setup.report],
  ["updates", "update", true, () => {}],
  ["a release that can be installed", "update", true, (w) => (w.admin.updates.staged = release()), (page) => page.getByRole("button", { name: /^Install/ }).click()],
  ["a release that cannot", "update", true, (w) => (w.admin.updates.staged = release({ problem: { code: "no-space", message: "4.0 GB more are needed", hint: "" } }))],
  ["half a release", "update", true, (w) => (w.admin.updates.staged = release({ received_bytes: 200_000_000, complete: false }))],
  ["the way back", "update", true, () => {}, (page) => page.getByRole("button", { name: /^(Back to|Zurück zur)/ }).click()],
  ["an update under way", "update", true, (w) => begin(w.admin.updates, "update", "1.4.0")],
  ["an update that is stuck", "update", true, (w) => begin(w.admin.updates, "update", "1.4.0", { outcome: "stuck", reason: "dpkg: no space left on device" })],
  ["a release waits", "", true, (w) => (w.admin.updates.staged = release())],
  ["no audit", "audit", true, (w) => (w.admin.audit = [])],
  ["sign in first", "audit", false, () => {}],
  ["audit failed", "audit", true, () => {}, async (page, w) => {
    w.broken = true;
    await page.locator("select").nth(1).selectOption("failed");
    await page.locator(".notice").waitFor();
  }],
];
const variants = [
  { colorScheme: "light", locale: "en-GB" },
  { colorScheme: "dark", locale: "de-DE", viewport: { width: 320, height: 720 } },
];
for (const [name, path, admin, change, act = async () => {}] of looks) {
  for (const options of variants) {
    test(`${name}, ${options.colorScheme}, ${options.locale}`, () =>
      visit(path, change, { ...options, admin }, async (page, s, w, complaints) => {
        await page.waitForTimeout(400);
        await act(page, w);
        await page.waitForTimeout(300);
        await faultless(page, complaints, refusal);
        assert.deepEqual(await sticksOut(page), []);
      }));
  }
}

// Proves AUTH-2: the way in, by keyboard, without a default password.
test("the first login takes the code however it is typed, says what a password lacks, and leads in", () =>
  visit("", unset, {}, async (page, s, w) => {
    await page.getByRole("link", { name: "Set up" }).first().click();
    await page.locator("[name=setup-code]").waitFor();
    assert.equal(await page.evaluate(() => document.activeElement.getAttribute("name")), "setup-code");
    await page.keyboard.type("k7qm 2x9d pa4v");
    await page.keyboard.press("Tab");
    await page.keyboard.type("short");
    await page.keyboard.press("Enter");
    await page.getByText("does not yet have everything").waitFor();
    assert.equal(w.admin.password, undefined);
    assert.match(await page.locator("li", { hasText: "at least 12" }).textContent(), /still missing/);
    await page.locator("[name=new-password]").fill("My-Password-2026");
    await submit(page);
    await page.getByText("words that are tried first").waitFor();
    await page.locator("[name=new-password]").fill("Correct-Horse-8");
    await page.keyboard.press("Enter");
    await page.getByRole("button", { name: "Account" }).waitFor();
    assert.equal(new URL(page.url()).pathname, "/setup"); // the questions that are left
    assert.equal(w.admin.password, "Correct-Horse-8");
    assert.equal(await page.evaluate(() => document.cookie + JSON.stringify({ ...localStorage, ...sessionStorage })), "{}");
  }));

test("a wrong setup code is told apart from a wrong password", () =>
  visit("login", unset, {}, async (page) => {
    await page.locator("[name=setup-code]").fill("0000-0000-0000");
    await page.locator("[name=new-password]").fill("Correct-Horse-8");
    await submit(page);
    await page.getByText("not the setup code").waitFor();
  }));

test("who was sent to the login goes on to where he wanted", () =>
  visit("?next=%2Flogs", () => {}, {}, async (page, s, w) => {
    await enter(page, w.admin.password);
    await page.locator(".lines").waitFor();
    assert.equal(new URL(page.url()).pathname, "/logs");
  }));

// Proves AUTH-4.
for (const evil of ["https://evil.example/", "//evil.example/", "/\\evil.example/", "/.//evil.example/", "/%09/evil.example/", "javascript:alert(1)"]) {
  test(`and never to ${evil}`, () =>
    visit("login?next=" + encodeURIComponent(evil), () => {}, {}, async (page, s, w) => {
      await enter(page, w.admin.password);
      await page.getByRole("button", { name: "Account" }).waitFor();
      assert.equal(new URL(page.url()).origin + "/", s.url);
    }));
}

// Proves AUTH-1: five wrong guesses, and how long it takes is told.
test("five wrong passwords mean to wait, and the wait is counted down", () =>
  visit("login", () => {}, {}, async (page, s, w) => {
    for (let n = 0; n < 5; n++) {
      const answered = page.waitForResponse(/auth\/login/);
      await enter(page, "wrong");
      await answered;
    }
    await enter(page, w.admin.password);
    await page.getByText("Too many attempts").waitFor();
    await page.getByText("sudo arasul user unlock").waitFor();
    const button = page.locator("form button.primary");
    const first = await button.textContent();
    assert.match(first, /Try again in (14|15)\s*min/);
    await page.waitForFunction((text) => document.querySelector("form button.primary").textContent !== text, first);
    assert.equal(await button.getAttribute("aria-disabled"), "true");
    const asked = [];
    page.on("request", (r) => asked.push(r.url()));
    await button.click({ force: true }); // as a person would
    assert.deepEqual(asked.filter((url) => url.includes("login")), []);
  }));

test("the second factor is turned on with a picture, asked for, and replaced by a recovery code once", () =>
  visit("account", () => {}, { admin: true }, async (page, s, w) => {
    await codes(page, w);
    const recovery = await page.locator("li code").first().textContent();
    await page.getByRole("button", { name: "I have written them down" }).click();
    await page.getByText("10 recovery codes are left").waitFor();
    await page.getByRole("button", { name: "Account" }).click();
    await page.getByRole("button", { name: "Sign out", exact: true }).first().click();
    await page.getByRole("link", { name: "Sign in" }).click();
    await enter(page, w.admin.password);
    await page.getByLabel("Code").fill("000000");
    await submit(page);
    await page.getByText("That code does not fit").waitFor();
    await page.getByRole("button", { name: "I do not have the app" }).click();
    await page.getByLabel("Recovery code").fill(recovery);
    await submit(page);
    await page.getByRole("button", { name: "Account" }).waitFor();
    assert.equal(w.admin.recovery.length, 9);
  }));

test("a new password ends the other sessions; one of the last is refused", () =>
  visit("account", (w) => w.admin.used.push("Correct-Horse-6"), { admin: true }, async (page, s, w) => {
    assert.equal(w.admin.sessions.size, 4);
    const change = async (current, next) => {
      await page.getByLabel("Present password").fill(current);
      await page.getByLabel("New password").fill(next);
      await page.getByRole("button", { name: "Change password" }).click();
    };
    await change("wrong", "Correct-Horse-8");
    await page.getByText("The present password is not right").waitFor();
    await change(w.admin.password, "Correct-Horse-6");
    await page.getByText("It was used before").waitFor();
    await change(w.admin.password, "Correct-Horse-8");
    await page.getByText("All other devices were signed out").waitFor();
    await page.getByText("Nobody else is signed in").waitFor();
    assert.equal(w.admin.sessions.size, 1);
  }));

// Proves AUTH-2.
test("one session is ended, then the others, then all", () =>
  visit("account", () => {}, { admin: true }, async (page, s, w) => {
    await page.locator("li", { hasText: "this device" }).waitFor();
    await page.getByRole("button", { name: "Sign out Safari, iPhone, 192.168.1.57" }).click();
    await page.getByText("Safari, iPhone").waitFor({ state: "detached" });
    assert.deepEqual([...w.admin.sessions.keys()].slice(0, -1), ["s-laptop", "s-script"]);
    await page.getByRole("button", { name: "Sign out all others" }).click();
    await page.getByText("Nobody else is signed in").waitFor();
    await page.getByRole("button", { name: "Sign out everywhere" }).click();
    await page.getByRole("link", { name: "Sign in" }).waitFor();
    assert.equal(w.admin.sessions.size, 0);
  }));

test("a session that was ended elsewhere leads to the login and back", () =>
  visit("audit", () => {}, { admin: true }, async (page, s, w) => {
    await page.locator("tbody tr").first().waitFor();
    w.admin.sessions.clear();
    await page.getByLabel("Result").selectOption("refused");
    await page.getByRole("link", { name: "Sign in" }).last().click();
    await enter(page, w.admin.password);
    await page.locator("tbody tr").first().waitFor();
    assert.equal(new URL(page.url()).pathname, "/audit");
  }));

test("logs are chosen, followed, and older ones fetched", () =>
  visit("logs", () => {}, { admin: true }, async (page, s, w) => {
    await page.locator(".lines li").first().waitFor();
    assert.equal(await page.locator(".lines li").count(), 200);
    await page.getByRole("button", { name: "Show older" }).click();
    await page.waitForFunction(() => document.querySelectorAll(".lines li").length === 400);
    await page.getByLabel("At least").selectOption({ label: "Errors" });
    await page.waitForFunction(() => document.querySelectorAll(".lines li").length === 84);
    await page.getByRole("button", { name: "Follow" }).click();
    await page.getByText("New lines appear").waitFor();
    while (w.admin.followers.size === 0) await page.waitForTimeout(20);
    log(w.admin, "arasul-n8n.service", "info", "not grave enough");
    log(w.admin, "arasul-n8n.service", "err", "<img src=x onerror=alert(1)> and a line");
    await page.getByText("<img src=x onerror=alert(1)> and a line").waitFor();
    assert.equal(await page.getByText("not grave enough").count(), 0);
    const download = page.waitForEvent("download");
    await page.getByRole("link", { name: "Download" }).click();
    assert.equal((await download).suggestedFilename(), "arasul.log");
  }));

test("the audit is filtered and paged", () =>
  visit("audit", () => {}, { admin: true }, async (page) => {
    const rows = page.locator("tbody tr");
    await rows.first().waitFor();
    assert.equal(await rows.count(), 50);
    for (const want of [100, 120]) {
      await page.getByRole("button", { name: "Show older" }).click();
      await page.waitForFunction((n) => document.querySelectorAll("tbody tr").length === n, want);
    }
    await page.getByLabel("Action").selectOption({ label: "Restart a part" });
    await page.waitForFunction(() => document.querySelectorAll("tbody tr").length === 20);
    assert.match(await rows.first().textContent(), /Restart a part.*arasul-n8n\.service.*done.*admin/s);
    await page.getByLabel("Result").selectOption({ label: "failed" });
    await page.getByText("Nothing matches this choice").waitFor();
  }));

test("a part is restarted only after a second word, and a refusal is told", () =>
  visit("", () => {}, { admin: true }, async (page, s, w) => {
    const button = page.getByRole("button", { name: "Restart: Measurements" });
    await button.click();
    const dialog = page.getByRole("dialog");
    await dialog.getByText("Restart: Measurements?").waitFor();
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "detached" });
    assert.deepEqual(w.admin.restarts, []);
    w.admin.restartFails = true;
    await button.click();
    await dialog.getByRole("button", { name: "Restart" }).click();
    await dialog.getByText("does not restart this part now").waitFor();
    w.admin.restartFails = false;
    await dialog.getByRole("button", { name: "Restart" }).click();
    await dialog.getByText("has taken it over").waitFor();
    assert.deepEqual(w.admin.restarts, ["metrics"]);
    await page.keyboard.press("Enter"); // the focus is on Close
    await dialog.waitFor({ state: "detached" });
  }));

// Proves AUTH-6.
test("without a login there is the overview where it is open, and the login where it is not", () =>
  visit("", () => {}, {}, async (page, s, w) => {
    await page.getByText("Everything is running").first().waitFor();
    assert.equal(await page.getByRole("button", { name: /Restart/ }).count(), 0);
    w.admin.statusOpen = false;
    await page.reload();
    await enter(page, w.admin.password);
    await page.getByText("Everything is running").first().waitFor();
  }));

test("over http there is no password field, but a way to https", () =>
  visit("login?next=/n8n/", (w) => (w.admin.secure = false), {}, async (page) => {
    const link = page.getByRole("link", { name: "Go on encrypted" });
    assert.equal(await link.getAttribute("href"), "https://127.0.0.1/login?next=%2Fn8n%2F");
    assert.equal(await page.locator("input").count(), 0);
  }));

test("the menu opens, closes and leads on by keyboard, and Back comes back", () =>
  visit("", () => {}, { admin: true }, async (page) => {
    const menu = page.getByRole("button", { name: "Account" });
    await menu.focus();
    await page.keyboard.press("Enter");
    await page.getByRole("navigation", { name: "Account" }).getByRole("link", { name: "Logs" }).waitFor();
    await page.keyboard.press("Escape");
    assert.equal(await menu.getAttribute("aria-expanded"), "false");
    assert.equal(await menu.evaluate((e) => e === document.activeElement), true);
    for (const key of ["Enter", ...Array(8).fill("Tab"), "Enter"]) await page.keyboard.press(key);
    await page.locator(".lines").waitFor();
    assert.equal(await page.title(), "Logs – Arasul");
    assert.equal(await page.evaluate(() => document.activeElement.id), "content");
    await page.goBack();
    await page.getByText("Everything is running").first().waitFor();
  }));

test("an answer comes in pieces, can be stopped, and what failed is told", () =>
  visit("chat", () => {}, { admin: true }, async (page, s, w) => {
    await page.getByLabel("Your message").fill("one");
    await page.keyboard.press("Enter");
    await page.getByText("You said: one").waitFor();
    await page.getByText(/tokens per second/).waitFor();
    w.admin.apps.chatDown = true;
    await page.getByLabel("Your message").fill("two");
    await page.getByRole("button", { name: "Send" }).click();
    await page.getByRole("alert").getByText("no server of models answers").waitFor();
    await page.getByRole("button", { name: "New conversation" }).click();
    await page.getByText("Write something to begin.").waitFor();
  }));

test("an answer that breaks off is told, asked for again, and not said to the model as if it were whole", () =>
  visit("chat", (w) => (w.admin.apps.chatBreaks = true), { admin: true }, async (page, s, w) => {
    await page.getByLabel("Your message").fill("one");
    await page.keyboard.press("Enter");
    await page.getByRole("alert").getByText("The answer broke off.").waitFor();
    await page.getByText("Half of", { exact: true }).waitFor();
    w.admin.apps.chatBreaks = false;
    const asked = page.waitForRequest(/llm\/chat/);
    await page.getByRole("button", { name: "Ask again" }).click();
    assert.deepEqual((await asked).postDataJSON().messages, [{ role: "user", content: "one" }]);
    await page.getByText("You said: one").waitFor();
    assert.equal(await page.getByText("Half of", { exact: true }).count(), 0);
  }));

test("what a model says is text, whatever it looks like", () =>
  visit("chat", () => {}, { admin: true }, async (page, s, w, complaints) => {
    await page.getByLabel("Your message").fill("<img src=x onerror=alert(1)> <b>bold</b>");
    await page.keyboard.press("Enter");
    await page.getByText("You said: <img src=x onerror=alert(1)> <b>bold</b>").waitFor();
    assert.equal(await page.locator("[role=log] img, [role=log] b").count(), 0);
    assert.deepEqual(complaints, []);
  }));

test("stopping ends the answer on the appliance too", () =>
  visit("chat", (w) => (w.admin.apps.chatSlow = true), { admin: true }, async (page, s, w) => {
    await page.getByLabel("Your message").fill("one");
    await page.keyboard.press("Enter");
    await page.getByText("You", { exact: false }).first().waitFor();
    while (!w.admin.apps.chatting) await page.waitForTimeout(20);
    await page.getByRole("button", { name: "Stop" }).click();
    await page.getByText("stopped").waitFor();
    while (w.admin.apps.chatting) await page.waitForTimeout(20);
  }));

test("what runs on the processor although there is a GPU is an alarm", () =>
  visit("ai", (w) => states.onCPU(w.admin.apps), { admin: true }, async (page) => {
    await page.getByText("llama3.1:8b runs on the processor although there is a GPU").waitFor();
    await page.getByRole("region", { name: "Language model" }).getByText("limited").waitFor();
  }));

test("the overview says where the appliance is found, and what is missing", () =>
  visit("", (w) => states.nothing(w.admin.apps), { admin: true }, async (page, s, w) => {
    await page.getByText("sudo arasul images pull llm", { exact: true }).waitFor();
    await page.getByText("192.168.1.20", { exact: true }).waitFor();
    await page.getByText("no way to it").waitFor();
  }));

test("that the appliance is not ready is said until it can wait, and no longer when it is", () =>
  visit("", (w) => states.failed(w.admin.apps), { admin: true }, async (page, s, w) => {
    await page.getByRole("link", { name: "See what" }).click();
    await page.getByText("the licence of n8n was not accepted yet").waitFor();
    await page.getByRole("link", { name: "Later" }).click();
    await page.getByRole("button", { name: "Later" }).click();
    await page.getByText("is not ready yet").waitFor({ state: "detached" });
    await page.reload();
    await page.getByRole("link", { name: "Set up" }).waitFor();
    assert.equal(await page.getByText("is not ready yet").count(), 0);
  }));

test("a page that nobody looks at asks nothing", () =>
  visit("ai", () => {}, { admin: true }, async (page) => {
    await page.getByText("gemma3:12b").waitFor();
    await page.evaluate(() => {
      Object.defineProperty(document, "hidden", { value: true });
      document.dispatchEvent(new Event("visibilitychange"));
    });
    await page.waitForTimeout(500);
    const asked = [];
    page.on("request", (r) => asked.push(r.url()));
    await page.waitForTimeout(2500);
    assert.deepEqual(asked, []);
  }));

test("a model is fetched, cancelled and removed", () =>
  visit("ai", () => {}, { admin: true }, async (page, s, w) => {
    page.on("dialog", (d) => d.accept());
    await page.getByLabel("Name of the model").fill("phi4:14b");
    await page.getByRole("button", { name: "Fetch" }).click();
    await page.getByText("Fetching phi4:14b").waitFor();
    await page.locator("li", { hasText: "gemma3:12b" }).getByRole("button", { name: "Cancel" }).click();
    await page.locator("li", { hasText: "gemma3:12b" }).getByText("cancelled").waitFor();
    await page.getByRole("button", { name: "Remove llama3.1:8b" }).click();
    await page.getByRole("button", { name: "Remove llama3.1:8b" }).waitFor({ state: "detached" });
    assert.equal(w.admin.apps.models.length, 2);
  }));

test("runs of workflows are filtered", () =>
  visit("workflows", () => {}, { admin: true }, async (page) => {
    await page.getByText("Daily summary").waitFor();
    await page.getByLabel("State").selectOption("success");
    await page.getByText("Daily summary").waitFor({ state: "detached" });
    await page.getByLabel("State").selectOption("canceled");
    await page.getByText("None with this state.").waitFor();
  }));

// Proves BOOT-4: the owner who never opens a terminal answers on the page, and sees
// how far the appliance comes.
test("the owner answers on the page and sees what comes of it", () =>
  visit("setup", () => {}, { admin: true }, async (page, s, w) => {
    await page.getByText("Image of the object store").waitFor();
    await page.getByText("What to do: sudo arasul images pull minio").waitFor();
    await page.locator("[name=name]").fill("My Box");
    await submit(page);
    await page.getByText('"My Box" has other characters').waitFor();
    assert.equal(await page.evaluate(() => document.activeElement.getAttribute("name")), "name");
    await page.locator("[name=name]").fill("office");
    await page.locator("select", { hasText: "llama3.1" }).selectOption("another one…");
    await page.locator("[name=llm_model]").fill("phi4:14b");
    await page.getByRole("checkbox").check();
    await page.locator("summary").click();
    await page.locator("[name=new-password]").fill("My-Storage-Key");
    await submit(page);
    await page.getByText("Taken on. It begins in a moment.").waitFor();
    assert.deepEqual(w.admin.apps.answered, { name: "office", llm_model: "phi4:14b", embedding_model: "nomic-embed-text", n8n_licence: true, minio_password: "My-Storage-Key" });
    assert.equal(await page.locator("[name=new-password]").inputValue(), "");
  }));

const file = (bytes, name = "arasul-1.4.0.araupdate") => ({ name, mimeType: "application/octet-stream", buffer: Buffer.alloc(bytes) });

// Proves UPD-7: the owner installs a release from a file and sees how far it is to the end,
// although the page's own server is replaced meanwhile.
test("a release is uploaded, looked at, installed and seen to its end", () =>
  visit("update", (w) => (w.admin.updates.breaks = 1), { admin: true }, async (page, s, w) => {
    await page.locator("input[type=file]").setInputFiles(file(20 << 20));
    await page.getByText("Version 1.4.0 is here and can be installed.").waitFor();
    assert.deepEqual(w.admin.updates.slices.map(([from]) => from), [0, 8 << 20, 16 << 20]);
    await page.getByText("Models load faster.").waitFor();
    await page.getByRole("button", { name: "Install", exact: true }).click();
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "No");
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Install", exact: true }).click();
    await page.getByRole("button", { name: "Yes, install" }).click();
    await page.getByRole("progressbar", { name: "Version 1.4.0 is being installed" }).waitFor();
    await page.getByText("Adapt the database").first().waitFor();
    await page.getByText("Version 1.4.0 is installed, and all is well.").waitFor();
    await page.getByText("services stood still for 19").waitFor();
    await page.getByRole("button", { name: "Back to the version before" }).click();
    await page.getByText("Go back to version 1.3.2?").waitFor();
  }));

test("a release that did not do well is told with its reason", () =>
  visit("update", (w) => Object.assign(w.admin.updates, { staged: release(), fails: true }), { admin: true, locale: "de-DE" }, async (page) => {
    await page.getByRole("button", { name: "Installieren" }).click();
    await page.getByRole("button", { name: "Ja, installieren" }).click();
    await page.getByText("wurde nicht behalten").waitFor();
    await page.getByText("migrate: division by zero").first().waitFor();
  }));

test("what came of a stick is told", () =>
  visit("update", (w) => (w.admin.updates.stick = stick()), { admin: true, locale: "de-DE" }, async (page) => {
    await page.getByText("KINGSTON").waitFor();
    await page.getByText("arasul-1.4.0.araupdate (1.4.0)").waitFor();
    await page.getByText("nicht mit einem Schlüssel unterschrieben").waitFor();
    await page.getByText("schon installiert").waitFor();
  }));

test("a stick without a release, and one that cannot be read", async () => {
  await visit("update", (w) => (w.admin.updates.stick = stick({ label: "", files: [] })), { admin: true }, (page) => page.getByText("There is no version").waitFor());
  await visit("update", (w) => (w.admin.updates.stick = stick({ files: [], error: "its file system is ntfs" })), { admin: true }, async (page) => {
    await page.getByText("It could not be read: its file system is ntfs").waitFor();
    await page.getByText("FAT32 or exFAT").waitFor();
  });
});

test("a file that is no release is refused in words, and can be another", () =>
  visit("update", (w) => (w.admin.updates.refuse = "bad-signature"), { admin: true, locale: "de-DE" }, async (page) => {
    await page.locator("input[type=file]").setInputFiles(file(1000));
    await page.getByText("nicht mit einem Schlüssel unterschrieben").waitFor();
    await page.getByText("Datei auswählen").waitFor();
  }));

test("an update can be cancelled while nothing was changed", () =>
  visit("update", (w) => (w.admin.updates.staged = release()), { admin: true }, async (page, s, w) => {
    await page.getByRole("button", { name: "Install", exact: true }).click();
    await page.getByRole("button", { name: "Yes, install" }).click();
    await page.getByRole("button", { name: "Cancel the update" }).click();
    await page.getByText("Version 1.4.0 was not kept").waitFor();
    assert.equal(w.admin.updates.current.version, "1.3.2");
  }));
