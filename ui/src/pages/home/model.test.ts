import { describe, expect, it } from "vitest";
import { type Alert, grouped, jobs, overall, severityState } from "./model";

const alert = (alertname: string, severity: string | undefined, startsAt: string): Alert => ({
  fingerprint: alertname + startsAt,
  labels: { alertname, ...(severity === undefined ? {} : { severity }) },
  annotations: {},
  startsAt,
  endsAt: startsAt,
  status: { state: "active", silencedBy: [], inhibitedBy: [] },
});

describe("jobs", () => {
  const sample = (job: string, n: number) => ({ metric: { job }, value: [0, String(n)] as [number, string] });
  it("puts those with targets down first", () =>
    expect(jobs([sample("a", 3), sample("b", 2)], [sample("b", 1)])).toEqual([
      { job: "b", up: 1, down: 1 },
      { job: "a", up: 3, down: 0 },
    ]));
});

describe("grouped", () => {
  it("makes one of those with one name, the worst first", () => {
    const groups = grouped([
      alert("Slow", "warning", "2026-01-01T00:00:00Z"),
      alert("Down", "critical", "2026-01-02T00:00:00Z"),
      alert("Slow", "warning", "2026-01-01T01:00:00Z"),
    ]);
    expect(groups.map((g) => [g.name, g.alerts.length])).toEqual([
      ["Down", 1],
      ["Slow", 2],
    ]);
    expect(groups[1]?.since).toBe(Date.parse("2026-01-01T00:00:00Z"));
  });
});

describe("states", () => {
  it("takes an alert without severity for a warning", () => expect(severityState(undefined)).toBe("warn"));
  it("knows the worst", () => expect(overall(["good", "info", "bad"])).toBe("bad"));
  it("of nothing is good", () => expect(overall([])).toBe("good"));
});
