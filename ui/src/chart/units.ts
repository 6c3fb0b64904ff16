import { bytes, count, percent, seconds } from "@/text/time";

/** The units that an axis can have. */
export const units = {
  number: count,
  bytes,
  bytesPerSecond: (v: number) => `${bytes(v)}/s`,
  seconds,
  ratio: percent,
  perSecond: (v: number) => `${count(v)}/s`,
} as const;
export type Unit = keyof typeof units;

/** unitOf guesses the unit from an expression, by Prometheus' naming rules. */
export function unitOf(expr: string): Unit {
  const rated = /\b(rate|irate|increase|deriv)\s*\(/.test(expr);
  if (/_ratio\b|:ratio\b/.test(expr)) return "ratio";
  if (/_bytes(_total)?\b/.test(expr)) return rated ? "bytesPerSecond" : "bytes";
  if (/_seconds(_sum|_bucket)?\b/.test(expr) && (!rated || /histogram_quantile|histogram_avg/.test(expr)))
    return "seconds";
  return rated ? "perSecond" : "number";
}
