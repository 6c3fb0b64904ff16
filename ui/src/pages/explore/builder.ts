import { labelName, quoted } from "@/prom/names";

/** Filter keeps series whose label compares with the value. */
export type Filter = { label: string; op: "=" | "!=" | "=~" | "!~"; value: string };

/** Built is a question as it is put together without PromQL. */
export type Built = {
  metric: string;
  filters: Filter[];
  /** What is done to each series. */
  apply: "none" | "rate" | "increase" | "avg_over_time" | "max_over_time" | "quantile";
  window: string;
  /** For quantile: 0.95 is what 95 % stay below. */
  quantile: number;
  aggregate: "none" | "sum" | "avg" | "max" | "min" | "count" | "topk";
  by: string[];
};

export const empty: Built = {
  metric: "",
  filters: [],
  apply: "none",
  window: "5m",
  quantile: 0.95,
  aggregate: "none",
  by: [],
};

/** build writes the expression. */
export function build(b: Built): string {
  if (b.metric === "") return "";
  const filters = b.filters.filter((f) => f.label !== "");
  const matchers = filters.map((f) => `${labelName(f.label)}${f.op}${quoted(f.value)}`);
  const picked = matchers.length === 0 ? b.metric : `${b.metric}{${matchers.join(", ")}}`;
  const by = b.by.length === 0 ? "" : ` by (${b.by.map(labelName).join(", ")}) `;
  if (b.apply === "quantile") return quantileOf(b, picked);
  const each = b.apply === "none" ? picked : `${b.apply}(${picked}[${b.window}])`;
  if (b.aggregate === "none") return each;
  return b.aggregate === "topk" ? `topk${by}(10, ${each})` : `${b.aggregate}${by}(${each})`;
}

/** quantileOf keeps le of classic histograms; native ones have none. */
function quantileOf(b: Built, picked: string): string {
  const rate = `rate(${picked}[${b.window}])`;
  const classic = b.metric.endsWith("_bucket");
  const labels = [...(classic ? ["le"] : []), ...b.by.filter((l) => l !== "le")].map(labelName);
  const by = labels.length === 0 ? "" : ` by (${labels.join(", ")}) `;
  const inner = b.aggregate === "none" ? rate : `sum${by}(${rate})`;
  return `histogram_quantile(${b.quantile}, ${inner})`;
}

/** suggest is what is usually wanted of a metric, by its type or else by its name. */
export function suggest(metric: string, type: string | undefined): Partial<Built> {
  if (metric.endsWith("_bucket") || type === "histogram")
    return { apply: "quantile", aggregate: "sum", by: [] };
  if (type === "counter" || /_(total|sum|count)$/.test(metric)) return { apply: "rate", aggregate: "none" };
  return { apply: "none", aggregate: "none" };
}

const call = /^([a-z_]+)(?:\s*by\s*\(([^)]*)\))?\s*\(([\s\S]*)\)$/;
const aggregates = ["sum", "avg", "max", "min", "count", "topk"];

/** parse reads what build writes; undefined for what was written in another way. */
export function parse(expr: string): Built | undefined {
  let rest = expr.trim();
  const b: Built = { ...empty };
  if (rest === "") return b;
  let quantile = false;
  const h = /^histogram_quantile\(\s*([0-9.]+)\s*,\s*([\s\S]*)\)$/.exec(rest);
  if (h) {
    quantile = true;
    b.quantile = Number(h[1]);
    rest = (h[2] as string).trim();
  }
  const outer = call.exec(rest);
  if (outer && aggregates.includes(outer[1] as string)) {
    b.aggregate = outer[1] as Built["aggregate"];
    b.by = (outer[2] ?? "")
      .split(",")
      .map((l) => l.trim())
      .filter((l) => l !== "" && !(quantile && l === "le"));
    rest = (outer[3] as string).trim();
    if (b.aggregate === "topk") {
      if (!/^10\s*,/.test(rest)) return undefined;
      rest = rest.replace(/^10\s*,\s*/, "");
    }
  }
  const applied = /^(rate|increase|avg_over_time|max_over_time)\(([\s\S]*)\[(\w+)\]\)$/.exec(rest);
  if (applied) {
    b.apply = quantile ? "quantile" : (applied[1] as Built["apply"]);
    b.window = applied[3] as string;
    rest = (applied[2] as string).trim();
  } else if (quantile) return undefined;
  if (!parseSelector(rest, b)) return undefined;
  // What was misread would be written differently.
  return build(b).replace(/\s+/g, "") === expr.replace(/\s+/g, "") ? b : undefined;
}

function parseSelector(text: string, b: Built): boolean {
  const m = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{([\s\S]*)\})?$/.exec(text);
  if (!m) return false;
  b.metric = m[1] as string;
  let rest = (m[2] ?? "").trim();
  b.filters = [];
  while (rest !== "") {
    const f = /^([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*")\s*(?:,\s*|$)/.exec(rest);
    if (!f) return false;
    try {
      b.filters.push({
        label: f[1] as string,
        op: f[2] as Filter["op"],
        value: JSON.parse(f[3] as string) as string,
      });
    } catch {
      return false;
    }
    rest = rest.slice(f[0].length);
  }
  return true;
}
