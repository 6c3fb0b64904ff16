import { describe, expect, it } from "vitest";
import { elsewhere } from "./elsewhere";

const line = (alertname: string, severity: string, island: string, count: number) => ({
  labels: { alertname, severity, island },
  points: [[0, count]] as [number, number][],
  histograms: [],
});

describe("elsewhere", () => {
  it("leaves this island out and puts the worst first", () => {
    const got = elsewhere(
      [
        line("Slow", "warning", "frankfurt", 5),
        line("Down", "critical", "beijing", 1),
        line("Down", "critical", "frankfurt", 1),
        line("Down", "critical", "singapore", 3),
        line("Odd", "", "singapore", 9),
      ],
      "beijing",
    );
    expect(got.map((g) => [g.alertname, g.count])).toEqual([
      ["Down", 4],
      ["Slow", 5],
      ["Odd", 9],
    ]);
    expect(got[0]?.islands).toEqual([
      { name: "singapore", count: 3 },
      { name: "frankfurt", count: 1 },
    ]);
  });
  it("keeps apart what has the same name and another severity", () => {
    expect(elsewhere([line("A", "info", "x", 1), line("A", "critical", "y", 1)], "z")).toHaveLength(2);
  });
});
