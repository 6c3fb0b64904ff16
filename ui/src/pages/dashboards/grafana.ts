import { secondsOf } from "@/range/range";
import { unitOfGrafana } from "./grafanaUnits";
import { clamp, columns, type Dashboard, most, type Panel, type PanelType, type Variable } from "./model";

/** Why something was left behind or changed. */
export type Reason =
  | "type"
  | "datasource"
  | "library"
  | "noQueries"
  | "expression"
  | "hidden"
  | "unit"
  | "repeat"
  | "transformations"
  | "overrides"
  | "percentThresholds"
  | "variableType"
  | "variableQuery"
  | "variableRegex"
  | "format"
  | "tooMany"
  | "markup";

/** Note says of one panel or variable what did not come over as it was. */
export type Note = {
  what: "panel" | "variable";
  title: string;
  lost: boolean;
  reason: Reason;
  detail: string;
};
export type Imported = { dashboard: Dashboard; notes: Note[] };

type Obj = Record<string, unknown>;
const isObj = (v: unknown): v is Obj => v !== null && typeof v === "object" && !Array.isArray(v);
const obj = (v: unknown): Obj => (isObj(v) ? v : {});
const list = (v: unknown): Obj[] => (Array.isArray(v) ? v.filter(isObj) : []);
const str = (v: unknown, fallback = "") => (typeof v === "string" ? v : fallback);
const num = (v: unknown) => {
  const n = typeof v === "string" && v.trim() !== "" ? Number(v) : v;
  return typeof n === "number" && Number.isFinite(n) ? n : undefined;
};

const types: Record<string, PanelType> = {
  graph: "timeseries",
  timeseries: "timeseries",
  stat: "stat",
  singlestat: "stat",
  gauge: "bargauge",
  bargauge: "bargauge",
  table: "table",
  "table-old": "table",
  heatmap: "heatmap",
  text: "text",
};

/** convert reads what Grafana exports; undefined where that is no dashboard of Grafana's. */
export function convert(exported: unknown): Imported | undefined {
  const outer = obj(exported);
  const g = isObj(outer.dashboard) ? outer.dashboard : outer;
  if (!Array.isArray(g.panels) && !Array.isArray(g.rows)) return undefined;
  const notes: Note[] = [];
  const panels = flatten(g).flatMap(({ panel, width, height }) => {
    const p = convertPanel(panel, width, height, notes);
    return p === undefined ? [] : [p];
  });
  for (const p of panels.slice(most.panels))
    notes.push({ what: "panel", title: p.title, lost: true, reason: "tooMany", detail: String(most.panels) });
  const variables = list(obj(g.templating).list).flatMap((v) => convertVariable(v, notes));
  const range = /^now-(\w+)$/.exec(str(obj(g.time).from))?.[1];
  const refresh = str(g.refresh);
  return {
    notes,
    dashboard: {
      title: str(g.title, "Imported").slice(0, 200) || "Imported",
      ...(str(g.description) === "" ? {} : { description: str(g.description).slice(0, 16_000) }),
      ...(range && secondsOf(range) ? { range } : {}),
      ...(secondsOf(refresh) ? { refresh } : {}),
      ...(variables.length === 0 ? {} : { variables: variables.slice(0, 30) }),
      panels: panels.slice(0, most.panels),
    },
  };
}

type Placed = { panel: Obj; width: number; height: number };

/** flatten puts panels in the order in which they are read, whichever way the version nests them. */
function flatten(g: Obj): Placed[] {
  const placed: Placed[] = [];
  for (const row of list(g.rows)) {
    const height = clamp((num(String(row.height ?? "").replace("px", "")) ?? 250) / 40, 2, most.height);
    if (row.showTitle === true || str(row.title) !== "")
      placed.push({ panel: { type: "row", title: row.title }, width: columns, height: 1 });
    for (const panel of list(row.panels))
      placed.push({ panel, width: clamp(num(panel.span) ?? columns, 1, columns), height });
  }
  const at = (p: Obj, axis: string) => num(obj(p.gridPos)[axis]) ?? 0;
  const inOrder = (a: Obj, b: Obj) => at(a, "y") - at(b, "y") || at(a, "x") - at(b, "x");
  const place = (panel: Obj): Placed => ({
    panel,
    width: clamp((num(obj(panel.gridPos).w) ?? 12) / 2, 1, columns),
    height: clamp(num(obj(panel.gridPos).h) ?? 8, 1, most.height),
  });
  for (const panel of list(g.panels).sort(inOrder)) {
    placed.push(place(panel));
    if (panel.type === "row") placed.push(...list(panel.panels).sort(inOrder).map(place));
  }
  return placed;
}

