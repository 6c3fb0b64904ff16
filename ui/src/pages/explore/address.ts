/** View is how answers are shown. */
export type View = "chart" | "table" | "heatmap";

/** Queries are the expressions of the page, as its address has them. */
export function readQueries(params: URLSearchParams): string[] {
  const all = params.getAll("expr").slice(0, mostQueries);
  return all.length === 0 ? [""] : all;
}

/** A page with more questions than these would answer none of them well. */
export const mostQueries = 12;

export function writeQueries(params: URLSearchParams, queries: readonly string[]): URLSearchParams {
  const next = new URLSearchParams(params);
  next.delete("expr");
  for (const q of queries) next.append("expr", q);
  if (queries.every((q) => q === "")) next.delete("expr");
  return next;
}

export function readView(params: URLSearchParams): View {
  const tab = params.get("tab");
  return tab === "table" || tab === "heatmap" ? tab : "chart";
}

/** shareable, pinned, is the address that shows the same tomorrow: its range begins and ends at fixed times. */
export function shareable(
  params: URLSearchParams,
  span: { from: number; to: number },
  pin: boolean,
): URLSearchParams {
  const next = new URLSearchParams(params);
  if (!pin) return next;
  for (const name of ["range", "refresh"]) next.delete(name);
  next.set("from", new Date(span.from).toISOString());
  next.set("to", new Date(span.to).toISOString());
  return next;
}
