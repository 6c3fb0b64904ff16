import { describe, expect, it } from "vitest";
import { found, lateTotal, type Rule, saving, stateOf } from "./model";

const rule = (over: Partial<Rule> = {}): Rule => ({
  rule: "requests:1m",
  line: 1,
  match: '{__name__="requests_total"}',
  interval_seconds: 60,
  by: ["job"],
  outputs: ["total"],
  late: "carry",
  keep_input: true,
  distribute: false,
  max_groups: 0,
  series: 1000,
  groups: 10,
  made_series: 10,
  overflow_series: 0,
  sealed: "2026-01-01T00:00:00Z",
  lag_seconds: 4,
  late_groups: { carried: 1, dropped: 2 },
  ...over,
});
const soon = Date.parse("2026-01-01T00:01:00Z");

describe("rules", () => {
  it("save what goes in over what comes out", () => expect(saving(rule())).toBe(100));
  it("save nothing while nothing comes out", () => expect(saving(rule({ made_series: 0 }))).toBeUndefined());
  it("count what was late", () => expect(lateTotal(rule())).toBe(3));
  it.each([
    [{}, soon, "good"],
    [{ series: 0 }, soon, "idle"],
    [{ overflow_series: 1 }, soon, "warn"],
    [{ sealed: undefined }, soon, "info"],
    [{}, soon + 600_000, "bad"],
  ] as const)("%o at %d is %s", (over, now, want) => expect(stateOf(rule(over), now)).toBe(want));
  it("are found by any word", () => {
    expect(found([rule()], "JOB total")).toHaveLength(1);
    expect(found([rule()], "nowhere")).toHaveLength(0);
  });
});
