import { describe, expect, it } from "vitest";
import { marked, stateOfWord } from "./found";

describe("marked", () => {
  it("marks each word, whatever its case", () =>
    expect(marked("Cart-service", "SERV cart")).toEqual([
      { at: 0, text: "Cart", hit: true },
      { at: 4, text: "-", hit: false },
      { at: 5, text: "serv", hit: true },
      { at: 9, text: "ice", hit: false },
    ]));
  it("marks the longest that fits", () =>
    expect(marked("abc", "a ab")).toEqual([
      { at: 0, text: "ab", hit: true },
      { at: 2, text: "c", hit: false },
    ]));
  it("leaves filters' names out", () =>
    expect(marked("host-1", "kind:host").map((p) => p.hit)).toEqual([true, false]));
  it("keeps text as it is", () =>
    expect(marked("<b>x</b>", "y")).toEqual([{ at: 0, text: "<b>x</b>", hit: false }]));
});

describe("stateOfWord", () => {
  it.each([
    ["firing", "bad"],
    ["pending", "warn"],
    ["up", "good"],
    ["whatever", "idle"],
  ])("%s is %s", (word, state) => expect(stateOfWord(word)).toBe(state));
});
