import type { Histogram, Line } from "@/prom/answer";

/** Heat is how observations spread over time: counts[time][row], a row for each span of values. */
export type Heat = {
  /** ms since 1970 */
  times: number[];
  /** Ascending; row i lies between edges[i] and edges[i+1]. */
  edges: number[];
  counts: number[][];
  max: number;
};

/** More rows than these could not be told apart. */
const mostRows = 120;

/** heatOf reads native histograms, and classic ones by their label le; undefined where there is neither. */
export function heatOf(lines: readonly Line[]): Heat | undefined {
  const native = lines.filter((l) => l.histograms.length > 0);
  const classic = lines.filter((l) => l.labels.le !== undefined && l.points.length > 0);
  const columns = native.length > 0 ? nativeColumns(native) : classicColumns(classic);
  return columns.size === 0 ? undefined : grid(columns);
}

type Cell = { lower: number; upper: number; count: number };

function nativeColumns(lines: readonly Line[]): Map<number, Cell[]> {
  const columns = new Map<number, Cell[]>();
  for (const l of lines)
    for (const [ms, h] of l.histograms) {
      const held = columns.get(ms) ?? [];
      held.push(...cellsOf(h));
      columns.set(ms, held);
    }
  return columns;
}

const cellsOf = (h: Histogram): Cell[] => h.buckets.filter((b) => b.count > 0);

/** classicColumns takes from each bucket those below it: classic buckets count everything up to le. */
function classicColumns(lines: readonly Line[]): Map<number, Cell[]> {
  const sums = new Map<number, Map<number, number>>();
  for (const l of lines) {
    const le = l.labels.le === "+Inf" ? Number.POSITIVE_INFINITY : Number(l.labels.le);
    if (Number.isNaN(le)) continue;
    for (const [ms, v] of l.points) {
      if (!Number.isFinite(v)) continue;
      const at = sums.get(ms) ?? new Map<number, number>();
      at.set(le, (at.get(le) ?? 0) + v);
      sums.set(ms, at);
    }
  }
  const columns = new Map<number, Cell[]>();
  for (const [ms, at] of sums) {
    const bounds = [...at.keys()].sort((a, b) => a - b);
    let below = 0;
    const cells = bounds.map((upper, i): Cell => {
      const up = at.get(upper) ?? 0;
      // Rates of neighbours may differ by a hair the wrong way.
      const count = Math.max(up - below, 0);
      below = Math.max(up, below);
      const lower = i === 0 ? Math.min(0, upper) : (bounds[i - 1] as number);
      return { lower, upper, count };
    });
    columns.set(ms, cells);
  }
  return columns;
}

function grid(columns: Map<number, Cell[]>): Heat | undefined {
  const all = new Set<number>();
  for (const cells of columns.values())
    for (const c of cells) {
      all.add(c.lower);
      all.add(c.upper);
    }
  const edges = thin([...all].sort((a, b) => a - b));
  if (edges.length < 2) return undefined;
  const times = [...columns.keys()].sort((a, b) => a - b);
  let max = 0;
  const counts = times.map((ms) => {
    const column = new Array<number>(edges.length - 1).fill(0);
    for (const c of columns.get(ms) ?? []) spread(column, edges, c);
    for (const v of column) max = Math.max(max, v);
    return column;
  });
  return { times, edges, counts, max };
}

/** thin leaves out edges so that at most mostRows rows remain. */
function thin(edges: number[]): number[] {
  const every = Math.ceil((edges.length - 1) / mostRows);
  return every <= 1 ? edges : edges.filter((_, i) => i % every === 0 || i === edges.length - 1);
}

/** spread divides a cell among the rows that it covers, evenly where they have finite widths. */
function spread(column: number[], edges: number[], c: Cell) {
  let first = 0;
  while (first < column.length - 1 && (edges[first + 1] as number) <= c.lower) first++;
  let last = first;
  while (last < column.length - 1 && (edges[last + 1] as number) < c.upper) last++;
  const share = c.count / (last - first + 1);
  for (let i = first; i <= last; i++) column[i] = (column[i] as number) + share;
}
