import { defineConfig, devices } from "@playwright/test";

// Flows run one after the other: they share three real islands, which one of them
// may change.
export default defineConfig({
  testDir: "e2e",
  workers: 1,
  forbidOnly: true,
  retries: 1,
  timeout: 60_000,
  expect: { timeout: 15_000 },
  globalSetup: "./e2e/archipelago.ts",
  reporter: [["list"]],
  outputDir: "test-results",
  use: {
    trace: "retain-on-failure",
    launchOptions: {
      executablePath: process.env.ATOLL_CHROMIUM ?? "/usr/bin/chromium",
      args: ["--no-sandbox"],
    },
    locale: "en-GB",
  },
  projects: [
    { name: "desk", use: { viewport: { width: 1440, height: 900 } } },
    {
      name: "phone",
      use: { ...devices["Pixel 7"], viewport: { width: 390, height: 844 }, deviceScaleFactor: 1 },
    },
  ],
});
