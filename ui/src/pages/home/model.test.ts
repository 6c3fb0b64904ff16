import { describe, expect, it } from "vitest";
import type { Row } from "../probes/model";
import { alertsState, begins, changesOf, needsOf, type Overview, overall } from "./model";
import { english as t } from "./text";

const overview = (part: Partial<Overview>): Overview => ({
  island: "paris",
  at: "2026-01-01T01:00:00Z",
  islands: { count: 1, connected: 1, lost: [], unreached: [] },
  targets: { up: 0, down: 0, unknown: 0, jobs: [] },
  alerts: { firing: 0, by_severity: {}, pending: 0, silenced: 0 },
  probes: { up: 0, degraded: 0, down: 0, unknown: 0, seen_up: 0, seen_down: 0, seen_pending: 0 },
  health: [],
  budgets: [],
  changes: { since: "2026-01-01T00:00:00Z", counts: {}, newest: [] },
  needs: [],
  ...part,
});

const alert = (title: string, severity: "critical" | "warning", id: string) => ({
  kind: "alert" as const,
  severity,
  title,
  detail: `${title} of ${id}`,
  href: `/alerts/${id}`,
});

describe("needsOf", () => {
  it("takes alerts of one name for one trouble, the worst first", () => {
    const o = overview({
      needs: [alert("Slow", "warning", "a"), alert("Down", "critical", "b"), alert("Slow", "warning", "c")],
    });
    expect(needsOf(o, [], t).map((n) => [n.state, n.title, n.to])).toEqual([
      ["bad", "Down", "/alerts/b"],
      ["warn", "2 × Slow", "/alerts?q=Slow"],
    ]);
  });

  it("says each lost island once, and each job with targets down", () => {
    const o = overview({
      islands: { count: 3, connected: 1, lost: ["oslo"], unreached: ["oslo", "rome"] },
      targets: { up: 3, down: 1, unknown: 0, jobs: [{ job: "node", up: 3, down: 1, unknown: 0 }] },
    });
    expect(needsOf(o, [], t).map((n) => n.title)).toEqual([
      "oslo is lost",
      "rome is out of reach",
      "node: 1 of 4 targets down",
    ]);
  });

  it("has what other islands judge", () => {
    const row = (target: string, state: string) => ({ definition: "shop", target, state, words: "w" }) as Row;
    const all = [row("a", "up"), row("b", "degraded"), row("c", "down")];
    expect(needsOf(overview({}), all, t).map((n) => [n.state, n.title])).toEqual([
      ["bad", "c is down"],
      ["warn", "b is degraded"],
    ]);
  });
});

describe("changesOf", () => {
  const event = (topic: "alerts" | "documents" | "probes", kind: string, id: string, minute: number) => ({
    topic,
    kind,
    id,
    at: `2026-01-01T00:${minute}:00Z`,
    summary: topic === "alerts" ? "Slow: it is slow" : id,
  });
  const of = (...newest: Overview["changes"]["newest"]) =>
    changesOf(overview({ changes: { since: "2026-01-01T00:00:00Z", counts: {}, newest } }), t);

  it("tells how what came and went stands now", () =>
    expect(
      of(
        event("alerts", "resolved", "f", 30),
        event("probes", "down", "shop/http://a/", 20),
        event("alerts", "firing", "f", 10),
      ).map((c) => [c.title, c.state, c.times]),
    ).toEqual([
      ["Slow resolved", "good", 2],
      ["http://a/ is down", "bad", 1],
    ]));

  it("leaves out the islands' bookkeeping and what may yet fire", () =>
    expect(
      of(
        event("documents", "changed", "member/1", 30),
        event("documents", "changed", "rules/shop", 20),
        event("alerts", "pending", "g", 10),
      ).map((c) => c.title),
    ).toEqual(["rules/shop changed"]));
});

describe("begins", () => {
  const targets = (...names: string[]) => ({
    up: names.length,
    down: 0,
    unknown: 0,
    jobs: names.map((job) => ({ job, up: 1, down: 0, unknown: 0 })),
  });
  const islands = { count: 1, connected: 1, lost: [], unreached: [] };
  it("with what an island scrapes of itself", () =>
    expect(begins(overview({ targets: targets("atoll", "cgroup", "node") }))).toBe(true));
  it("not with a job of somebody's, nor in a network", () => {
    expect(begins(overview({ targets: targets("atoll", "shop") }))).toBe(false);
    expect(begins(overview({ islands: { ...islands, network: "acme" } }))).toBe(false);
  });
});

describe("states", () => {
  const alerts = (firing: number, by_severity: Record<string, number>) =>
    alertsState({ firing, by_severity, pending: 0, silenced: 0 });
  it("takes an alert without severity for a warning", () => expect(alerts(1, { "": 1 })).toBe("warn"));
  it("goes by the worst severity", () => expect(alerts(2, { info: 1, critical: 1 })).toBe("bad"));
  it("is good where none fires", () => expect(alerts(0, {})).toBe("good"));
  it("knows the worst", () => expect(overall(["good", "info", "bad"])).toBe("bad"));
  it("of nothing is good", () => expect(overall([])).toBe("good"));
});
