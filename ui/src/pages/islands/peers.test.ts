import { describe, expect, it } from "vitest";
import { found, type Peer, placeOf, stateOf } from "./peers";

const peer = (name: string, state: string, labels: Record<string, string> = {}): Peer => ({
  key: `12D3${name}`,
  name,
  role: "island",
  state,
  labels,
  loss: 0,
  bytes_in: 0,
  bytes_out: 0,
  clock_skew_seconds: 0,
});

describe("found", () => {
  const all = [peer("b", "connected", { region: "eu" }), peer("c", "unreachable"), peer("a", "connected")];
  it("puts the troubled first", () => expect(found(all, "").map((p) => p.name)).toEqual(["c", "a", "b"]));
  it("wants every word", () => expect(found(all, "REGION=eu conn").map((p) => p.name)).toEqual(["b"]));
});

describe("stateOf", () => {
  it.each([
    [{ state: "connected" }, "good"],
    [{ state: "connected", breaker: "open" }, "warn"],
    [{ state: "refused" }, "bad"],
    [{ state: "anything" }, "idle"],
  ] as const)("%o is %s", (p, want) => expect(stateOf(p)).toBe(want));
});

describe("placeOf", () => {
  it("reads degrees", () =>
    expect(placeOf({ lat: "39.9", lon: "116.4" })).toEqual({ lat: 39.9, lon: 116.4 }));
  it.each([{}, { lat: "91", lon: "0" }, { lat: "x", lon: "1" }, { lat: "1" }])("refuses %o", (l) =>
    expect(placeOf(l as Record<string, string>)).toBeUndefined(),
  );
});
