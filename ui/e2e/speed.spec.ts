import type { CDPSession, Page } from "@playwright/test";
import { expect, test } from "./rig";

// Bytes and counts are asserted: they are the same on every machine. Times are told
// by `make ui-speed`, and by nothing else.
const telling = process.env.ATOLL_SPEED !== undefined;
// Playwright's own recording takes more than the page.
test.use({ trace: "off" });
test.describe.configure({ timeout: 120_000 });

const charts = 20;
const points = 1000;

const tell = (what: string, figure: string) => console.log(`SPEED ${what}: ${figure}`);
const kilobytes = (bytes: number) => `${(bytes / 1024).toFixed(0)} KB`;

/** at is the p-th part of sorted numbers. */
const at = (sorted: number[], p: number) =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))] ?? 0;

/** record has the island store as many seconds of 20 series as a chart has points. */
async function record() {
  const now = Math.floor(Date.now() / 1000);
  const series = (panel: number) =>
    Array.from({ length: points + 60 }, (_, i) => ({
      timeUnixNano: `${now - points - 60 + i}000000000`,
      asDouble: 50 + 40 * Math.sin((i + panel * 37) / 60) + ((i * 7919 * (panel + 1)) % 97) / 10,
      attributes: [{ key: "panel", value: { stringValue: String(panel) } }],
    }));
  const metric = {
    name: "speed_level",
    gauge: { dataPoints: Array.from({ length: charts }, (_, p) => series(p)).flat() },
  };
  const resource = { attributes: [{ key: "service.name", value: { stringValue: "speed" } }] };
  const r = await fetch(`${process.env.ATOLL_E2E_URL}/api/v1/otlp/v1/metrics`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ resourceMetrics: [{ resource, scopeMetrics: [{ metrics: [metric] }] }] }),
  });
  expect(r.ok, await r.text()).toBe(true);
}

/** board makes a dashboard with a chart for each of them, and tells its address. */
async function board(page: Page): Promise<string> {
  const name = `speed-${Date.now().toString(36)}`;
  const session = await (await page.request.get("/api/atoll/v1/session")).json();
  const r = await page.request.put(`/api/atoll/v1/documents/dashboard/${name}`, {
    headers: { "X-Atoll-CSRF": session.csrf },
    data: {
      title: name,
      panels: Array.from({ length: charts }, (_, i) => ({
        title: `Level ${i}`,
        type: "timeseries",
        width: 3,
        height: 5,
        queries: [{ expr: `speed_level{panel="${i}"}`, legend: "level" }],
      })),
    },
  });
  expect(r.ok(), await r.text()).toBe(true);
  return `/dashboards/${name}?scope=local&range=${points - 1}s&step=1s`;
}

