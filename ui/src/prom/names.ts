import type { Series } from "@/chart/align";
import type { Line } from "./answer";

const plain = /^[a-zA-Z_][a-zA-Z0-9_]*$/;

/** quoted writes a value as PromQL wants it between double quotes. */
export const quoted = (v: string) =>
  `"${v.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`;

/** labelName writes a label's name, in quotes where PromQL wants those. */
export const labelName = (name: string) => (plain.test(name) ? name : quoted(name));

/** selector writes labels as a selector: up{job="node"}. */
export function selector(labels: Record<string, string>): string {
  const { __name__: name = "", ...rest } = labels;
  const parts = Object.entries(rest).map(([n, v]) => `${labelName(n)}=${quoted(v)}`);
  return parts.length === 0 && name !== "" ? name : `${name}{${parts.join(", ")}}`;
}

/** literal makes a value match itself where a regular expression is expected. */
export const literal = (v: string) => v.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

/** commonLabels are those that all lines have with the same value. */
export function commonLabels(lines: readonly Line[]): Record<string, string> {
  const [first, ...others] = lines;
  if (first === undefined) return {};
  return Object.fromEntries(
    Object.entries(first.labels).filter(([n, v]) => others.every((l) => l.labels[n] === v)),
  );
}

/** nameOf tells a line from the others: by what differs, or by all where nothing does. */
export function nameOf(line: Line, common: Record<string, string>): string {
  const own = Object.entries(line.labels).filter(([n]) => !(n in common));
  if (own.length === 0) return oneLine(selector(line.labels));
  const [only] = own;
  if (own.length === 1 && only && only[0] !== "__name__") return oneLine(`${only[0]}=${only[1]}`);
  return oneLine(selector(Object.fromEntries(own)));
}

/** fill puts labels into a text with {{name}}, as legends are written. */
export const fill = (text: string, labels: Record<string, string>) =>
  oneLine(text.replace(/\{\{\s*([^}\s]+)\s*\}\}/g, (_, n: string) => labels[n] ?? ""));

const oneLine = (text: string) => text.replaceAll("\n", "⏎");

/** toSeries names lines for a chart; no two get the same name. */
export function toSeries(
  lines: readonly Line[],
  naming: { legend?: string | undefined; fallback?: string | undefined } = {},
): Series[] {
  const common = lines.length > 1 ? commonLabels(lines) : {};
  const used = new Map<string, number>();
  return lines.map((l) => {
    let name = naming.legend ? fill(naming.legend, l.labels) : nameOf(l, common);
    if (name === "" || name === "{}") name = naming.fallback ?? "{}";
    const before = used.get(name) ?? 0;
    used.set(name, before + 1);
    return { name: before === 0 ? name : `${name} (${before + 1})`, labels: l.labels, points: l.points };
  });
}
