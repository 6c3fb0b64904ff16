import { test as base, expect, type Page } from "@playwright/test";

/** admin is the account that archipelago makes. */
export const admin = { user: "ada", password: "correct horse battery" };

export const test = base.extend<{ signedIn: Page }>({
  // biome-ignore lint/correctness/noEmptyPattern: the form that Playwright asks for
  baseURL: async ({}, use) => use(process.env.ATOLL_E2E_URL),
  page: async ({ page }, use, info) => {
    const faults: string[] = [];
    page.on("pageerror", (e) => faults.push(String(e)));
    page.on("console", (m) => {
      // What the policy of content blocks is a fault of the page, even where nobody sees it.
      if (m.type() === "error" && /Content Security Policy/.test(m.text())) faults.push(m.text());
    });
    await use(page);
    expect(faults, `faults of the page in ${info.title}`).toEqual([]);
  },
  // Signed in as admin, by the API: the login page has a flow of its own.
  signedIn: async ({ page }, use) => {
    const r = await page.request.post("/api/atoll/v1/session", { data: admin });
    expect(r.ok(), await r.text()).toBe(true);
    await use(page);
  },
});
export { expect };
