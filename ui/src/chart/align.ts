/** Series is one line: points are [ms since 1970, value], ascending in time. */
export type Series = {
  name: string;
  labels?: Record<string, string>;
  points: readonly (readonly [number, number])[];
};

/**
 * align puts series on one axis of time, as uPlot draws them: the times (s) and a
 * column for each series with null where it has no point, so that a gap stays one.
 */
export function align(series: readonly Series[]): { times: number[]; columns: (number | null)[][] } {
  const moments = new Set<number>();
  for (const s of series) for (const [ms] of s.points) moments.add(ms);
  const sorted = [...moments].sort((a, b) => a - b);
  const place = new Map(sorted.map((ms, i) => [ms, i]));
  const columns = series.map((s) => {
    const column = new Array<number | null>(sorted.length).fill(null);
    for (const [ms, v] of s.points) {
      // Infinity has no place on an axis; the legend's table still tells it.
      if (Number.isFinite(v)) column[place.get(ms) as number] = v;
    }
    return column;
  });
  return { times: sorted.map((ms) => ms / 1000), columns };
}

/** extremes of a column without its gaps. */
export function extremes(
  column: readonly (number | null)[],
): { min: number; max: number; last: number } | undefined {
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  let last: number | undefined;
  for (const v of column) {
    if (v === null) continue;
    min = Math.min(min, v);
    max = Math.max(max, v);
    last = v;
  }
  return last === undefined ? undefined : { min, max, last };
}
