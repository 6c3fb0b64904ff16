import { describe, expect, it } from "vitest";
import {
  endOf,
  equal,
  evidenceOf,
  exploreOf,
  type Group,
  markOf,
  matches,
  mentions,
  place,
  readMatchers,
  safeLink,
  withFingerprint,
  withOperator,
  writeMatcher,
} from "./model";
import { blank, divide, documentName, documentOf, exprOf, simpleOf, yamlOf } from "./rule";

const group: Group = {
  group: "g1",
  alertname: "HighLoad",
  labels: { job: "db" },
  common_labels: { job: "db", severity: "page" },
  severity: "page",
  state: "firing",
  count: 1,
  since: "2026-01-01T00:00:00Z",
  silenced: 0,
  inhibited: 0,
  acknowledged_count: 0,
  links: [],
  receivers: ["night"],
  instances: [
    {
      fingerprint: "f",
      labels: { alertname: "HighLoad", job: "db", severity: "page", host: "db1" },
      since: "2026-01-01T00:00:00Z",
      state: "firing",
      links: [],
    },
  ],
};

describe("silences", () => {
  it("end when people work again", () => {
    const night = new Date(2026, 2, 3, 2, 30).getTime();
    expect(new Date(endOf("tomorrow", night))).toEqual(new Date(2026, 2, 4, 9, 0));
    expect(endOf("30m", night) - night).toBe(1_800_000);
    expect(endOf("8h", night) - night).toBe(8 * 3_600_000);
  });
  it("match as Alertmanager does", () => {
    const [m] = equal({ host: "db1" });
    if (m === undefined) throw new Error("no matcher");
    expect(matches([m], { host: "db1" })).toBe(true);
    expect(matches([withOperator(m, "!=")], {})).toBe(true);
    expect(matches([{ ...withOperator(m, "=~"), value: "db" }], { host: "db1" })).toBe(false);
    expect(matches([{ ...withOperator(m, "=~"), value: "db.|x" }], { host: "db1" })).toBe(true);
    expect(matches([{ ...withOperator(m, "!~"), value: "(" }], {})).toBeUndefined();
    expect(writeMatcher(withOperator({ ...m, value: 'a"b' }, "!~"))).toBe('host!~"a\\"b"');
    expect(equal({ a: "", b: "1" })).toHaveLength(1);
  });
  it("come from the address, whatever that says", () => {
    expect(readMatchers(JSON.stringify(equal({ a: "1" })))).toEqual(equal({ a: "1" }));
    for (const bad of [null, "", "{", "[null,1,{}]", '{"name":"a"}']) expect(readMatchers(bad)).toEqual([]);
  });
});

describe("groups", () => {
  it("are found by every word", () => {
    expect(mentions(group, "highload DB1")).toBe(true);
    expect(mentions(group, "night")).toBe(true);
    expect(mentions(group, "highload db2")).toBe(false);
  });
  it("tell their instances apart", () =>
    expect(place(group.instances[0] as Group["instances"][0], group)).toBe("host=db1"));
  it("have a colour for any severity", () =>
    expect([markOf("Critical"), markOf("warning"), markOf("info"), markOf("purple")]).toEqual([
      "bad",
      "warn",
      "info",
      "idle",
    ]));
});

describe("links", () => {
  it("of queries lead to Explore", () => {
    expect(exploreOf("http://x/graph?g0.expr=up+%3D%3D+0&scope=all")).toBe(
      "/explore?expr=up+%3D%3D+0&scope=all",
    );
    expect(exploreOf("http://x/other")).toBeUndefined();
    expect(exploreOf("javascript:x?expr=1")).toBeUndefined();
  });
  it("are web addresses or none", () => {
    expect(safeLink("https://wiki/x")).toBe("https://wiki/x");
    for (const bad of ["javascript:alert(1)", " JaVaScRiPt:alert(1)", "data:text/html,x", "/relative", "x"])
      expect(safeLink(bad)).toBeUndefined();
  });
});

