import { expect, test } from "./rig";

/** fire has an alert of this name begin, as any sender of alerts does. */
async function fire(alertname: string, annotations: Record<string, string> = {}) {
  const r = await fetch(`${process.env.ATOLL_E2E_URL}/api/v2/alerts`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify([
      {
        labels: { alertname, job: "night", host: "db1", severity: "critical" },
        annotations: { summary: "db1 is slow", ...annotations },
      },
    ]),
  });
  expect(r.ok, await r.text()).toBe(true);
}

const once = (what: string) => `${what}${Date.now().toString(36)}`;

test("whoever is on call silences in two taps, and takes it back", async ({ signedIn: page }) => {
  const name = once("Night");
  await fire(name);
  await page.goto(`/alerts?q=${name}`);
  const card = page.getByRole("article", { name });
  await card.getByRole("button", { name: "Silence" }).click();
  await page.getByRole("menuitem", { name: "30 minutes" }).click();
  await expect(page.getByText(`${name} is silenced until`)).toBeVisible();
  await expect(card.getByText("silenced", { exact: true })).toBeVisible();

  await page.getByRole("button", { name: "Undo" }).click();
  await expect(page.getByText("The silence has ended")).toBeVisible();
  await expect(card.getByText("silenced", { exact: true })).toHaveCount(0);
});

test("everybody sees who took an alert", async ({ signedIn: page }) => {
  const name = once("Taken");
  await fire(name);
  await page.goto(`/alerts?q=${name}`);
  const card = page.getByRole("article", { name });
  await card.getByRole("button", { name: "Acknowledge" }).click();
  await page.getByLabel("Comment").fill("looking");
  await page.getByRole("dialog").getByRole("button", { name: "Acknowledge" }).click();
  await expect(card.getByText(/ada is on it, until .* · looking/)).toBeVisible();
  await page.goto(`/alerts/history?q=${name}&kind=acknowledged`);
  await expect(page.getByRole("region", { name: "What happened" }).getByText("looking")).toBeVisible({
    timeout: 15_000,
  });
});

test("annotations are text, and only web addresses are links", async ({ signedIn: page }) => {
  const name = once("Hostile");
  await fire(name, {
    summary: `<img src=x onerror="document.title='owned'">`,
    runbook_url: "javascript:document.title='owned'",
    dashboard_url: "https://dashboards.example/night",
  });
  await page.goto(`/alerts?q=${name}`);
  const card = page.getByRole("article", { name });
  await expect(card.getByText("<img src=x")).toBeVisible();
  await expect(card.getByRole("link", { name: "Dashboard" })).toHaveAttribute("rel", /noopener/);
  await expect(card.getByRole("link", { name: "Runbook" })).toHaveCount(0);
  expect(await page.title()).not.toBe("owned");
});

test("a rule is written, previewed, corrected and saved", async ({ signedIn: page }) => {
  const name = once("Gone");
  await page.goto(`/alerts/rules/new?expr=${encodeURIComponent("up < 2")}`);
  await expect(page.getByRole("combobox", { name: "Metric or expression" })).toHaveValue("up");
  await expect(page.getByLabel("Threshold")).toHaveValue("2");
  await page.getByLabel("Must hold for").selectOption("0s");
  await page.getByLabel("Name").fill(name);
  await expect(page.getByText(/It would have fired/)).toBeVisible();

  // The segments' inputs are hidden behind their labels.
  await page.getByText("Advanced", { exact: true }).click();
  const editor = page.getByRole("textbox", { name: "Advanced" });
  await editor.click();
  await page.keyboard.press("ControlOrMeta+End");
  await page.keyboard.type("}");
  await expect(page.getByText(/^line \d+/).first()).toBeVisible();
  await expect(page.getByRole("button", { name: "Save" })).toBeDisabled();
  await page.keyboard.press("Backspace");
  await expect(page.getByText("No problems")).toBeVisible();

  await page.getByRole("button", { name: "Save" }).click();
  await expect(page).toHaveURL(/\/alerts\/rules$/);
  await page.getByRole("searchbox", { name: "Search rules" }).fill(name);
  await expect(page.getByRole("link", { name: new RegExp(name) })).toBeVisible({ timeout: 20_000 });
  await page.getByRole("link", { name: new RegExp(name) }).click();
  await page.getByRole("link", { name: "Edit" }).click();
  await expect(page.getByLabel("Threshold")).toHaveValue("2");

  // The rule is everybody's, and so the other islands find the same.
  await page.goto(`/alerts?q=${name}`);
  const others = page.getByRole("region", { name: "On other islands" });
  await expect(others.getByText(/frankfurt.*singapore|singapore.*frankfurt/)).toBeVisible({
    timeout: 30_000,
  });
});
