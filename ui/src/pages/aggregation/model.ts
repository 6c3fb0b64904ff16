import type { components } from "@/api/schema";
import type { State } from "@/parts/states";

export type Rule = components["schemas"]["AggregationRule"];

/** saving is how many series go in for each that comes out; undefined while there are none. */
export function saving(r: Pick<Rule, "series" | "made_series">): number | undefined {
  return r.series > 0 && r.made_series > 0 ? r.series / r.made_series : undefined;
}

/** stateOf says whether a rule keeps up, and whether it had to put series together that are not one. */
export function stateOf(r: Rule, now: number): State {
  if (r.series === 0) return "idle";
  if (r.overflow_series > 0) return "warn";
  if (r.sealed === undefined) return "info";
  const behind = (now - Date.parse(r.sealed)) / 1000;
  return behind > 3 * r.interval_seconds + r.lag_seconds + 30 ? "bad" : "good";
}

/** lateTotal counts groups of sealed windows that changed, whatever came of it. */
export function lateTotal(r: Pick<Rule, "late_groups">): number {
  return Object.values(r.late_groups).reduce((sum, n) => sum + n, 0);
}

/** found are the rules that have every word somewhere. */
export function found(rules: readonly Rule[], search: string): Rule[] {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  return rules.filter((r) => {
    const hay = [r.rule, r.match, ...(r.by ?? []), ...(r.without ?? []), ...r.outputs]
      .join(" ")
      .toLowerCase();
    return words.every((w) => hay.includes(w));
  });
}
