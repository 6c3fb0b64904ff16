/** A bucket of a histogram: how many observations lie between two bounds. */
export type Bucket = { lower: number; upper: number; count: number };
export type Histogram = { count: number; sum: number; buckets: Bucket[] };

/** Line is one series of an answer; times are ms since 1970. */
export type Line = {
  labels: Record<string, string>;
  points: [number, number][];
  histograms: [number, Histogram][];
};

/** IslandPart is one island's part in an answer about several. */
export type IslandPart = {
  name: string;
  state: "answered" | "skipped" | "failed";
  why?: string;
  from?: string;
  /** ms since 1970 */
  oldest?: number;
  newest?: number;
  series: number;
  samples: number;
  reused?: number;
  bytes: number;
  /** ns */
  took: number;
};

/** Receipt says how an answer about several islands came about. */
export type Receipt = {
  scope: string;
  islands?: IslandPart[];
  partial: boolean;
  pushed?: string[];
  fetched?: string[];
  rest?: string;
  rounds: number;
};

/** Answer is what a question in PromQL got. */
export type Answer = {
  type: "matrix" | "vector" | "scalar" | "string";
  lines: Line[];
  /** The value of a string. */
  text?: string;
  warnings: string[];
  infos: string[];
  receipt?: Receipt;
  tookMs: number;
};

type WireValue = [number, string];
type WireHistogram = { count: string; sum: string; buckets?: [number, string, string, string][] };
type WireLine = {
  metric?: Record<string, string>;
  value?: WireValue;
  values?: WireValue[];
  histogram?: [number, WireHistogram];
  histograms?: [number, WireHistogram][];
};
export type Wire = {
  data: { resultType: Answer["type"]; result: WireLine[] | WireValue };
  warnings?: string[];
  infos?: string[];
  receipt?: Receipt;
};

/** numberOf reads a sample's value; Prometheus writes those that JSON cannot as text. */
export function numberOf(text: string): number {
  if (text === "+Inf" || text === "Inf") return Number.POSITIVE_INFINITY;
  if (text === "-Inf") return Number.NEGATIVE_INFINITY;
  return Number(text);
}

const point = ([s, v]: WireValue): [number, number] => [Math.round(s * 1000), numberOf(v)];

function histogram([s, h]: [number, WireHistogram]): [number, Histogram] {
  return [
    Math.round(s * 1000),
    {
      count: numberOf(h.count),
      sum: numberOf(h.sum),
      buckets: (h.buckets ?? []).map(([, lower, upper, count]) => ({
        lower: numberOf(lower),
        upper: numberOf(upper),
        count: numberOf(count),
      })),
    },
  ];
}

/** read turns what the API says into an Answer. */
export function read(wire: Wire, tookMs = 0): Answer {
  const { resultType: type, result } = wire.data;
  const rest = {
    type,
    warnings: wire.warnings ?? [],
    infos: wire.infos ?? [],
    tookMs,
    ...(wire.receipt ? { receipt: wire.receipt } : {}),
  };
  if (type === "string") return { ...rest, lines: [], text: (result as WireValue)[1] };
  if (type === "scalar")
    return { ...rest, lines: [{ labels: {}, points: [point(result as WireValue)], histograms: [] }] };
  const lines = (result as WireLine[]).map((l) => ({
    labels: l.metric ?? {},
    points: (l.values ?? (l.value ? [l.value] : [])).map(point),
    histograms: (l.histograms ?? (l.histogram ? [l.histogram] : [])).map(histogram),
  }));
  return { ...rest, lines };
}
