import { describe, expect, it } from "vitest";
import type { Line } from "@/prom/answer";
import { heatOf } from "./heat";

const classic = (le: string, ...points: [number, number][]): Line => ({
  labels: { le },
  points,
  histograms: [],
});

describe("heatOf", () => {
  it("takes from classic buckets those below, and sums series", () => {
    const h = heatOf([
      classic("1", [0, 1]),
      classic("2", [0, 3]),
      classic("+Inf", [0, 4]),
      classic("2", [0, 10]),
      classic("1", [0, 10]),
      classic("+Inf", [0, 10]),
    ]);
    expect(h?.edges).toEqual([0, 1, 2, Number.POSITIVE_INFINITY]);
    expect(h?.counts).toEqual([[11, 2, 1]]);
    expect(h?.max).toBe(11);
  });
  it("lets no bucket be less than nothing", () =>
    expect(heatOf([classic("1", [0, 2]), classic("2", [0, 1.9])])?.counts).toEqual([[2, 0]]));
  it("reads native histograms whose buckets became finer", () => {
    const h = heatOf([
      {
        labels: {},
        points: [],
        histograms: [
          [0, { count: 4, sum: 1, buckets: [{ lower: 1, upper: 4, count: 4 }] }],
          [
            1000,
            {
              count: 3,
              sum: 1,
              buckets: [
                { lower: 1, upper: 2, count: 1 },
                { lower: 2, upper: 4, count: 2 },
              ],
            },
          ],
        ],
      },
    ]);
    expect(h?.times).toEqual([0, 1000]);
    expect(h?.edges).toEqual([1, 2, 4]);
    expect(h?.counts).toEqual([
      [2, 2],
      [1, 2],
    ]);
  });
  it("keeps every observation where rows are too many to draw", () => {
    const buckets = Array.from({ length: 500 }, (_, i) => ({ lower: i, upper: i + 1, count: 1 }));
    const h = heatOf([{ labels: {}, points: [], histograms: [[0, { count: 500, sum: 0, buckets }]] }]);
    expect(h?.edges.length).toBeLessThanOrEqual(121);
    expect(h?.counts[0]?.reduce((a, b) => a + b)).toBeCloseTo(500);
  });
  it("of anything else is nothing", () => {
    expect(heatOf([{ labels: { job: "a" }, points: [[0, 1]], histograms: [] }])).toBeUndefined();
    expect(heatOf([])).toBeUndefined();
    expect(heatOf([classic("x", [0, 1])])).toBeUndefined();
  });
});
