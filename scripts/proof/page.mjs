// The page in a real browser, for page_test.go: node page.mjs URL FOLDER
//
// It opens the page once and then obeys the lines on stdin: "live" waits for figures
// that move, "appear N" for N stories of repairs, "repaired" until the newest is proven,
// "shot NAME" takes a picture into FOLDER, "look" does nothing, "quit" ends it. Each is
// answered by a line of JSON that also says how often the page was loaded, how many
// WebSockets it opened, and what the browser complained about.

import { createInterface } from "node:readline";
import { join } from "node:path";
import { launch, open } from "../../web/dev/browser.mjs";

const [url, folder] = process.argv.slice(2);
const browser = await launch();
const { page, complaints } = await open(browser, "about:blank", { ignoreHTTPSErrors: true }); // the certificate is login.mjs's business
let loads = 0;
let sockets = 0;
page.on("framenavigated", (frame) => frame === page.mainFrame() && loads++);
page.on("websocket", () => sockets++);
await page.goto(url);

const stories = () => page.locator(".story").allTextContents();

const commands = {
  // Two different figures under "Live" prove that the stream is heard.
  async live() {
    await page.getByText("Live", { exact: true }).waitFor({ timeout: 30_000 });
    const figures = () => page.locator(".figure").allTextContents();
    const first = JSON.stringify(await figures());
    const deadline = Date.now() + 60_000;
    while (JSON.stringify(await figures()) === first) {
      if (Date.now() > deadline) throw new Error("the figures do not move: " + first);
      await page.waitForTimeout(200);
    }
  },
  async appear(n) {
    await page.locator(".story").nth(Number(n) - 1).waitFor({ timeout: 60_000 });
  },
  // The newest story is the first of the list.
  async repaired() {
    await page.locator("li", { has: page.locator(".story") }).first().getByText("repaired", { exact: true }).waitFor({ timeout: 60_000 });
  },
  async shot(name) {
    await page.screenshot({ path: join(folder, name + ".png"), fullPage: true });
  },
  async look() {},
};

for await (const line of createInterface({ input: process.stdin })) {
  const [command, argument] = line.split(" ");
  if (command === "quit") break;
  let error = "";
  await commands[command](argument).catch((e) => (error = String(e)));
  console.log(JSON.stringify({ error, stories: await stories(), loads, sockets, complaints }));
}
await browser.close();
