import { type Program, setupCode, start } from "./island";
import { expect, test } from "./rig";

// An island of its own, on which nobody has an account yet.
let island: Program;
test.beforeEach(async () => {
  island = await start("run");
});
test.afterEach(async () => {
  await island.stop();
});

test("the first account is made with the code that the island printed", async ({ page }) => {
  await page.goto(`${island.url}/login`);
  await page.getByLabel("Setup code").fill("wrong-code");
  await page.getByLabel("User").fill("grace");
  await page.locator("input[name=password]").fill("a long enough password");
  await page.getByRole("button", { name: "Make the account" }).click();
  await expect(page.getByRole("alert")).toBeVisible();

  await page.getByLabel("Setup code").fill(setupCode(island.dir));
  await page.getByRole("button", { name: "Make the account" }).click();
  await expect(page).toHaveURL(`${island.url}/`);
  await page.getByRole("button", { name: "Account" }).click();
  await expect(page.getByText("grace · admin")).toBeVisible();

  // Out, and in again with the password.
  await page.getByRole("menuitem", { name: "Sign out" }).click();
  await page.goto(`${island.url}/login?to=/settings/users`);
  await page.getByLabel("User").fill("grace");
  await page.locator("input[name=password]").fill("not this one at all");
  await page.getByRole("button", { name: "Sign in", exact: true }).last().click();
  await expect(page.getByRole("alert")).toBeVisible();
  await page.locator("input[name=password]").fill("a long enough password");
  await page.getByRole("button", { name: "Sign in", exact: true }).last().click();
  await expect(page).toHaveURL(/\/settings\/users$/);
  await expect(page.getByRole("cell", { name: "grace" })).toBeVisible();
});

test("an island without anything teaches the first steps", async ({ page }) => {
  await page.goto(island.url);
  await expect(page.getByText("Three first steps")).toBeVisible();
});

test("who single sign-on sent back is told why", async ({ page }) => {
  await page.goto(`${island.url}/login?error=no-role`);
  await expect(page.getByRole("alert")).toHaveText(/None of your groups has a role here/);
  await page.goto(`${island.url}/login?error=%3Cimg%20src=x%3E`);
  await expect(page.getByRole("alert")).toHaveText(/The island's log says why/);
});
