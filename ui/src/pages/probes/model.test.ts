import { describe, expect, it } from "vitest";
import { cannotReach, lines, type Row, stateOf, tally, waterfall, worstFirst } from "./model";

const row = (target: string, state: string): Row => ({
  definition: "site",
  target,
  state,
  words: "",
  page: false,
  cells: [],
});

describe("worstFirst", () => {
  const rows = [row("b", "up"), row("a", "up"), row("c", "down"), row("d", "degraded")];
  it("puts down before all", () =>
    expect(worstFirst(rows, "", "").map((r) => r.target)).toEqual(["c", "d", "a", "b"]));
  it("filters by words and state", () =>
    expect(worstFirst(rows, "site b", "up").map((r) => r.target)).toEqual(["b"]));
  it("counts", () => expect(tally(rows)).toEqual({ up: 2, down: 1, degraded: 1 }));
});

describe("cannotReach", () => {
  const cell = (vantage: string, counted: string) => ({ vantage, counted }) as Row["cells"][number];
  it("names a site by its definition where that has no other", () => {
    const rows = [
      {
        ...row("http://a/", "down"),
        definition: "shop",
        cells: [cell("oslo", "failing"), cell("rome", "fine")],
      },
      { ...row("http://b/", "up"), cells: [cell("oslo", "failing"), cell("rome", "slow")] },
      { ...row("http://c/", "up"), cells: [cell("oslo", "blind")] },
    ];
    expect([...cannotReach(rows)]).toEqual([["oslo", ["shop", "http://b/"]]]);
  });
});

describe("waterfall", () => {
  it("follows the order of phases and leaves out what did not happen", () =>
    expect(waterfall({ transfer: 0.1, connect: 0.2, tls: 0 })).toEqual([
      { phase: "connect", from: 0, took: 0.2 },
      { phase: "transfer", from: 0.2, took: 0.1 },
    ]));
  it("of nothing is nothing", () => expect(waterfall(undefined)).toEqual([]));
});

describe("lines", () => {
  const stream = (...parts: string[]) =>
    new ReadableStream<Uint8Array>({
      start(c) {
        for (const p of parts) c.enqueue(new TextEncoder().encode(p));
        c.close();
      },
    });
  const read = async (...parts: string[]) => {
    const all: unknown[] = [];
    for await (const v of lines(stream(...parts))) all.push(v);
    return all;
  };
  it("puts together what came in pieces", async () =>
    expect(await read('{"a":', '1}\n{"b"', ':"ü"}\n\n', '{"c":3}')).toEqual([
      { a: 1 },
      { b: "ü" },
      { c: 3 },
    ]));
  it("fails where the stream was cut off", async () => await expect(read('{"a":1}\n{"b"')).rejects.toThrow());
});

describe("stateOf", () => {
  it.each([
    ["up", "good"],
    ["failing", "bad"],
    ["slow", "warn"],
    ["blind", "info"],
    ["silent", "idle"],
  ])("%s is %s", (word, want) => expect(stateOf(word)).toBe(want));
});
