// Opens reports in a real browser and does what a reader does: sorts, filters, opens cells, uses the keyboard, turns the
// lights out, holds a phone, prints.
//
//   node report.mjs [--shots FOLDER] REPORT.html…
//
// Needs `npm install` here and a Chromium (CHROMIUM, /usr/bin/chromium by default). Exits with 1 on the first failure.

import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const FLAGS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];
const DESKTOP = { width: 1280, height: 900 };
const PHONE = { width: 390, height: 844 };

const words = process.argv.slice(2);
const shots = words[0] === "--shots" ? words.splice(0, 2)[1] : null;
if (words.length === 0) {
  console.error("usage: node report.mjs [--shots FOLDER] REPORT.html…");
  process.exit(2);
}

const profile = fs.mkdtempSync(path.join(os.tmpdir(), "harness-browser-"));
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: FLAGS,
  viewport: DESKTOP,
});

const complaints = [];
const open = async (url) => {
  const page = await browser.newPage();
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => complaints.push(`script: ${error.message}`));
  page.on("request", (request) => {
    if (!request.url().startsWith("file:")) complaints.push(`network: ${request.url()}`);
  });
  await page.goto(url);
  return page;
};

const shoot = async (page, name, full = true) => {
  if (shots) await page.screenshot({ path: path.join(shots, `${name}.png`), fullPage: full });
};

// Nothing may make the page itself scroll sideways; wide tables scroll in their own box.
const overflow = (page) => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
const background = (page) => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
// The table of all cells of the first bench.
const tables = ':nth-match(#tables section[aria-labelledby^="table-main-"], 1)';

const numbers = (page, column) => page.$$eval(`${tables} tbody tr`, (rows, column) =>
  rows.map((row) => row.cells[column].dataset.v).filter((value) => value !== undefined).map(Number), column);

const sorting = async (page) => {
  const heads = page.locator(`${tables} thead tr:last-child th`);
  const classes = await heads.evaluateAll((all) => all.map((head) => head.className));
  const column = classes.indexOf("number");
  assert.ok(column > 0, "the table of all cells has numbers");
  const original = await numbers(page, column);
  const button = heads.nth(column).locator("button");
  await button.click();
  assert.equal(await heads.nth(column).getAttribute("aria-sort"), "ascending");
  const up = await numbers(page, column);
  assert.deepEqual(up, [...original].sort((a, b) => a - b));
  await button.click();
  assert.equal(await heads.nth(column).getAttribute("aria-sort"), "descending");
  assert.deepEqual(await numbers(page, column), [...up].reverse().sort((a, b) => b - a));
  await button.click();
  assert.equal(await heads.nth(column).getAttribute("aria-sort"), null);
  assert.deepEqual(await numbers(page, column), original);
  // The same from the keyboard.
  await button.focus();
  await page.keyboard.press("Enter");
  assert.equal(await heads.nth(column).getAttribute("aria-sort"), "ascending");
  await page.keyboard.press("Space");
  assert.equal(await heads.nth(column).getAttribute("aria-sort"), "descending");
  await page.keyboard.press("Enter");
};

const filtering = async (page) => {
  const rows = page.locator(`${tables} tbody tr`);
  const all = await rows.count();
  const input = page.locator(`${tables} .filter input`);
  if (all < 6) {
    assert.equal(await input.count(), 0);
    return;
  }
  // A word that some rows hold and others do not.
  const texts = await rows.evaluateAll((rows) => rows.map((row) => row.textContent));
  const words = texts.flatMap((text) => text.split(/[^a-z0-9-]+/)).filter((word) => word.length > 3);
  const word = words.find((word) => !texts.every((text) => text.includes(word)));
  assert.ok(word, "the rows differ in a word");
  await input.fill(word);
  const shown = await rows.evaluateAll((rows) => rows.filter((row) => !row.hidden).map((row) => row.textContent));
  assert.ok(shown.length > 0 && shown.length < all, `${shown.length} of ${all} rows hold ${word}`);
  assert.ok(shown.every((text) => text.includes(word)));
  assert.equal(await page.locator(`${tables} .filter output`).innerText(), `${shown.length} of ${all} rows`);
  await input.fill(`!${word}`);
  assert.equal(await page.locator(`${tables} tbody tr:not([hidden])`).count(), all - shown.length);
  await input.fill("");
  assert.equal(await page.locator(`${tables} tbody tr:not([hidden])`).count(), all);
};

