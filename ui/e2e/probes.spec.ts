import { expect, test } from "./rig";

test("the matrix leads to a target's verdict in words", async ({ page }) => {
  await page.goto("/probes");
  await expect(page.getByRole("table")).toBeVisible();
  await page.getByRole("rowheader").first().getByRole("link").click();
  await expect(page.getByTestId("verdict")).toContainText(/vantage/);
});

test("a probe at once brings a line from each vantage, and a verdict", async ({ signedIn: page }) => {
  await page.goto("/probes/now");
  await page.getByLabel("URL, host or address").fill(`${process.env.ATOLL_E2E_URL}/-/healthy`);
  await page.getByRole("button", { name: "Probe", exact: true }).click();
  await expect(page.getByTestId("end")).toBeVisible();
  for (const city of ["beijing", "singapore", "frankfurt"])
    await expect(page.getByRole("main").getByText(city, { exact: true }).first()).toBeVisible();
  // What is asked for is in the address: the same page again.
  await expect(page).toHaveURL(/target=/);
});