/** pace tells how long each frame took (ms) while act goes on, as the page sees it. */
async function pace(page: Page, act: () => Promise<void>): Promise<number[]> {
  await page.evaluate(() => {
    const w = window as unknown as { paces: number[]; pacing: boolean };
    w.paces = [];
    w.pacing = true;
    let before = performance.now();
    const frame = (now: number) => {
      w.paces.push(now - before);
      before = now;
      if (w.pacing) requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  });
  await act();
  return page.evaluate(() => {
    const w = window as unknown as { paces: number[]; pacing: boolean };
    w.pacing = false;
    return w.paces.slice(1);
  });
}

type Traced = {
  name: string;
  pid: number;
  tid: number;
  /** Thread time in µs: what other programs of the machine take is not in it. */
  tdur?: number;
  args?: { name?: string };
};

/** traced gives what Chromium noted of its own work while act went on. */
async function traced(cdp: CDPSession, act: () => Promise<void>): Promise<Traced[]> {
  const events: Traced[] = [];
  cdp.on("Tracing.dataCollected", (e) => events.push(...(e.value as unknown as Traced[])));
  const done = new Promise<void>((r) => cdp.once("Tracing.tracingComplete", () => r()));
  await cdp.send("Tracing.start", {
    transferMode: "ReportEvents",
    traceConfig: {
      includedCategories: ["toplevel", "devtools.timeline", "disabled-by-default-devtools.timeline.frame"],
    },
  });
  await act();
  await cdp.send("Tracing.end");
  await done;
  return events;
}

test("the first page is small", async ({ page }) => {
  await page.goto("/");
  await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
  await page.waitForLoadState("networkidle", { timeout: 3000 }).catch(() => {}); // events keep coming
  const loaded = await page.evaluate(async () => {
    const parts = performance.getEntriesByType("resource") as PerformanceResourceTiming[];
    const [own] = performance.getEntriesByType("navigation") as PerformanceNavigationTiming[];
    const largest = await new Promise<number>((done) => {
      new PerformanceObserver((list) => done(list.getEntries().at(-1)?.startTime ?? 0)).observe({
        type: "largest-contentful-paint",
        buffered: true,
      });
      setTimeout(() => done(0), 2000);
    });
    return {
      bundle: parts
        .filter((p) => /\.(js|css)$/.test(new URL(p.name).pathname))
        .reduce((sum, p) => sum + p.encodedBodySize, own?.encodedBodySize ?? 0),
      requests: parts.length,
      first: performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 0,
      largest,
    };
  });
  expect(loaded.bundle).toBeGreaterThan(50 * 1024); // it was measured at all
  expect(loaded.bundle).toBeLessThan(350 * 1024);
  if (!telling) return;
  tell(
    "first page, scripts and styles as they are sent",
    `${kilobytes(loaded.bundle)}, ${loaded.requests} requests`,
  );
  tell("first contentful paint", `${loaded.first.toFixed(0)} ms`);
  tell("largest contentful paint", `${loaded.largest.toFixed(0)} ms`);
});

for (const [list, path, ready] of [
  ["host", "/hosts", "sum by (instance) (rate(node_cpu_seconds_total[1m] offset 30s))"],
  ["service", "/services", "sum by (job) (rate(shop_http_requests_total[1m] offset 30s))"],
] as const)
  test(`a click on a ${list} brings its charts`, async ({ page }) => {
    // The islands have just begun: a rate wants two samples, and a chart ends at a whole step.
    await expect(async () => {
      const r = await page.request.get(`/api/v1/query?scope=all&query=${encodeURIComponent(ready)}`);
      expect((await r.json()).data.result).not.toHaveLength(0);
    }).toPass({ timeout: 90_000 });
    await page.goto(path);
    const link = page.getByRole("main").locator(`a[href^="${path}/"]`).first();
    await expect(link).toBeVisible({ timeout: 45_000 });
    const began = Date.now();
    await link.click();
    await expect(page.locator("figure[data-points] canvas").first()).toBeVisible();
    if (telling) tell(`click on a ${list} to its first chart`, `${Date.now() - began} ms`);
  });

test("twenty charts of a thousand points are drawn, and stay fluent", async ({ signedIn: page }, info) => {
  await record();
  const path = await board(page);
  const began = Date.now();
  await page.goto(path);
  const drawn = page.locator("figure[data-points]");
  const look = async () => {
    // Charts are drawn when they come into view.
    for (let i = 0; i < charts; i++)
      await page.getByRole("region", { name: `Level ${i}`, exact: true }).scrollIntoViewIfNeeded();
    return drawn.evaluateAll((all) => all.map((f) => Number((f as HTMLElement).dataset.points)));
  };
  await expect(async () => {
    const each = await look();
    expect(each).toHaveLength(charts);
    expect(Math.min(...each)).toBeGreaterThanOrEqual(points);
  }).toPass({ timeout: 30_000 });
  if (!telling) return;
  tell(
    `${charts} charts of ${points} points, ${info.project.name}, all drawn after`,
    `${Date.now() - began} ms`,
  );

  await page.goto(`${path}&refresh=5s`);
  await look();
  const cdp = await page.context().newCDPSession(page);
  let paces: number[] = [];
  const events = await traced(cdp, async () => {
    paces = await pace(page, async () => {
      const wide = page.viewportSize()?.width ?? 390;
      for (const end = Date.now() + 12_000; Date.now() < end; ) {
        for (const way of [1, -1])
          for (let i = 0; i < 20; i++) {
            await page.mouse.move(wide * (0.15 + 0.035 * i), 300 + 10 * (i % 7));
            await page.mouse.wheel(0, way * 60);
            await page.evaluate(() => new Promise(requestAnimationFrame));
          }
      }
    });
  });
  const frames = [...paces].sort((a, b) => a - b);
  const sum = frames.reduce((a, b) => a + b, 0);
  // Several threads may bear the name: the page's is the one that works.
  const mains = events
    .filter((e) => e.name === "thread_name" && e.args?.name === "CrRendererMain")
    .map(({ pid, tid }) =>
      events
        .filter((e) => e.pid === pid && e.tid === tid && e.name.endsWith("RunTask"))
        .map((e) => (e.tdur ?? 0) / 1000),
    );
  const total = (ms: number[]) => ms.reduce((a, b) => a + b, 0);
  const tasks = mains.sort((a, b) => total(b) - total(a))[0] ?? [];
  tell(
    `live, scrolled and hovered, ${info.project.name}`,
    `${((1000 * frames.length) / sum).toFixed(1)} frames/s, frame median ${at(frames, 0.5).toFixed(1)} ms, 95% ${at(frames, 0.95).toFixed(1)} ms, 99% ${at(frames, 0.99).toFixed(1)} ms, worst ${at(frames, 1).toFixed(0)} ms`,
  );
  tell(
    `the page's own work, ${info.project.name}`,
    `${(total(tasks) / frames.length).toFixed(1)} ms of processor for a frame, ${tasks.filter((d) => d > 50).length} of ${tasks.length} tasks over 50 ms, the longest ${Math.max(0, ...tasks).toFixed(0)} ms`,
  );
});
