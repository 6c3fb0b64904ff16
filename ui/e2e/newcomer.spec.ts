import { expect, test } from "./rig";

// What somebody does in the first five minutes, without reading anything and without
// an account: three islands on this machine, and the page that opens by itself.
test.describe.configure({ timeout: 120_000 });

test("a newcomer sees this machine", async ({ page }) => {
  await page.goto("/");
  await page.getByRole("link", { name: /See this machine/ }).click();
  await page.getByRole("main").getByRole("link", { name: "beijing" }).first().click();
  await expect(page.getByRole("heading", { level: 1, name: "beijing" })).toBeVisible();
  await expect(page.getByRole("figure", { name: "CPU by mode" }).locator("canvas")).toBeVisible({
    timeout: 45_000,
  });
});

test("a newcomer is told of an alert, and silences it in two taps", async ({ page }) => {
  const name = `First${Date.now().toString(36)}`;
  const r = await page.request.post("/api/v2/alerts", {
    data: [{ labels: { alertname: name, severity: "critical" }, annotations: { summary: "db1 is slow" } }],
  });
  expect(r.ok(), await r.text()).toBe(true);
  await page.goto("/");
  await expect(page.getByRole("heading", { level: 1, name: "Something needs you" })).toBeVisible();
  // The link names the alert itself.
  await page.getByRole("main").getByRole("link", { name, exact: true }).click();
  await expect(page).toHaveURL(/\/alerts\/[0-9a-f]+$/);
  const card = page.getByRole("article", { name });
  await card.getByRole("button", { name: "Silence" }).click();
  await page.getByRole("menuitem", { name: "2 hours" }).click();
  await expect(page.getByText(`${name} is silenced until`)).toBeVisible();
  await expect(card.getByText("silenced", { exact: true }).first()).toBeVisible();

  // What happened afterwards stands on the home page, and the silence in its list.
  await page.goto("/alerts/silences");
  await expect(page.getByText(`${name} (2h)`)).toBeVisible();
  await page.goto("/");
  await expect(page.getByRole("main").getByText(/\d+ silenced/)).toBeVisible();
  await expect(page.getByRole("main").getByRole("link", { name, exact: true })).toHaveCount(0);
});

test("a newcomer asks the three islands one question", async ({ page }) => {
  await page.goto("/");
  await page.getByRole("link", { name: /Ask all islands one question/ }).click();
  await expect(page.getByTestId("receipt")).toContainText("3 of 3 islands answered");
  for (const city of ["beijing", "singapore", "frankfurt"])
    await expect(page.getByRole("region", { name: "Series" })).toContainText(city);
});

test("the map says which city does not reach which site", async ({ signedIn: page }) => {
  // A site that only Frankfurt probes, and that nobody serves.
  const session = await (await page.request.get("/api/atoll/v1/session")).json();
  const site = `branch-${Date.now().toString(36)}`;
  const address = `/api/atoll/v1/documents/probe/${site}`;
  const manners = { "X-Atoll-CSRF": session.csrf, "Content-Type": "text/plain; charset=utf-8" };
  const r = await page.request.put(address, {
    headers: manners,
    data: [
      "module: tcp_connect",
      "targets: ['127.0.0.1:9']",
      "interval: 1s",
      "timeout: 500ms",
      "from: {islands: '{island=\"frankfurt\"}'}",
      "",
    ].join("\n"),
  });
  expect(r.ok(), await r.text()).toBe(true);
  try {
    await page.goto("/");
    await page.getByRole("link", { name: /See which city reaches which site/ }).click();
    const cities = page.getByRole("list", { name: "Vantages on the map" });
    await expect(cities.getByRole("listitem").filter({ hasText: "frankfurt" })).toContainText(
      new RegExp(`cannot reach .*${site}`),
      { timeout: 60_000 },
    );
    await expect(cities.getByRole("listitem").filter({ hasText: "beijing" })).not.toContainText(site);
    await expect(
      page
        .getByRole("application", { name: "Vantages on the map" })
        .getByText(/cannot reach/)
        .first(),
    ).toBeVisible();
  } finally {
    await page.request.delete(address, { headers: { "X-Atoll-CSRF": session.csrf } });
  }
});
