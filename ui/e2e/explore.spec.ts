import type { Page } from "@playwright/test";
import { expect, test } from "./rig";

const metric = "shop_http_requests_total";

/** chart waits until lines are drawn, and gives the plot's place on the page. */
async function chart(page: Page) {
  const plot = page.locator("figure .u-over").first();
  await expect(plot).toBeVisible();
  const box = await plot.boundingBox();
  if (box === null) throw new Error("the chart has no place");
  return box;
}

const range = (page: Page) => page.getByRole("button", { name: /^Time range:/ });

test("a question is completed, run, zoomed into and shared", async ({ page, context, isMobile }) => {
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.goto("/explore?range=5m");
  const editor = page.getByRole("textbox", { name: "Query 1" });
  await editor.click();
  await page.keyboard.type("rate(shop_http_requests_t");
  const choices = page.locator(".cm-tooltip-autocomplete");
  await expect(choices).toContainText(metric);
  // A completion takes nothing in its first moments, lest it takes what was meant for the text.
  // Taken for the text, Enter closes it.
  await expect(async () => {
    if (!(await choices.isVisible())) await page.keyboard.press("Control+Space");
    await expect(choices).toContainText(metric, { timeout: 2000 });
    await page.keyboard.press("Enter");
    await expect(editor).toContainText(metric, { timeout: 500 });
  }).toPass();
  await page.keyboard.type("[1m]");
  await page.getByRole("button", { name: "Run" }).click();

  await expect(page).toHaveURL(/expr=rate/);
  await expect(page.getByTestId("receipt")).toContainText(/\d of \d islands answered/);
  const box = await chart(page);
  await expect(page.getByRole("region", { name: "Series" })).toContainText("frontend");

  if (!isMobile) {
    const before = await range(page).textContent();
    await page.mouse.move(box.x + box.width * 0.5, box.y + box.height / 2);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.9, box.y + box.height / 2, { steps: 8 });
    await page.mouse.up();
    await expect(page).toHaveURL(/from=.*to=/);
    await expect(range(page)).not.toHaveText(before ?? "");
    await page.getByRole("button", { name: "Zoom back" }).click();
    await expect(range(page)).toHaveText(before ?? "");
  }

  await page.getByRole("button", { name: "Share" }).click();
  await page.getByRole("menuitem", { name: "Copy link to exactly this time" }).click();
  const link = await page.evaluate(() => navigator.clipboard.readText());
  const other = await context.newPage();
  await other.goto(link);
  await expect(other.getByRole("textbox", { name: "Query 1" })).toContainText(`rate(${metric}[1m])`);
  await expect(other.getByTestId("receipt")).toContainText(/\d of \d islands answered/);
  await chart(other);
  expect(new URL(other.url()).searchParams.get("from")).toBe(new URL(link).searchParams.get("from"));
});

test("who does not know PromQL builds a question", async ({ page }) => {
  await page.goto("/explore?range=5m");
  await page.getByRole("button", { name: "Builder" }).click();
  const builder = page.getByRole("group", { name: "Builder" });
  await builder.getByRole("combobox", { name: "Metric" }).fill(metric);
  await page.getByRole("option", { name: metric, exact: true }).click();
  await builder.getByRole("combobox", { name: "Together" }).click();
  await page.getByRole("option", { name: "sum" }).click();
  await builder.getByRole("button", { name: "Run this" }).click();
  await expect(page).toHaveURL(/expr=sum/);
  await chart(page);
});

test("a table of one island, and a wrong question", async ({ page }) => {
  await page.goto("/explore?expr=up&tab=table&scope=local");
  const table = page.getByRole("region", { name: "Table" });
  await expect(table.getByRole("row")).not.toHaveCount(0);
  await expect(page.getByTestId("receipt")).toContainText("by this island alone");
  await page.goto("/explore?expr=sum(");
  await expect(page.getByRole("alert")).toContainText("parse error");
});
