import { expect, test } from "./rig";

test("who is not signed in sees the islands, and cannot invite", async ({ page }) => {
  await page.goto("/islands");
  await expect(page.getByRole("button", { name: "singapore" })).toBeVisible();
  await expect(page.getByRole("button", { name: "Invite" })).toBeDisabled();
});

test("an admin invites an island", async ({ signedIn: page }) => {
  await page.goto("/islands");
  await page.getByRole("button", { name: "Invite" }).click();
  await page.getByRole("textbox", { name: "Region" }).fill("eu-west");
  await page.getByRole("button", { name: "Make the token" }).click();
  await expect(page.getByTestId("token")).toContainText(/^atoll join atoll1/);
  await expect(page.getByRole("img", { name: "The command as a QR code" })).toBeVisible();
});

test("an island's page says how it is reached, and what revoking does", async ({ signedIn: page }) => {
  await page.goto("/islands/singapore");
  await expect(page.getByText("Certificate until")).toBeVisible();
  await page.getByRole("button", { name: "Ping" }).click();
  await expect(page.getByText(/ms, (direct|relayed)/)).toBeVisible();
  await page.getByRole("button", { name: "Revoke" }).click();
  await expect(page.getByText("Its key never comes back")).toBeVisible();
  await page.getByRole("button", { name: "Cancel" }).click();
});