const keyboard = async (page) => {
  await page.evaluate(() => { document.activeElement?.blur(); window.scrollTo(0, 0); });
  const seen = new Set();
  const wanted = ["A", "BUTTON"];
  // A table of every metric has more columns to stop at than forty.
  const stops = await page.locator("a, button, input, summary, [tabindex], .scroll").count();
  for (let press = 0; press < 40 || press < stops && !wanted.every((name) => seen.has(name)); press += 1) {
    await page.keyboard.press("Tab");
    const focus = await page.evaluate(() => {
      const element = document.activeElement;
      const style = getComputedStyle(element);
      return { name: element.tagName, outline: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0 };
    });
    if (focus.name === "BODY") break;
    assert.ok(focus.outline, `${focus.name} shows that it has the focus`);
    seen.add(focus.name);
  }
  for (const name of wanted) assert.ok(seen.has(name), `the Tab key reaches ${name}`);
};

const cellPage = async (page, name) => {
  const data = await page.evaluate(() => JSON.parse(document.getElementById("cells").textContent));
  const link = page.locator(`${tables} tbody tr:not([hidden]) th.arm a`).first();
  const id = (await link.getAttribute("href")).replace("#cell-", "");
  const cell = data.cells.find((cell) => cell.id === id);
  await link.focus();
  await page.keyboard.press("Enter");
  await page.waitForSelector("#cell h1");
  assert.equal(await page.locator("#cell h1").innerText(), cell.name);
  assert.ok(await page.locator("#report").isHidden());
  assert.equal(await page.evaluate(() => document.activeElement.tagName), "H1");
  assert.equal(await page.locator("#cell pre.command").innerText(), cell.command);
  assert.ok(cell.command.includes(` --filter '=${cell.name}'`), cell.command);
  const plotted = cell.numbers.filter((number) => number.s !== undefined);
  assert.equal(await page.locator("#cell .plot svg").count(), plotted.length);
  assert.ok(plotted.length > 0, "the cell has raw samples");
  const marks = await page.locator("#cell .plot svg").first().locator(".sample, .run").count();
  const code = plotted[0].s;
  const wanted = code[0] === "." ? [...code.slice(1)].filter((sign) => sign !== "~").length : (code.length - 1) / 2;
  assert.equal(marks, wanted, "one mark for every sample");
  await shoot(page, `${name}-cell`);
  await page.setViewportSize(PHONE);
  assert.ok(await overflow(page) <= 0, "the cell's page fits a phone");
  await shoot(page, `${name}-cell-phone`);
  await page.setViewportSize(DESKTOP);
  await page.goBack();
  await page.waitForSelector("#report", { state: "visible" });
  assert.ok(await page.locator("#cell").isHidden());
  return id;
};

const lights = async (page, name) => {
  const light = await background(page);
  await page.emulateMedia({ colorScheme: "dark" });
  const dark = await background(page);
  assert.notEqual(dark, light, "the page follows the system");
  await shoot(page, `${name}-dark`);
  const toggle = page.locator("#theme");
  await toggle.click();
  assert.equal(await background(page), light, "light although the system is dark");
  await page.emulateMedia({ colorScheme: "light" });
  await toggle.click();
  assert.equal(await background(page), dark, "dark although the system is light");
  assert.equal(await toggle.innerText(), "Theme: dark");
  await page.reload();
  assert.equal(await background(page), dark, "the choice is remembered");
  await page.locator("#theme").click();
  assert.equal(await background(page), light);
};

try {
  for (const file of words) {
    const name = path.basename(path.dirname(path.resolve(file)));
    const url = pathToFileURL(path.resolve(file)).href;
    const page = await open(url);
    const first = await page.evaluate(() => {
      const parts = [...document.querySelectorAll("#report > header > *")];
      return parts.map((part) => part.className || part.tagName);
    });
    assert.deepEqual(first.slice(0, 3).map((part) => part.split(" ")[0]), ["over", "H1", "verdict"], "the answer comes first");
    await shoot(page, `${name}-first`, false);
    await shoot(page, `${name}-desktop`);
    assert.ok(await overflow(page) <= 0, "the page fits a desktop");
    await sorting(page);
    await filtering(page);
    await keyboard(page);
    const id = await cellPage(page, name);
    await lights(page, name);
    await page.setViewportSize(PHONE);
    assert.ok(await overflow(page) <= 0, "the page fits a phone");
    await shoot(page, `${name}-phone`);
    await page.setViewportSize(DESKTOP);
    const printed = await page.pdf({ preferCSSPageSize: true, printBackground: true });
    assert.equal(printed.subarray(0, 5).toString(), "%PDF-");
    assert.ok(printed.length > 20_000, `${printed.length} bytes of PDF`);
    if (shots) fs.writeFileSync(path.join(shots, `${name}.pdf`), printed);
    await page.close();
    const deep = await open(`${url}#cell-${id}`);
    assert.ok(await deep.locator("#cell h1").isVisible(), "an address of a cell opens the cell");
    await deep.close();
    assert.deepEqual(complaints, []);
    console.log(`${file}: sorts, filters, opens cells, works by keyboard, in the dark, on a phone and on paper`);
  }
} finally {
  await browser.close();
  fs.rmSync(profile, { recursive: true, force: true });
}
