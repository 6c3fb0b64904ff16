/** Range is a span of time as a person chose it. */
export type Range = { last: string } | { from: number; to: number };

const unitSeconds: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800, y: 31_536_000 };

/** secondsOf reads a duration as Prometheus writes it, 1h30m; undefined where it is none. */
export function secondsOf(text: string): number | undefined {
  if (!/^(\d+(ms|[smhdwy]))+$/.test(text)) return undefined;
  let sum = 0;
  for (const [, n, unit] of text.matchAll(/(\d+)(ms|[smhdwy])/g))
    sum += unit === "ms" ? Number(n) / 1000 : Number(n) * (unitSeconds[unit as string] as number);
  return sum > 0 ? sum : undefined;
}

/** duration writes seconds as Prometheus reads them. */
export function duration(seconds: number): string {
  if (seconds < 1) return `${Math.max(1, Math.round(seconds * 1000))}ms`;
  let left = Math.round(seconds);
  let text = "";
  for (const [unit, size] of [
    ["d", 86_400],
    ["h", 3600],
    ["m", 60],
    ["s", 1],
  ] as const) {
    const n = Math.floor(left / size);
    if (n > 0) text += `${n}${unit}`;
    left -= n * size;
  }
  return text;
}

/** moment reads a time in an address: ISO 8601, or ms since 1970. */
export function moment(text: string | null): number | undefined {
  if (text === null || text === "") return undefined;
  const ms = /^\d{9,}$/.test(text) ? Number(text) : Date.parse(text);
  return Number.isFinite(ms) ? ms : undefined;
}

export const presets = ["5m", "15m", "1h", "3h", "6h", "12h", "1d", "2d", "7d", "30d"] as const;
export const refreshes = ["5s", "15s", "30s", "1m", "5m"] as const;

/** readRange reads an address; what is missing or makes no sense is the last of fallback. */
export function readRange(params: URLSearchParams, fallback = "1h"): Range {
  const from = moment(params.get("from"));
  const to = moment(params.get("to"));
  if (from !== undefined && to !== undefined && from < to) return { from, to };
  const last = params.get("range");
  return last !== null && secondsOf(last) !== undefined ? { last } : { last: fallback };
}

/** writeRange puts a range into an address. */
export function writeRange(params: URLSearchParams, range: Range): URLSearchParams {
  const next = new URLSearchParams(params);
  for (const name of ["from", "to", "range"]) next.delete(name);
  if ("last" in range) next.set("range", range.last);
  else {
    next.set("from", new Date(Math.round(range.from)).toISOString());
    next.set("to", new Date(Math.round(range.to)).toISOString());
  }
  return next;
}

const steps = [
  1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400,
  172_800, 604_800,
];

/** stepFor is the step (s) at which a span (s) has about as many points as a chart can show. */
export function stepFor(seconds: number, points = 300): number {
  const wanted = seconds / points;
  return steps.find((s) => s >= wanted) ?? Math.ceil(wanted / 604_800) * 604_800;
}

/** Most points that an answer can have: Prometheus' own bound is 11,000. */
const mostPoints = 11_000;

/**
 * spanOf is what a range means at a moment, at whole steps: the points of two
 * questions that overlap are the same ones.
 */
export function spanOf(range: Range, now: number, step?: number): { from: number; to: number; step: number } {
  const to = "last" in range ? now : range.to;
  const from = "last" in range ? now - (secondsOf(range.last) ?? 3600) * 1000 : range.from;
  const seconds = (to - from) / 1000;
  const s = Math.max(step ?? stepFor(seconds), Math.ceil(seconds / mostPoints));
  const size = s * 1000;
  return {
    from: Math.floor(from / size) * size,
    to: Math.max(Math.floor(to / size), Math.floor(from / size) + 1) * size,
    step: s,
  };
}

/** rateWindow is over how long a rate is taken: long enough for several samples at any step. */
export function rateWindow(step: number, scrape = 15): string {
  return duration(Math.max(4 * scrape, step + scrape));
}
