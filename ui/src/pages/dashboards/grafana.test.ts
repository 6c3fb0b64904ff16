// biome-ignore-all lint/suspicious/noTemplateCurlyInString: that is how variables are written
import { describe, expect, it } from "vitest";
import { convert, type Imported } from "./grafana";

const must = (exported: unknown): Imported => {
  const i = convert(exported);
  if (i === undefined) throw new Error("no dashboard");
  return i;
};

/** As Grafana 10 exports for sharing: gridPos, typed data sources, nested rows. */
const today = {
  __inputs: [{ name: "DS_PROMETHEUS", type: "datasource", pluginId: "prometheus" }],
  title: "Node <b>Exporter</b>",
  schemaVersion: 39,
  refresh: "1m",
  time: { from: "now-24h", to: "now" },
  templating: {
    list: [
      { name: "datasource", type: "datasource", query: "prometheus" },
      {
        name: "job",
        type: "query",
        label: "Job",
        datasource: { type: "prometheus", uid: "${datasource}" },
        definition: "label_values(node_uname_info, job)",
        query: { query: "label_values(node_uname_info, job)", refId: "x", qryType: 1 },
        regex: "/node.*/",
        multi: true,
        includeAll: true,
        current: { value: ["$__all"] },
      },
      {
        name: "node",
        type: "query",
        query: 'label_values(node_uname_info{job=~"$job"}, instance)',
        current: { value: "a:9100" },
      },
      { name: "size", type: "custom", query: "small : 1,large : 2" },
      { name: "window", type: "interval", query: "1m,5m,1h" },
      { name: "text", type: "textbox", query: "hello" },
      { name: "extra", type: "adhoc" },
      { name: "sum", type: "query", query: "query_result(sum(up))" },
    ],
  },
  panels: [
    {
      type: "timeseries",
      title: "Network",
      gridPos: { x: 12, y: 1, w: 12, h: 9 },
      datasource: { type: "prometheus", uid: "${DS_PROMETHEUS}" },
      fieldConfig: {
        defaults: {
          unit: "bps",
          min: 0,
          custom: { stacking: { mode: "normal" } },
          thresholds: {
            mode: "absolute",
            steps: [
              { color: "green", value: null },
              { color: "orange", value: 800 },
              { color: "red", value: 8000 },
            ],
          },
        },
        overrides: [{ matcher: {}, properties: [] }],
      },
      targets: [
        {
          refId: "A",
          expr: 'rate(node_network_receive_bytes_total{instance="$node",job="[[job]]"}[$__rate_interval]) * 8',
          legendFormat: "{{device}}",
        },
        { refId: "B", expr: "up", hide: true },
        { refId: "C", datasource: { type: "__expr__", uid: "__expr__" }, expression: "$A * 2", type: "math" },
      ],
    },
    { type: "row", title: "Overview", collapsed: false, gridPos: { x: 0, y: 0, w: 24, h: 1 }, panels: [] },
    {
      type: "stat",
      title: "Uptime",
      gridPos: { x: 0, y: 1, w: 6, h: 4 },
      datasource: { type: "prometheus" },
      fieldConfig: { defaults: { unit: "ms" } },
      targets: [{ expr: 'uptime{x="${node:raw}"}', legendFormat: "__auto" }],
    },
    {
      type: "gauge",
      title: "CPU",
      gridPos: { x: 6, y: 1, w: 6, h: 4 },
      fieldConfig: { defaults: { unit: "percent", max: 100 } },
      targets: [{ expr: "cpu" }],
      transformations: [{ id: "reduce" }],
      repeat: "node",
    },
    {
      type: "text",
      title: "About",
      gridPos: { x: 0, y: 5, w: 24, h: 3 },
      options: { mode: "html", content: "<script>alert(1)</script>" },
    },
    {
      type: "row",
      title: "More",
      collapsed: true,
      gridPos: { x: 0, y: 20, w: 24, h: 1 },
      panels: [
        {
          type: "table",
          title: "Disks",
          gridPos: { x: 0, y: 21, w: 24, h: 6 },
          targets: [{ expr: "disk", format: "table" }],
        },
        { type: "piechart", title: "Pie", gridPos: { x: 0, y: 27, w: 8, h: 6 }, targets: [{ expr: "x" }] },
        {
          type: "logs",
          title: "Logs",
          gridPos: { x: 0, y: 33, w: 8, h: 6 },
          datasource: { type: "loki" },
          targets: [{ expr: "{}" }],
        },
        {
          type: "timeseries",
          title: "Loki rate",
          gridPos: { x: 0, y: 34, w: 8, h: 6 },
          datasource: { type: "loki" },
          targets: [{ expr: "rate({}[1m])" }],
        },
        {
          type: "timeseries",
          title: "Shared",
          gridPos: { x: 0, y: 40, w: 8, h: 6 },
          libraryPanel: { uid: "u", name: "Latency" },
        },
        { type: "stat", title: "Nothing", gridPos: { x: 0, y: 46, w: 8, h: 6 }, targets: [] },
      ],
    },
  ],
};

