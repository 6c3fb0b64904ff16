import { literal } from "@/prom/names";
import { duration, rateWindow } from "@/range/range";
import type { Variable } from "./model";

/** What the readers chose, by the variables' names. */
export type Chosen = Readonly<Record<string, readonly string[]>>;

/** all is what an address has where every value is meant. */
export const all = "$all";

const prefix = "var-";

/** readChosen reads an address; what it does not say is as the dashboard has it, else the first value known. */
export function readChosen(
  params: URLSearchParams,
  variables: readonly Variable[],
  known: Readonly<Record<string, readonly string[]>>,
): Chosen {
  return Object.fromEntries(
    variables.map((v) => {
      const given = params.getAll(prefix + v.name);
      if (given.length > 0) return [v.name, v.multi ? given : given.slice(0, 1)];
      if (v.default && v.default.length > 0) return [v.name, v.default];
      if (v.include_all) return [v.name, [all]];
      const first = known[v.name]?.[0];
      return [v.name, first === undefined ? [] : [first]];
    }),
  );
}

export function writeChosen(
  params: URLSearchParams,
  name: string,
  values: readonly string[],
): URLSearchParams {
  const next = new URLSearchParams(params);
  next.delete(prefix + name);
  for (const v of values) next.append(prefix + name, v);
  return next;
}

type Span = { from: number; to: number; step: number };

const reference = /\$(\w+)|\$\{(\w+)(?::(\w+))?\}|\[\[(\w+)(?::(\w+))?\]\]/g;

/**
 * fill puts what was chosen, and what follows from the time range, into an expression.
 * Several values become a regular expression; one value inside a matcher with = stays
 * what it is, save that it cannot end the quotes around it.
 */
export function fill(expr: string, chosen: Chosen, span: Span): string {
  const seconds = Math.max(Math.round((span.to - span.from) / 1000), 1);
  const given: Record<string, string> = {
    __interval: duration(span.step),
    __interval_ms: String(span.step * 1000),
    __rate_interval: rateWindow(span.step),
    __range: duration(seconds),
    __range_s: String(seconds),
    __range_ms: String(seconds * 1000),
  };
  return expr.replace(
    reference,
    (whole, a?: string, b?: string, form?: string, c?: string, form2?: string) => {
      const name = a ?? b ?? c ?? "";
      const own = given[name];
      if (own !== undefined) return own;
      const values = chosen[name];
      return values === undefined ? whole : written(values, form ?? form2);
    },
  );
}

function written(values: readonly string[], form: string | undefined): string {
  if (values.includes(all)) return ".*";
  const [only = "", ...more] = values;
  if (form === "csv") return values.join(",");
  if (form === "raw") return values.join(",");
  // In quotes the text is read twice: as a string, then as a regular expression.
  const quotable = (v: string) => v.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
  if (form === "pipe") return values.map(quotable).join("|");
  if (more.length === 0 && form !== "regex") return quotable(only);
  return values.length === 1
    ? quotable(literal(only))
    : `(${values.map((v) => quotable(literal(v))).join("|")})`;
}

/** uses tells whether an expression refers to a variable. */
export function uses(expr: string, name: string): boolean {
  for (const m of expr.matchAll(reference)) if ((m[1] ?? m[2] ?? m[4]) === name) return true;
  return false;
}