describe("rules", () => {
  it.each([
    ["rate(a[5m]) >= 0.5", "rate(a[5m])", ">=", "0.5"],
    ["up == 0", "up", "==", "0"],
    ["a{x='>'} < -1e3", "a{x='>'}", "<", "-1e3"],
    ["a > 1 and b > 2", "a > 1 and b > 2", ">", ""],
    ["sum(a > 5)", "sum(a > 5)", ">", ""],
    ["a > b", "a > b", ">", ""],
  ])("%s is divided", (expr, metric, condition, threshold) =>
    expect(divide(expr)).toEqual({ metric, condition, threshold }),
  );
  it("are written so that YAML cannot misread them", () => {
    const s = {
      ...blank,
      name: 'Disk "full": #1',
      metric: 'a{b="x: #y"}',
      threshold: "5",
      owner: "yes",
      summary: "{{ $labels.host }}: full",
    };
    expect(yamlOf(s)).toBe(
      [
        "groups:",
        '  - name: "disk-full-1"',
        "    rules:",
        '      - alert: "Disk \\"full\\": #1"',
        "        expr: |-",
        '          a{b="x: #y"} > 5',
        "        for: 5m",
        "        labels:",
        '          severity: "warning"',
        '          owner: "yes"',
        "        annotations:",
        '          summary: "{{ $labels.host }}: full"',
        "",
      ].join("\n"),
    );
  });
  it("lack an expression until it is whole", () => {
    expect(exprOf({ ...blank, metric: "a" })).toBe("");
    expect(exprOf({ ...blank, metric: "a", threshold: "many" })).toBe("");
    expect(exprOf({ ...blank, metric: "a", threshold: "1e3" })).toBe("a > 1e3");
  });
  it("come back into the form only whole", () => {
    const rule = { group: "x", alert: "A", expr: "a > 5", labels: { severity: "info" } };
    expect(simpleOf([rule])).toMatchObject({
      name: "A",
      metric: "a",
      threshold: "5",
      severity: "info",
      for: "0s",
    });
    for (const other of [
      [],
      [rule, rule],
      [{ ...rule, labels: { severity: "info", team: "x" } }],
      [{ ...rule, annotations: { runbook_url: "x" } }],
      [{ ...rule, expr: "absent(a)" }],
      [{ ...rule, interval: "5s" }],
      [{ group: "x", record: "a", expr: "b" }],
    ])
      expect(simpleOf(other)).toBeUndefined();
  });
  it("know their document", () => {
    expect(documentOf("/data/replica/applied/rules/disk.yml")).toEqual({ kind: "rules", name: "disk" });
    expect(documentOf("globalrules/slo")).toEqual({ kind: "globalrules", name: "slo" });
    expect(documentOf("/etc/rules.yml")).toBeUndefined();
    expect(documentName("  HighCPULoad 90% ")).toBe("high-cpuload-90");
    expect(documentName("磁盘")).toBe("rule");
  });
});

describe("links from elsewhere", () => {
  it("lead to the page of the evidence", () => {
    const api = "https://a.example/api/v1/probes/evidence";
    expect(evidenceOf(`${api}/20260101%2Fx`)).toBe("/probes/evidence/20260101%2Fx");
    expect(evidenceOf(`${api}?definition=shop&instance=http%3A%2F%2Fa%2F`)).toBe(
      "/probes/evidence?definition=shop&instance=http%3A%2F%2Fa%2F",
    );
    expect(evidenceOf("https://a.example/other")).toBeUndefined();
    expect(evidenceOf("javascript:alert(1)//api/v1/probes/evidence/x")).toBeUndefined();
  });

  it("find the group of an alert", () => {
    const has = { instances: [{ fingerprint: "ab" }] } as Group;
    expect(withFingerprint([{ instances: [] } as unknown as Group, has], "ab")).toBe(has);
    expect(withFingerprint([has], "cd")).toBeUndefined();
  });
});
