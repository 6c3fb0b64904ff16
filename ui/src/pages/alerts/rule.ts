/** Simple is a rule of one alert as the form has it. */
export type Simple = {
  name: string;
  metric: string;
  condition: (typeof conditions)[number];
  threshold: string;
  for: string;
  keep_firing_for: string;
  severity: string;
  owner: string;
  summary: string;
};

export const conditions = [">", ">=", "<", "<=", "==", "!="] as const;
export const durations = ["0s", "1m", "5m", "10m", "30m", "1h"] as const;
export const severities = ["critical", "warning", "info"] as const;

export const blank: Simple = {
  name: "",
  metric: "",
  condition: ">",
  threshold: "",
  for: "5m",
  keep_firing_for: "",
  severity: "warning",
  owner: "",
  summary: "",
};

const comparison =
  /^([\s\S]*[^\s<>=!])\s*(>=|<=|==|!=|>|<)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*$/;

/** divide takes the comparison with a number off the end of an expression. */
export function divide(expr: string): Pick<Simple, "metric" | "condition" | "threshold"> {
  const m = comparison.exec(expr.trim());
  if (m === null || !balanced(m[1] as string)) return { metric: expr.trim(), condition: ">", threshold: "" };
  return { metric: m[1] as string, condition: m[2] as Simple["condition"], threshold: m[3] as string };
}

/** balanced reports whether a comparison after the text belongs to all of it. */
function balanced(text: string): boolean {
  let depth = 0;
  for (const c of text.replace(/"(?:[^"\\]|\\.)*"/g, "")) {
    if ("([{".includes(c)) depth++;
    if (")]}".includes(c)) depth--;
  }
  return depth === 0 && !/\b(and|or|unless)\b/.test(text.replace(/"(?:[^"\\]|\\.)*"|\{[^}]*\}/g, ""));
}

/** exprOf is the expression of a form, or "" while it lacks something. */
export function exprOf(s: Simple): string {
  const metric = s.metric.trim();
  const threshold = s.threshold.trim();
  if (metric === "" || threshold === "" || !Number.isFinite(Number(threshold))) return "";
  return `${metric} ${s.condition} ${threshold}`;
}

/** documentName makes a name that a document may have of an alert's. */
export function documentName(alert: string): string {
  return (
    alert
      .trim()
      .replace(/([a-z0-9])([A-Z])/g, "$1-$2")
      .toLowerCase()
      .replace(/[^a-z0-9]+/g, "-")
      .replace(/^-+|-+$/g, "")
      .slice(0, 60) || "rule"
  );
}

const quoted = (s: string) => JSON.stringify(s);
const block = (text: string, indent: string) =>
  `|-\n${text
    .trim()
    .split("\n")
    .map((l) => indent + l)
    .join("\n")}`;

/** yamlOf writes a form as a document of rules. */
export function yamlOf(s: Simple): string {
  const lines = [
    "groups:",
    `  - name: ${quoted(documentName(s.name))}`,
    "    rules:",
    `      - alert: ${quoted(s.name.trim())}`,
    `        expr: ${block(exprOf(s) || s.metric, "          ")}`,
  ];
  if (s.for !== "" && s.for !== "0s") lines.push(`        for: ${s.for}`);
  if (s.keep_firing_for !== "") lines.push(`        keep_firing_for: ${s.keep_firing_for}`);
  lines.push("        labels:", `          severity: ${quoted(s.severity)}`);
  if (s.owner.trim() !== "") lines.push(`          owner: ${quoted(s.owner.trim())}`);
  if (s.summary.trim() !== "")
    lines.push("        annotations:", `          summary: ${quoted(s.summary.trim())}`);
  return `${lines.join("\n")}\n`;
}

/** Understood is a rule as the island read it. */
export type Understood = {
  group: string;
  interval?: string;
  alert?: string;
  record?: string;
  expr: string;
  for?: string;
  keep_firing_for?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
};

/** simpleOf reads a document into the form; undefined where that would lose something. */
export function simpleOf(rules: readonly Understood[]): Simple | undefined {
  const [r] = rules;
  if (rules.length !== 1 || r === undefined || r.alert === undefined || r.interval !== undefined)
    return undefined;
  const { severity = "", owner = "", ...labels } = r.labels ?? {};
  const { summary = "", ...annotations } = r.annotations ?? {};
  if (Object.keys(labels).length + Object.keys(annotations).length > 0) return undefined;
  const parts = divide(r.expr);
  if (parts.threshold === "") return undefined;
  return {
    name: r.alert,
    ...parts,
    for: r.for ?? "0s",
    keep_firing_for: r.keep_firing_for ?? "",
    severity,
    owner,
    summary,
  };
}

/** documentOf finds the shared document that a file of rules comes from. */
export function documentOf(file: string): { kind: string; name: string } | undefined {
  const applied = /\/replica\/applied\/rules\/([^/]+)\.yml$/.exec(file);
  if (applied) return { kind: "rules", name: applied[1] as string };
  const global = /^globalrules\/([^/]+)$/.exec(file);
  return global ? { kind: "globalrules", name: global[1] as string } : undefined;
}
