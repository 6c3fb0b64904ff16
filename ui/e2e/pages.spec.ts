import { mkdirSync } from "node:fs";
import AxeBuilder from "@axe-core/playwright";
import { expect, test } from "./rig";

const screens = process.env.ATOLL_SCREENS;

const pages = [
  ["home", "/"],
  ["alerts", "/alerts"],
  ["explore", "/explore?expr=sum%20by%20(island)%20(rate(shop_http_requests_total%5B1m%5D))&range=15m"],
  ["probes", "/probes"],
  ["probe", "/probes/shop"],
  ["islands", "/islands"],
  ["hosts", "/hosts"],
  ["services", "/services"],
  ["dashboards", "/dashboards"],
  ["aggregation", "/aggregation"],
  ["search", "/search?q=shop"],
  ["settings", "/settings/documents"],
] as const;

for (const scheme of ["light", "dark"] as const) {
  for (const [name, path] of pages) {
    test(`${name} in ${scheme} can be read by everybody`, async ({ signedIn: page }, info) => {
      await page.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
      await page.goto(path);
      await expect(page.getByRole("heading", { level: 1 }).first()).toBeVisible();
      await page.waitForLoadState("networkidle", { timeout: 5000 }).catch(() => {}); // events keep coming
      const found = await new AxeBuilder({ page }).withTags(["wcag2a", "wcag2aa", "wcag21aa"]).analyze();
      expect(
        found.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target.join(" ")).join(", ")}`),
      ).toEqual([]);
      // Nothing sticks out at the side.
      expect(
        await page.evaluate(() => document.documentElement.scrollWidth - innerWidth),
      ).toBeLessThanOrEqual(0);
      if (screens) {
        mkdirSync(screens, { recursive: true });
        await page.screenshot({
          path: `${screens}/${name}-${info.project.name}-${scheme}.jpg`,
          type: "jpeg",
          quality: 42,
        });
      }
    });
  }
}

test("the page speaks Chinese where that is wanted", async ({ page }) => {
  await page.goto("/");
  await page.getByRole("button", { name: /Sign in|Account/ }).click();
  await page.getByRole("menuitem", { name: "中文" }).click();
  await expect(page.getByText("最近一小时")).toBeVisible();
  await expect(page.locator("html")).toHaveAttribute("lang", "zh-CN");
});

test("keys lead through the pages", async ({ page }, info) => {
  test.skip(info.project.name === "phone", "a phone has no keys");
  await page.goto("/");
  await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
  await page.keyboard.press("g");
  await page.keyboard.press("i");
  await expect(page).toHaveURL(/\/islands$/);
  await page.keyboard.press("?");
  await expect(page.getByRole("dialog")).toBeVisible();
});
