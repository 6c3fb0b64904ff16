import { describe, expect, it } from "vitest";
import type { Line } from "@/prom/answer";
import { present } from "@/prom/Graph";
import { parser } from "@/prom/restrict";
import { hostCharts, hostMatchers, listQueries } from "./charts";
import { arrange, hostsOf, perCore, silent } from "./list";

const line = (labels: Record<string, string>, v: number): Line => ({
  labels,
  points: [[0, v]],
  histograms: [],
});

/** faults are the places where the grammar does not know what to make of an expression. */
function faults(expr: string): number {
  let n = 0;
  parser.parse(expr).iterate({
    enter(node) {
      if (node.type.isError) n++;
    },
  });
  return n;
}

describe("charts of a host", () => {
  const charts = hostCharts(hostMatchers('a"b\\c', "reef"), "1m");
  it("are PromQL, whatever the host is called", () => {
    for (const c of charts)
      for (const q of c.queries) expect(`${faults(q.expr)} ${q.expr}`).toBe(`0 ${q.expr}`);
    for (const q of Object.values(listQueries("2m"))) expect(faults(q)).toBe(0);
  });
  it("are about that host in every part", () => {
    for (const c of charts)
      for (const q of c.queries) {
        const picked = q.expr.match(/\b(node|container)_\w+\{/g)?.length ?? 0;
        expect(picked).toBeGreaterThan(0);
        expect(q.expr.split('instance="a\\"b\\\\c",island="reef"').length - 1).toBe(picked);
      }
  });
  it("appear where their metrics exist", () =>
    expect(
      present(charts, new Set(["node_load1", "container_cpu_usage_seconds_total"])).map((c) => c.id),
    ).toEqual(["load", "containerCPU"]));
});

describe("the list", () => {
  const hosts = hostsOf({
    info: [
      line({ instance: "a", island: "x", nodename: "alpha", release: "6.1" }, 1),
      line({ instance: "a", island: "y", nodename: "beta" }, 1),
    ],
    bare: [line({ instance: "a", island: "x" }, 1), line({ instance: "b" }, 1), line({}, 1)],
    cpu: [line({ instance: "a", island: "x" }, 0.2), line({ instance: "b" }, Number.NaN)],
    disk: [line({ instance: "b" }, 0.9)],
    load: [line({ instance: "b" }, 4)],
    cores: [line({ instance: "b" }, 2)],
  });
  it("tells hosts of one name on two islands apart", () =>
    expect(hosts.map((h) => `${h.island}/${h.instance}`)).toEqual(["x/a", "y/a", "/b"]));
  it("leaves out what is not known", () => {
    expect(hosts[0]).toEqual({ instance: "a", island: "x", nodename: "alpha", kernel: "6.1", cpu: 0.2 });
    expect(hosts[2]?.cpu).toBeUndefined();
    expect(hosts.map(silent)).toEqual([false, true, false]);
    expect(perCore(hosts[2] as (typeof hosts)[number])).toBe(2);
  });
  it("has what needs somebody first, and finds by words", () => {
    expect(arrange(hosts, "", "strain").map((h) => `${h.island}/${h.instance}`)).toEqual([
      "y/a",
      "/b",
      "x/a",
    ]);
    expect(arrange(hosts, "6.1 X", "name").map((h) => h.nodename)).toEqual(["alpha"]);
  });
});