describe("what Grafana exports today", () => {
  const { dashboard, notes } = must(today);
  const panel = (title: string) => dashboard.panels.find((p) => p.title === title);
  it("is read in the order in which it is seen", () =>
    expect(dashboard.panels.map((p) => `${p.type} ${p.title} ${p.width}x${p.height}`)).toEqual([
      "row Overview 12x1",
      "stat Uptime 3x4",
      "bargauge CPU 3x4",
      "timeseries Network 6x9",
      "text About 12x3",
      "row More 12x1",
      "table Disks 12x6",
    ]));
  it("keeps title, time and refresh, markup staying text", () =>
    expect([dashboard.title, dashboard.range, dashboard.refresh, panel("About")?.text]).toEqual([
      "Node <b>Exporter</b>",
      "24h",
      "1m",
      "<script>alert(1)</script>",
    ]));
  it("gets units as they are here, values and thresholds with them", () => {
    expect(panel("Network")).toMatchObject({
      unit: "bytesPerSecond",
      stacked: true,
      min: 0,
      thresholds: [
        { value: 100, state: "warn" },
        { value: 1000, state: "bad" },
      ],
      queries: [
        {
          expr: '(rate(node_network_receive_bytes_total{instance="$node",job="${job}"}[$__rate_interval]) * 8) * 0.125',
          legend: "{{device}}",
        },
      ],
    });
    expect(panel("CPU")).toMatchObject({ unit: "ratio", max: 1, queries: [{ expr: "(cpu) * 0.01" }] });
    expect(panel("Uptime")).toMatchObject({
      unit: "seconds",
      queries: [{ expr: '(uptime{x="${node:raw}"}) * 0.001' }],
    });
    expect(panel("Uptime")?.queries?.[0]).not.toHaveProperty("legend");
  });
  it("says of everything that was left out why", () =>
    expect(notes.filter((n) => n.lost).map((n) => [n.what, n.title, n.reason, n.detail])).toEqual([
      ["panel", "Pie", "type", "piechart"],
      ["panel", "Logs", "type", "logs"],
      ["panel", "Loki rate", "datasource", "loki"],
      ["panel", "Shared", "library", "Latency"],
      ["panel", "Nothing", "noQueries", ""],
      ["variable", "extra", "variableType", "adhoc"],
      ["variable", "sum", "variableQuery", "query_result(sum(up))"],
    ]));
  it("says what differs", () =>
    expect(notes.filter((n) => !n.lost).map((n) => `${n.title}: ${n.reason} ${n.detail}`.trim())).toEqual([
      "CPU: repeat node",
      "CPU: transformations reduce",
      "Network: hidden up",
      "Network: expression $A * 2",
      "Network: overrides",
      "About: markup",
      "job: variableRegex /node.*/",
    ]));
  it("keeps variables that can be asked for", () =>
    expect(dashboard.variables).toEqual([
      {
        name: "job",
        label: "Job",
        type: "label",
        values_of: "job",
        match: "node_uname_info",
        multi: true,
        include_all: true,
      },
      {
        name: "node",
        type: "label",
        values_of: "instance",
        match: 'node_uname_info{job=~"$job"}',
        default: ["a:9100"],
      },
      { name: "size", type: "custom", options: ["1", "2"] },
      { name: "window", type: "custom", options: ["1m", "5m", "1h"] },
      { name: "text", type: "text", default: ["hello"] },
    ]));
});

/** As Grafana 4 to 6 exported: rows with spans, graph and singlestat. */
const old = {
  dashboard: {
    title: "Old",
    time: { from: "now-6h", to: "now" },
    rows: [
      {
        title: "First",
        showTitle: true,
        height: "250px",
        panels: [
          {
            type: "graph",
            title: "Requests",
            span: 8,
            datasource: "${DS_PROM}",
            stack: true,
            yaxes: [{ format: "reqps", min: "0" }, { format: "short" }],
            targets: [
              {
                expr: "sum(rate(http_requests_total[$__interval])) by (code)",
                legendFormat: "{{code}}",
                intervalFactor: 2,
              },
            ],
          },
          {
            type: "singlestat",
            title: "Errors",
            span: 4,
            format: "percentunit",
            thresholds: "0.01,0.05",
            colors: ["#299c46", "rgba(237, 129, 40, 0.89)", "#d44a3a"],
            targets: [{ expr: "errors" }],
          },
        ],
      },
      { height: 400, panels: [{ type: "dashlist", title: "Others", span: 12 }] },
    ],
  },
};

describe("what Grafana exported before", () => {
  const { dashboard, notes } = must(old);
  it("has its rows and panels", () => {
    expect(dashboard.panels.map((p) => `${p.type} ${p.title} ${p.width}x${p.height}`)).toEqual([
      "row First 12x1",
      "timeseries Requests 8x6",
      "stat Errors 4x6",
    ]);
    expect(dashboard.panels[1]).toMatchObject({ unit: "perSecond", stacked: true, min: 0 });
    expect(dashboard.panels[2]?.thresholds).toEqual([
      { value: 0.01, state: "warn" },
      { value: 0.05, state: "bad" },
    ]);
    expect(notes).toEqual([
      { what: "panel", title: "Others", lost: true, reason: "type", detail: "dashlist" },
    ]);
  });
});

describe("what is no dashboard", () => {
  it.each([[null], [[]], ["x"], [{}], [{ title: "x" }], [{ dashboard: 5 }]])("%j is not converted", (v) =>
    expect(convert(v)).toBeUndefined(),
  );
  it("is never read as one by accident of its fields", () => {
    const { dashboard } = must({
      panels: [
        null,
        5,
        { type: { a: 1 } },
        { type: "graph", targets: "x" },
        { type: "stat", gridPos: 7, targets: [{ expr: 5 }] },
      ],
    });
    expect(dashboard.panels).toEqual([]);
  });
});