function convertPanel(g: Obj, width: number, height: number, notes: Note[]): Panel | undefined {
  const title = str(g.title).slice(0, 200);
  const kind = str(g.type);
  const note = (reason: Reason, detail = "", lost = false) => {
    notes.push({ what: "panel", title: title || kind, lost, reason, detail });
  };
  if (kind === "row") return { title, type: "row", width: columns, height: 1 };
  if (isObj(g.libraryPanel)) {
    note("library", str(g.libraryPanel.name), true);
    return undefined;
  }
  const type = types[kind];
  if (type === undefined) {
    note("type", kind, true);
    return undefined;
  }
  const base = {
    title,
    type,
    width,
    height,
    ...(str(g.description) ? { description: str(g.description) } : {}),
  };
  if (type === "text") return { ...base, text: textOf(g, note) };
  const foreign = foreignSource(g.datasource);
  if (foreign !== undefined) {
    note("datasource", foreign, true);
    return undefined;
  }
  const defaults = obj(obj(g.fieldConfig).defaults);
  const { unit, factor, known } = unitOfGrafana(
    str(defaults.unit) || str(list(g.yaxes)[0]?.format) || str(g.format),
  );
  if (!known) note("unit", str(defaults.unit) || str(list(g.yaxes)[0]?.format) || str(g.format));
  const queries = queriesOf(g, factor, note);
  if (queries.length === 0) {
    note("noQueries", "", true);
    return undefined;
  }
  if (str(g.repeat) !== "") note("repeat", str(g.repeat));
  if (list(g.transformations).length > 0)
    note(
      "transformations",
      list(g.transformations)
        .map((t) => str(t.id))
        .join(", "),
    );
  if (list(obj(g.fieldConfig).overrides).length > 0) note("overrides");
  const scaled = (v: unknown) => {
    const n = num(v);
    return n === undefined ? undefined : n * factor;
  };
  const min = scaled(defaults.min ?? list(g.yaxes)[0]?.min);
  const max = scaled(defaults.max ?? list(g.yaxes)[0]?.max);
  const thresholds = thresholdsOf(g, factor, note);
  const stacking = str(obj(obj(defaults.custom).stacking).mode);
  return {
    ...base,
    queries,
    ...(unit === "number" ? {} : { unit }),
    ...(g.stack === true || stacking === "normal" || stacking === "percent" ? { stacked: true } : {}),
    ...(min === undefined ? {} : { min }),
    ...(max === undefined ? {} : { max }),
    ...(thresholds.length === 0 ? {} : { thresholds }),
  };
}

type Tell = (reason: Reason, detail?: string, lost?: boolean) => void;

/** textOf keeps the text of a panel as text: markup is not read here. */
function textOf(g: Obj, note: Tell): string {
  const options = obj(g.options);
  if ((str(options.mode) || str(g.mode)) === "html") note("markup");
  return (str(options.content) || str(g.content)).slice(0, 16_000);
}

/** foreignSource is the type of a data source that does not understand PromQL. */
function foreignSource(source: unknown): string | undefined {
  if (typeof source === "string" && source.startsWith("-- ") && source !== "-- Mixed --") return source;
  const type = str(obj(source).type);
  const prometheus = ["", "prometheus", "datasource", "mixed", "grafana-amazonprometheus-datasource"];
  return prometheus.includes(type) || type.startsWith("$") ? undefined : type;
}

function queriesOf(g: Obj, factor: number, note: Tell): { expr: string; legend?: string }[] {
  const out: { expr: string; legend?: string }[] = [];
  for (const t of list(g.targets)) {
    const foreign = foreignSource(t.datasource);
    const expr = str(t.expr).trim();
    if (foreign !== undefined)
      note(
        foreign === "__expr__" ? "expression" : "datasource",
        foreign === "__expr__" ? str(t.expression) : foreign,
      );
    else if (t.hide === true) note("hidden", expr);
    else if (expr !== "") {
      const legend = str(t.legendFormat);
      const written = exprOf(expr, note);
      out.push({
        expr: factor === 1 ? written : `(${written}) * ${factor}`,
        ...(legend === "" || legend === "__auto" ? {} : { legend: legend.slice(0, 500) }),
      });
    }
  }
  if (out.length > most.queries) note("tooMany", String(most.queries));
  return out.slice(0, most.queries);
}

