// Drives the console of a running host in a real browser: looks, submits, watches, cancels, redrives and reloads as an
// operator would, while a worker of its own answers over the bus. Says on standard output what it saw, one line a check,
// and ends with 0 only when everything held: also no error in the browser's console, and nothing axe finds fault with.
//
//   node console.mjs URL MODULES BROWSER [SCREENSHOTS]

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Worker, submit } from "./worker.mjs";

const [url, modules, browserPath, screenshots] = process.argv.slice(2);
const require = createRequire(join(modules, "package.json"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

/** Playwright wants a path, people say a name. */
function findOnPath(name) {
  if (name.includes("/")) return name;
  const found = process.env.PATH.split(":").map((folder) => join(folder, name)).find((path) => existsSync(path));
  assert.ok(found, `${name} is not on PATH: run cargo xtask setup`);
  return found;
}

const profile = mkdtempSync(join(tmpdir(), "lucius-console-"));
const context = await chromium.launchPersistentContext(profile, {
  executablePath: findOnPath(browserPath),
  viewport: { width: 1200, height: 900 },
  colorScheme: "light",
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
context.setDefaultTimeout(20000);
const page = context.pages()[0] ?? (await context.newPage());
const complaints = [];
page.on("console", (message) => { if (message.type() === "error") complaints.push(message.text()); });
page.on("pageerror", (error) => complaints.push(String(error)));
page.on("dialog", (dialog) => dialog.accept());
const worker = new Worker(url);

async function check(name, body) {
  await body();
  console.log(`ok ${name}`);
}

async function go(address, heading) {
  await page.goto(`${url}/console#${address}`);
  await page.getByRole("heading", { level: 1, name: heading }).waitFor();
}

async function shoot(name) {
  if (screenshots) await page.screenshot({ path: join(screenshots, `${name}.png`) });
}

/** What axe finds on the page as it is, in both colour schemes. */
async function accessible() {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    // The page's own policy lets no foreign script in; the browser's protocol may.
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => globalThis.axe.run());
    const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" | ")}`);
    assert.deepEqual(found, [], colorScheme);
  }
  await page.emulateMedia({ colorScheme: "light" });
}

const shows = (name) => page.locator("#main .row .pill", { hasText: new RegExp(`^${name}$`) }).waitFor();

try {
  await check("the overview says that nothing needs attention", async () => {
    await go("/", "Overview");
    await page.getByText("Nothing needs attention.").waitFor();
    assert.equal(await page.locator("#health").textContent(), "ready");
    await accessible();
  });

  await check("a job is watched live from QUEUED to SUCCEEDED", async () => {
    const id = await submit(url, "OCR->EMBEDDING->SIS");
    await go("/jobs", "Jobs");
    await page.getByRole("link", { name: id }).click();
    await page.getByRole("heading", { name: id }).waitFor();
    for (const service of ["platform-ocr", "platform-embedding", "platform-sis"]) {
      const directive = await worker.take(service, id);
      await worker.ack(directive);
      await shows("IN_PROGRESS");
      await worker.heartbeat(directive, 40, "page 2 of 5");
      await page.getByText("40 % page 2 of 5").waitFor();
      await worker.succeed(directive);
    }
    await shows("SUCCEEDED");
    await page.getByRole("img", { name: /^Attempts\. ocr #1: .*sis #1/ }).waitFor();
    await page.getByText("job succeeded").waitFor();
    await accessible();
    await shoot("job");
  });

  await check("a job is cancelled by its button", async () => {
    const id = await submit(url, "OCR");
    await go(`/jobs/${id}`, `Job ${id}`);
    const directive = await worker.take("platform-ocr", id);
    await worker.ack(directive);
    await shows("IN_PROGRESS");
    await page.getByRole("button", { name: "Cancel" }).click();
    await shows("CANCELLING");
    await worker.succeed(directive);
    await shows("CANCELLED");
  });

  await check("a dead letter is found by its error and redriven", async () => {
    const id = await submit(url, "OCR");
    const failed = await worker.take("platform-ocr", id);
    await worker.ack(failed);
    await worker.fail(failed, "PDF_ENCRYPTED", "the document needs a password");
    await go("/dead-letters", "Dead letters");
    await page.getByText("PDF_ENCRYPTED").waitFor();
    await accessible();
    await shoot("dead-letters");
    await page.getByRole("button", { name: "Redrive all" }).click();
    const again = await worker.take("platform-ocr", id);
    assert.equal(again.attempt_no, 2);
    await worker.ack(again);
    await worker.succeed(again);
    await go(`/jobs/${id}`, `Job ${id}`);
    await shows("SUCCEEDED");
    await page.getByRole("img", { name: /ocr #1: .*failed.*ocr #2/ }).waitFor();
  });

  await check("the list is filtered and its address keeps the filter", async () => {
    await go("/jobs", "Jobs");
    await page.getByLabel("State").selectOption("CANCELLED");
    await page.getByRole("button", { name: "Show", exact: true }).click();
    await page.waitForURL(/state=CANCELLED/);
    await page.locator("tbody tr").first().waitFor();
    assert.deepEqual(await page.locator("tbody .pill").allTextContents(), ["CANCELLED"]);
    await accessible();
    await shoot("jobs");
  });

  await check("the registry is planned and reloaded", async () => {
    await go("/registry", "Registry");
    await page.getByRole("button", { name: "Plan" }).click();
    await page.getByRole("heading", { name: "What a reload would change" }).waitFor();
    await page.getByRole("button", { name: "Reload" }).click();
    await page.getByText(/Generation \d+ is live\./).waitFor();
    await accessible();
    await shoot("registry");
  });

  await check("the audit names what was done", async () => {
    await go("/audit", "Audit");
    await page.locator("tbody tr").first().waitFor();
    await accessible();
  });

  await check("it is usable from the keyboard", async () => {
    await go("/", "Overview");
    await page.reload();
    await page.getByRole("heading", { level: 1, name: "Overview" }).waitFor();
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the content");
    for (let presses = 0; presses < 3; presses += 1) await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "Jobs");
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { level: 1, name: "Jobs" }).waitFor();
  });

  await check("it fits a phone, in the dark", async () => {
    await page.setViewportSize({ width: 380, height: 780 });
    await page.emulateMedia({ colorScheme: "dark" });
    for (const [address, heading] of [["/", "Overview"], ["/jobs", "Jobs"], ["/dead-letters", "Dead letters"], ["/registry", "Registry"]]) {
      await go(address, heading);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `${address} is ${wide} pixels too wide`);
      await shoot(`phone-${heading.toLowerCase().replaceAll(" ", "-")}`);
    }
    await page.setViewportSize({ width: 1200, height: 900 });
    await go("/", "Overview");
    await page.getByRole("img", { name: /^Jobs and callbacks/ }).waitFor();
    await shoot("overview-dark");
  });

  await check("the browser had nothing to complain about", async () => assert.deepEqual(complaints, []));
} catch (error) {
  console.log(`not ok: ${error.stack}`);
  console.log(`page: ${page.url()}\n${await page.locator("#main").innerText().catch(() => "")}`);
  console.log(`console: ${complaints.join("\n")}`);
  process.exitCode = 1;
} finally {
  await context.close();
  rmSync(profile, { recursive: true, force: true });
}
