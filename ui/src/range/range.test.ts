import { describe, expect, it } from "vitest";
import { duration, moment, rateWindow, readRange, secondsOf, spanOf, stepFor, writeRange } from "./range";

describe("durations", () => {
  it.each([
    ["5m", 300],
    ["1h30m", 5400],
    ["1d", 86_400],
    ["500ms", 0.5],
    ["", undefined],
    ["5", undefined],
    ["0s", undefined],
    ["5 m", undefined],
  ])("%s", (text, s) => expect(secondsOf(text)).toBe(s));
  it("are written as they are read", () => {
    for (const s of [1, 90, 3600, 5400, 90_061]) expect(secondsOf(duration(s))).toBe(s);
    expect(duration(0.25)).toBe("250ms");
  });
});

describe("a range in an address", () => {
  it("survives it", () => {
    const p = writeRange(new URLSearchParams("expr=up&range=1h"), {
      from: 1_000_000_000_000,
      to: 1_000_000_060_000,
    });
    expect(p.get("range")).toBeNull();
    expect(readRange(p)).toEqual({ from: 1_000_000_000_000, to: 1_000_000_060_000 });
    expect(readRange(writeRange(p, { last: "3h" }))).toEqual({ last: "3h" });
    expect(p.get("expr")).toBe("up");
  });
  it("that makes no sense is the usual one", () => {
    expect(readRange(new URLSearchParams("from=2026-01-02&to=2026-01-01"))).toEqual({ last: "1h" });
    expect(readRange(new URLSearchParams("range=soon"), "6h")).toEqual({ last: "6h" });
    expect([moment("x"), moment(""), moment("1795465759000")]).toEqual([
      undefined,
      undefined,
      1_795_465_759_000,
    ]);
  });
});

describe("steps", () => {
  it("fit a chart", () => {
    expect([stepFor(60), stepFor(3600), stepFor(86_400)]).toEqual([1, 15, 300]);
  });
  it("are whole, so that points of overlapping questions are the same", () => {
    const a = spanOf({ last: "1h" }, 1_795_465_759_123);
    const b = spanOf({ last: "1h" }, 1_795_465_761_000);
    expect(a).toEqual(b);
    expect(a.from % 15_000).toBe(0);
    expect(a.to - a.from).toBe(3_600_000);
  });
  it("never ask for more points than there may be", () => {
    const s = spanOf({ from: 0, to: 86_400_000 * 30 }, 0, 1);
    expect((s.to - s.from) / 1000 / s.step).toBeLessThanOrEqual(11_000);
  });
  it("of a moment are not empty", () => {
    const s = spanOf({ from: 1000, to: 1001 }, 0);
    expect(s.to).toBeGreaterThan(s.from);
  });
  it("have windows that hold several samples", () =>
    expect([rateWindow(1), rateWindow(300)]).toEqual(["1m", "5m15s"]));
});
