import { describe, expect, it } from "vitest";
import { readQueries, readView, shareable, writeQueries } from "./address";
import { type Built, build, empty, parse, suggest } from "./builder";

describe("builder", () => {
  const cases: [Partial<Built>, string][] = [
    [{ metric: "up" }, "up"],
    [{ metric: "up", filters: [{ label: "job", op: "=~", value: 'a"|b' }] }, 'up{job=~"a\\"|b"}'],
    [
      { metric: "x_total", apply: "rate", window: "5m", aggregate: "sum", by: ["job", "code"] },
      "sum by (job, code) (rate(x_total[5m]))",
    ],
    [{ metric: "x", aggregate: "topk" }, "topk(10, x)"],
    [
      { metric: "d_bucket", apply: "quantile", window: "5m", quantile: 0.99, aggregate: "sum", by: ["job"] },
      "histogram_quantile(0.99, sum by (le, job) (rate(d_bucket[5m])))",
    ],
    [
      { metric: "d", apply: "quantile", window: "1m", aggregate: "sum" },
      "histogram_quantile(0.95, sum(rate(d[1m])))",
    ],
    [{ metric: "d_bucket", apply: "quantile", window: "1m" }, "histogram_quantile(0.95, rate(d_bucket[1m]))"],
  ];
  it.each(cases)("%j", (part, want) => {
    const b = { ...empty, ...part };
    expect(build(b)).toBe(want);
    expect(parse(want)).toEqual(b);
  });
  it.each([
    "a + b",
    "rate(x[5m]) > 1",
    "sum without (a) (x)",
    'up{job="x"} offset 5m',
    "topk(3, x)",
    '{__name__="up"}',
  ])("does not pretend to know %s", (expr) => expect(parse(expr)).toBeUndefined());
  it("suggests by type, else by name", () => {
    expect(suggest("x", "counter").apply).toBe("rate");
    expect(suggest("x_total", undefined).apply).toBe("rate");
    expect(suggest("x", "histogram").apply).toBe("quantile");
    expect(suggest("x_bytes", "gauge").apply).toBe("none");
  });
});

describe("address", () => {
  it("holds several queries and the view", () => {
    const p = writeQueries(new URLSearchParams("tab=table"), ["up", "a & b"]);
    expect(readQueries(new URLSearchParams(p.toString()))).toEqual(["up", "a & b"]);
    expect(readView(p)).toBe("table");
    expect(readView(new URLSearchParams("tab=nonsense"))).toBe("chart");
    expect(readQueries(new URLSearchParams())).toEqual([""]);
  });
  it("can be pinned to a time", () => {
    const p = shareable(new URLSearchParams("expr=up&range=1h&refresh=5s"), { from: 0, to: 60_000 }, true);
    expect(p.toString()).toBe("expr=up&from=1970-01-01T00%3A00%3A00.000Z&to=1970-01-01T00%3A01%3A00.000Z");
  });
});
