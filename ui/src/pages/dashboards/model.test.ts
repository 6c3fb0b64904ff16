// biome-ignore-all lint/suspicious/noTemplateCurlyInString: that is how variables are written
import { describe, expect, it } from "vitest";
import {
  type Dashboard,
  moved,
  nameOf,
  newPanel,
  readDashboard,
  stateAt,
  without,
  withPanel,
  writeDashboard,
} from "./model";
import { all, fill, readChosen, uses, writeChosen } from "./variables";

const board: Dashboard = {
  title: "t",
  panels: ["a", "b", "c"].map((title) => ({ ...newPanel("stat", "up"), title })),
};
const order = (d: Dashboard) => d.panels.map((p) => p.title).join("");

describe("a dashboard", () => {
  it("is written and read again as it was", () =>
    expect(readDashboard(writeDashboard(board))).toEqual(board));
  it.each(["", "[]", "null", "{}", '{"panels":5}', "x"])("%j is none", (text) =>
    expect(readDashboard(text)).toBeUndefined(),
  );
  it("survives sizes that are none", () =>
    expect(readDashboard('{"title":1,"panels":[{"width":99,"height":"x"}]}')?.panels[0]).toMatchObject({
      width: 12,
      height: 6,
    }));
  it("has its panels moved, added and removed", () => {
    expect(order(moved(board, 0, 2))).toBe("bca");
    expect(order(moved(board, 2, -1))).toBe("cab");
    expect(order(moved(board, 7, 0))).toBe("abc");
    expect(order(without(board, 1))).toBe("ac");
    expect(order(withPanel(board, { ...newPanel("text"), title: "x" }, 1))).toBe("axbc");
  });
  it("gets a name that documents can have and nobody else has", () => {
    expect(nameOf("Ärger & Übel/2", [])).toBe("a-rger-u-bel-2");
    expect(nameOf("商店", [])).toBe("dashboard");
    expect(nameOf("new", ["dashboard", "dashboard-2"])).toBe("dashboard-3");
  });
  it("has the state of the highest threshold that is reached", () => {
    const t = [
      { value: 2, state: "bad" as const },
      { value: 1, state: "warn" as const },
    ];
    expect([0, 1, 1.5, 2, Number.NaN].map((v) => stateAt(v, t))).toEqual([
      undefined,
      "warn",
      "warn",
      "bad",
      undefined,
    ]);
  });
});

describe("variables", () => {
  const span = { from: 0, to: 3_600_000, step: 15 };
  it.each([
    ['up{a="$a"}', { a: ["x"] }, 'up{a="x"}'],
    ['up{a=~"${a}"}', { a: ["x.y", "z"] }, 'up{a=~"(x\\\\.y|z)"}'],
    ['up{a=~"[[a]]"}', { a: [all] }, 'up{a=~".*"}'],
    ['up{a=~"${a:regex}"}', { a: ["x.y"] }, 'up{a=~"x\\\\.y"}'],
    ["topk(${a:csv}, b)", { a: ["1", "2"] }, "topk(1,2, b)"],
    ["rate(x[$__rate_interval])", {}, "rate(x[1m])"],
    ["rate(x[$__interval]) $__range $__range_s $__interval_ms", {}, "rate(x[15s]) 1h 3600 15000"],
    ["$unknown ${unknown:csv}", {}, "$unknown ${unknown:csv}"],
    ["$ab $a", { a: ["1"] }, "$ab 1"],
  ])("%s with %j", (expr, chosen, want) => expect(fill(expr, chosen, span)).toBe(want));
  it("cannot end the string they stand in", () =>
    expect(fill('up{a="$a"}', { a: ['x"} or vector(1) #\n\\'] }, span)).toBe(
      'up{a="x\\"} or vector(1) #\\n\\\\"}',
    ));
  it("are in the address, else as the dashboard has them", () => {
    const vars = [
      { name: "a", type: "custom" as const, options: ["1", "2"] },
      { name: "b", type: "label" as const, multi: true, include_all: true },
      { name: "c", type: "text" as const, default: ["d"] },
    ];
    expect(readChosen(new URLSearchParams(), vars, { a: ["1", "2"] })).toEqual({
      a: ["1"],
      b: [all],
      c: ["d"],
    });
    const p = writeChosen(writeChosen(new URLSearchParams("range=1h"), "b", ["x", "y"]), "a", ["2"]);
    expect(readChosen(p, vars, {})).toEqual({ a: ["2"], b: ["x", "y"], c: ["d"] });
    expect(p.get("range")).toBe("1h");
  });
  it("know where they are used", () =>
    expect([uses("$a", "a"), uses("${a:csv}", "a"), uses("[[a]]", "a"), uses("$ab", "a")]).toEqual([
      true,
      true,
      true,
      false,
    ]));
});