const formats = new Set(["regex", "pipe", "csv", "raw"]);

/** exprOf has references to variables as they are written here. */
function exprOf(expr: string, note: Tell): string {
  return expr
    .replace(
      /\[\[(\w+)(?::(\w+))?\]\]/g,
      (_, name: string, form?: string) => `\${${form ? `${name}:${form}` : name}}`,
    )
    .replace(/\$\{(\w+)(?:\.\w+)?:(\w+)\}/g, (_, name: string, form: string) => {
      if (formats.has(form)) return `\${${name}:${form}}`;
      note("format", form);
      return `\${${name}}`;
    });
}

function thresholdsOf(
  g: Obj,
  factor: number,
  note: Tell,
): { value: number; state: "good" | "warn" | "bad" | "info" }[] {
  const given = obj(obj(obj(g.fieldConfig).defaults).thresholds);
  if (str(given.mode) === "percentage") {
    if (list(given.steps).length > 1) note("percentThresholds");
    return [];
  }
  const steps = list(given.steps).map((s) => ({ value: num(s.value), colour: str(s.color) }));
  const old = str(g.thresholds)
    .split(",")
    .map((v, i) => ({ value: num(v), colour: str((Array.isArray(g.colors) ? g.colors : [])[i + 1]) }));
  return [...steps, ...old].flatMap(({ value, colour }, i) =>
    value === undefined ? [] : [{ value: value * factor, state: stateOf(colour, i) }],
  );
}

/** stateOf reads what a colour was meant to say. */
function stateOf(colour: string, place: number): "good" | "warn" | "bad" | "info" {
  if (/green|#299c46|#73bf69|50, 172, 45/.test(colour)) return "good";
  if (/red|#d44a3a|#f2495c|245, 54, 54/.test(colour)) return "bad";
  if (/orange|yellow|237, 129, 40/.test(colour)) return "warn";
  if (/blue|purple/.test(colour)) return "info";
  return place > 1 ? "bad" : "warn";
}

function convertVariable(v: Obj, notes: Note[]): Variable[] {
  const name = str(v.name);
  const note = (reason: Reason, detail: string, lost: boolean) =>
    notes.push({ what: "variable", title: name, lost, reason, detail });
  const base = {
    name,
    ...(str(v.label) === "" ? {} : { label: str(v.label).slice(0, 200) }),
    ...(v.multi === true ? { multi: true } : {}),
    ...(v.includeAll === true ? { include_all: true } : {}),
  };
  const current = obj(v.current).value;
  const values = (Array.isArray(current) ? current : [current]).filter(
    (c) => typeof c === "string" && c !== "$__all",
  );
  const preset = values.length === 0 ? {} : { default: values as string[] };
  switch (str(v.type)) {
    // There is one source here, the network: expressions do not name it.
    case "datasource":
      return [];
    case "query": {
      const query = str(v.query) || str(obj(v.query).query) || str(v.definition);
      const m = /^\s*label_values\(\s*(?:([\s\S]+),\s*)?([a-zA-Z_]\w*)\s*\)\s*$/.exec(query);
      if (m === null) {
        note("variableQuery", query, true);
        return [];
      }
      if (str(v.regex) !== "") note("variableRegex", str(v.regex), false);
      return [
        {
          ...base,
          type: "label",
          values_of: m[2] as string,
          ...(m[1] ? { match: m[1].trim() } : {}),
          ...preset,
        },
      ];
    }
    case "custom":
    case "interval": {
      const options = str(v.query)
        .split(",")
        .map((o) => (o.includes(" : ") ? (o.split(" : ")[1] as string) : o).trim())
        .filter((o) => o !== "");
      return [{ ...base, type: "custom", options: options.slice(0, 500), ...preset }];
    }
    case "constant":
      return [{ ...base, type: "custom", options: [str(v.query)], default: [str(v.query)] }];
    case "textbox":
      return [{ ...base, type: "text", default: [str(v.query)] }];
    default:
      note("variableType", str(v.type), true);
      return [];
  }
}
