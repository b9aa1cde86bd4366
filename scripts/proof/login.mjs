// A person at a browser on the box's network, for login_box_test.go:
//
//	node login.mjs FOLDER warned                       is the browser's warning shown?
//	node login.mjs FOLDER owner CODE PASSWORD ANOTHER  the first login, and what follows
//
// The browser trusts what the NSS store below $HOME trusts, and certificates are never
// ignored. Pictures go to FOLDER; the last line is JSON that says what was seen.

import { join } from "node:path";
import { launch, open } from "../../web/dev/browser.mjs";

const home = "https://arasul.local/";
const slow = { timeout: 90_000 }; // the box is emulated
const [folder, what, code, password, another] = process.argv.slice(2);
const browser = await launch();
const { page, context, complaints } = await open(browser, "about:blank");
context.setDefaultTimeout(slow.timeout);
const shot = (name, of = page) => of.screenshot({ path: join(folder, `box-${name}.png`), fullPage: true });

async function signIn(on, withPassword) {
  await on.goto(home + "login", slow);
  await on.getByLabel("Password", { exact: true }).fill(withPassword);
  await on.getByRole("button", { name: "Sign in" }).click();
  await on.getByRole("button", { name: "Account" }).waitFor();
}

async function warned() {
  const error = await page.goto(home, slow).then(() => "", (e) => String(e));
  await shot("warned");
  return { error };
}

async function owner() {
  // What is asked for without a login leads to it, and on to where one wanted.
  const answer = await page.goto(home + "account", slow);
  const { protocol, issuer } = (await answer.securityDetails()) ?? {};
  await page.goto(home + "login?next=%2Faccount", slow);
  await page.getByLabel("Setup code").fill(code.toLowerCase());
  await page.getByLabel("New password").fill(password);
  await shot("setup");
  await page.getByRole("button", { name: "Finish setting up" }).click();
  await page.getByRole("heading", { name: "Account" }).waitFor();
  const led = page.url();

  await page.getByLabel("Present password").fill(password);
  await page.getByLabel("New password").fill(another);
  await page.getByRole("button", { name: "Change password" }).click();
  await page.getByText("The password is changed.").waitFor();
  await shot("account");

  // Another device comes in with the new password; both are thrown out.
  const other = await browser.newContext({ locale: "en-GB" });
  other.setDefaultTimeout(slow.timeout);
  const elsewhere = await other.newPage();
  await signIn(elsewhere, another);
  await page.reload(slow);
  await page.getByRole("button", { name: "Sign out everywhere" }).click();
  await page.getByRole("link", { name: "Sign in" }).waitFor();
  await shot("out");
  const statuses = [];
  for (const p of [page, elsewhere]) statuses.push(await p.evaluate(async () => (await fetch("/api/auth/me")).status));

  // What somebody else put into the address leads nowhere else.
  await page.goto(home + "?next=" + encodeURIComponent("//evil.example/"), slow);
  await page.getByLabel("Password", { exact: true }).fill(another);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("button", { name: "Account" }).waitFor();
  const back = page.url();
  // The question whether there is a session is answered with 401, which the console tells.
  return { protocol, issuer, led, back, statuses, complaints: complaints.filter((c) => !c.includes("401")) };
}

const seen = await { warned, owner }[what]().catch(async (e) => {
  await shot("trouble").catch(() => {});
  return { trouble: String(e), url: page.url(), complaints };
});
console.log(JSON.stringify(seen));
await browser.close();
