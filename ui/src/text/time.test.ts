import { describe, expect, it } from "vitest";
import { preferred } from "./text";
import { ago, bytes, count, percent, seconds } from "./time";

describe("numbers for people", () => {
  it.each([
    [seconds(0.0000032), "3.2 µs"],
    [seconds(0.0413), "41.3 ms"],
    [seconds(7.9), "7.9 s"],
    [seconds(600), "10 min"],
    [seconds(Number.NaN), "–"],
    [bytes(1536), "1.5 KiB"],
    [bytes(0), "0 B"],
    [count(3_760_000), "3.76 M"],
    [count(0.00001), "1.00e-5"],
    [count(Number.POSITIVE_INFINITY), "+Inf"],
    [percent(0.031), "3.1 %"],
  ])("%s", (got, want) => expect(got).toBe(want));
});

describe("ago", () => {
  const now = Date.UTC(2026, 0, 2, 12, 0, 0);
  it("takes the largest unit", () => {
    expect(ago(now - 3 * 60_000 - 5000, "en", now)).toBe("3 minutes ago");
    expect(ago(now - 3 * 60_000, "zh", now)).toBe("3分钟前");
    expect(ago(now - 100, "en", now)).toBe("now");
    expect(ago(now + 3_600_000, "en", now)).toBe("in 1 hour");
  });
});

describe("preferred language", () => {
  it("is what was chosen, else what the browser wants first", () => {
    expect(preferred("zh", ["en"])).toBe("zh");
    expect(preferred(null, ["zh-CN", "en"])).toBe("zh");
    expect(preferred(null, ["en-US", "zh"])).toBe("en");
    expect(preferred("xx", ["de", "zh"])).toBe("zh");
    expect(preferred(null, ["de"])).toBe("en");
  });
});
