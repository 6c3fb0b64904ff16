import { describe, expect, it } from "vitest";
import { align, extremes } from "./align";
import { unitOf } from "./units";

describe("align", () => {
  it("keeps gaps and puts all on one axis", () => {
    const { times, columns } = align([
      {
        name: "a",
        points: [
          [1000, 1],
          [3000, 3],
        ],
      },
      {
        name: "b",
        points: [
          [2000, 2],
          [3000, Number.POSITIVE_INFINITY],
        ],
      },
    ]);
    expect(times).toEqual([1, 2, 3]);
    expect(columns).toEqual([
      [1, null, 3],
      [null, 2, null],
    ]);
  });
  it("of nothing is nothing", () => expect(align([])).toEqual({ times: [], columns: [] }));
});

describe("extremes", () => {
  it("leaves gaps out", () =>
    expect(extremes([null, 2, 5, null, 1, null])).toEqual({ min: 1, max: 5, last: 1 }));
  it("of gaps only are none", () => expect(extremes([null, null])).toBeUndefined());
});

describe("unitOf", () => {
  it.each([
    ["node_memory_MemFree_bytes", "bytes"],
    ["rate(node_network_receive_bytes_total[5m])", "bytesPerSecond"],
    ["histogram_quantile(0.9, rate(http_request_duration_seconds_bucket[5m]))", "seconds"],
    ["rate(node_cpu_seconds_total[5m])", "perSecond"],
    ["service:shop_errors:ratio", "ratio"],
    ["up", "number"],
  ])("%s is in %s", (expr, unit) => expect(unitOf(expr)).toBe(unit));
});
