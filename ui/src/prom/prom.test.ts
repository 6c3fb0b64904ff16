import { describe, expect, it } from "vitest";
import { type Line, type Receipt, read } from "./answer";
import { fill, nameOf, selector, toSeries } from "./names";
import { summary } from "./receipt";
import { restrict } from "./restrict";
import { readScope, writeScope } from "./scope";

const line = (labels: Record<string, string>, ...points: [number, number][]): Line => ({
  labels,
  points,
  histograms: [],
});

describe("read", () => {
  it("reads a matrix with native histograms, times in ms", () => {
    const a = read({
      data: {
        resultType: "matrix",
        result: [
          {
            metric: { a: "b" },
            values: [
              [1.5, "NaN"],
              [2, "+Inf"],
            ],
            histograms: [[2, { count: "3", sum: "1.5", buckets: [[0, "0.5", "1", "3"]] }]],
          },
        ],
      },
      warnings: ["w"],
    });
    expect(a.lines[0]?.points).toEqual([
      [1500, Number.NaN],
      [2000, Number.POSITIVE_INFINITY],
    ]);
    expect(a.lines[0]?.histograms).toEqual([
      [2000, { count: 3, sum: 1.5, buckets: [{ lower: 0.5, upper: 1, count: 3 }] }],
    ]);
    expect(a.warnings).toEqual(["w"]);
  });
  it("reads vectors, scalars and strings", () => {
    expect(read({ data: { resultType: "vector", result: [{ metric: {}, value: [1, "2"] }] } }).lines).toEqual(
      [line({}, [1000, 2])],
    );
    expect(read({ data: { resultType: "scalar", result: [1, "7"] } }).lines).toEqual([line({}, [1000, 7])]);
    expect(read({ data: { resultType: "string", result: [1, "x"] } }).text).toBe("x");
  });
});

describe("names", () => {
  it("quotes what PromQL would misread", () => {
    expect(selector({ __name__: "up" })).toBe("up");
    expect(selector({ __name__: "up", a: 'x"y\\' })).toBe('up{a="x\\"y\\\\"}');
    expect(selector({ "http.method": "GET" })).toBe('{"http.method"="GET"}');
  });
  it("tells lines apart by what differs", () => {
    const lines = [line({ __name__: "up", job: "a", x: "1" }), line({ __name__: "up", job: "b", x: "1" })];
    expect(toSeries(lines).map((s) => s.name)).toEqual(["job=a", "job=b"]);
    expect(nameOf(lines[0] as Line, {})).toBe('up{job="a", x="1"}');
  });
  it("never gives two lines one name, nor breaks a line", () => {
    const names = toSeries([line({ a: "1\n2" }), line({ a: "3" })], { legend: "same {{missing}}" }).map(
      (s) => s.name,
    );
    expect(names).toEqual(["same ", "same  (2)"]);
    expect(fill("{{a}}/{{ b }}", { a: "x\ny", b: "z" })).toBe("x⏎y/z");
    expect(toSeries([line({})], { fallback: "sum(up)" })[0]?.name).toBe("sum(up)");
  });
});

describe("restrict", () => {
  it.each([
    ["up", ["a"], 'up{island="a"}'],
    ["up{}", ["a"], 'up{island="a"}'],
    ['up{job="x"}', ["a", "b"], 'up{island=~"a|b", job="x"}'],
    [
      "sum by (job) (rate(x_total[5m] offset 1h)) / on (job) y",
      ["a.b", "c"],
      'sum by (job) (rate(x_total{island=~"a\\\\.b|c"}[5m] offset 1h)) / on (job) y{island=~"a\\\\.b|c"}',
    ],
    ['{__name__="up"}', ["a"], '{island="a", __name__="up"}'],
    [
      "max_over_time(avg(up)[1h:1m]) > 1 # up {}",
      ["a"],
      'max_over_time(avg(up{island="a"})[1h:1m]) > 1 # up {}',
    ],
    ['"up"', ["a"], '"up"'],
    ["up", [], "up"],
  ])("%s on %j", (expr, islands, want) => expect(restrict(expr, islands)).toBe(want));
});

describe("scope", () => {
  it.each(["local", "all", "a,b"])("%s survives an address", (text) =>
    expect(writeScope(readScope(text) ?? [])).toBe(text),
  );
  it("of nothing is none", () =>
    expect([readScope(null), readScope(","), readScope("")]).toEqual([undefined, undefined, undefined]));
});

describe("summary", () => {
  const part = { series: 1, samples: 1, bytes: 10, took: 1 };
  const receipt: Receipt = {
    scope: "all",
    partial: true,
    rounds: 1,
    islands: [
      { ...part, name: "a", state: "answered", newest: 2000 },
      { ...part, name: "b", state: "answered", newest: 1000 },
      { ...part, name: "c", state: "failed", why: "gone" },
      { ...part, name: "d", state: "skipped", bytes: 0 },
      { ...part, name: "e", state: "answered", newest: 1, samples: 0 },
    ],
  };
  it("counts who was asked, and is as fresh as the stalest answer with samples", () =>
    expect(summary(receipt)).toEqual({ asked: 4, answered: 3, missing: ["c"], bytes: 40, newest: 1000 }));
});
