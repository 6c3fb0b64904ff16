import { expect, test } from "./rig";

test("everything is found in one box while it is typed", async ({ page }) => {
  await page.goto("/");
  await page.keyboard.press("/");
  await expect(page.getByRole("searchbox", { name: "Search" }).first()).toBeFocused();
  await page.keyboard.type("shop_http");
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(/\/search\?q=shop_http/);
  await expect(page.getByRole("link", { name: "shop_http_requests_total", exact: true })).toBeVisible();
  await page.getByRole("searchbox", { name: "Search" }).first().fill("frankfurt");
  await expect(page.getByRole("link", { name: "frankfurt" }).first()).toBeVisible();
});

test("what nothing matches says so", async ({ page }) => {
  await page.goto("/search?q=no-such-thing-anywhere");
  await expect(page.getByText("Nothing matches")).toBeVisible();
});
