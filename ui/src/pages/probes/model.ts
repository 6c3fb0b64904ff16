import type { State } from "@/parts/states";

/** The phases of a probe in the order in which they follow each other. */
export const phases = ["resolve", "connect", "tls", "request", "first_byte", "transfer"] as const;
export type Phase = (typeof phases)[number];
export type Phases = Partial<Record<Phase, number>>;

/** Vantage is where a place probes from: GET /api/v1/probes/vantages. */
export type Vantage = {
  name: string;
  role?: string;
  labels?: Record<string, string>;
  here?: boolean;
  connected: boolean;
  lastSeen?: string;
  region?: string;
  latitude?: number;
  longitude?: number;
  geohash?: string;
  country?: string;
  city?: string;
  isp?: string;
  asn?: number;
  blind: boolean;
  uplink?: string;
  targets: number;
  failing: number;
  problem?: string;
};

/** Cell is one target from one vantage: GET /api/v1/probes/matrix. */
export type Cell = {
  vantage: string;
  state: string;
  counted: string;
  since: string;
  reason?: string;
  phase?: string;
  words?: string;
  bad: number;
  of: number;
  measured?: string;
  tookSeconds: number;
  phases?: Phases;
  here?: boolean;
  evidence?: string;
};

export type Row = {
  definition: string;
  target: string;
  address?: string;
  labels?: Record<string, string>;
  state: string;
  since?: string;
  words: string;
  page: boolean;
  cells: Cell[];
};

export type Matrix = {
  vantages: string[];
  targets: Row[];
  next?: string;
  leftOff?: number;
  missing?: Record<string, string>;
};

/** Hop is one distance on the way to a target; round trips in seconds or milliseconds, as where it comes from says. */
export type Hop = {
  ttl: number;
  addresses?: string[];
  sent: number;
  lost: number;
  unreachable?: string;
  mtu?: number;
};

/** Result is what one vantage says of a probe that was asked for now. */
export type Result = {
  vantage: string;
  region?: string;
  country?: string;
  isp?: string;
  geohash?: string;
  state: string;
  reason?: string;
  phase?: string;
  words?: string;
  at?: string;
  tookSeconds?: number;
  phases?: Phases;
  answered?: string;
  remark?: string;
  records?: string[];
  hops?: (Hop & { rttSeconds?: number[] })[];
};

export type Plan = {
  target: string;
  module: string;
  prober: string;
  timeoutSeconds: number;
  vantages: string[];
};
export type End = {
  state: string;
  words: string;
  up: number;
  slow: number;
  down: number;
  refused: number;
  silent: number;
};
export type RunEvent = { plan?: Plan; result?: Result; end?: End };

/** stateOf gives a target's or a cell's state its colour. */
export function stateOf(word: string): State {
  switch (word) {
    case "up":
    case "fine":
      return "good";
    case "degraded":
    case "slow":
      return "warn";
    case "down":
    case "failing":
      return "bad";
    case "blind":
    case "refused":
      return "info";
    default:
      return "idle";
  }
}

const rank: Record<string, number> = { down: 0, degraded: 1, unknown: 2, up: 3 };

/** worstFirst are the rows that have every word of search, the worst first. */
export function worstFirst(rows: readonly Row[], search: string, state: string): Row[] {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  return rows
    .filter((r) => state === "" || r.state === state)
    .filter((r) => {
      const hay = [r.definition, r.target, r.address, r.state, ...Object.values(r.labels ?? {})]
        .join(" ")
        .toLowerCase();
      return words.every((w) => hay.includes(w));
    })
    .sort((a, b) => (rank[a.state] ?? 9) - (rank[b.state] ?? 9) || a.target.localeCompare(b.target));
}

/**
 * cannotReach are the sites that each vantage does not reach, by the name of the
 * definition where it has one target only.
 */
export function cannotReach(rows: readonly Row[]): Map<string, string[]> {
  const targets = new Map<string, number>();
  for (const r of rows) targets.set(r.definition, (targets.get(r.definition) ?? 0) + 1);
  const out = new Map<string, string[]>();
  for (const r of rows) {
    const site = targets.get(r.definition) === 1 ? r.definition : r.target;
    for (const c of r.cells)
      if (c.counted === "failing") out.set(c.vantage, [...(out.get(c.vantage) ?? []), site]);
  }
  return out;
}

/** tally counts rows by state. */
export function tally(rows: readonly { state: string }[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const r of rows) counts[r.state] = (counts[r.state] ?? 0) + 1;
  return counts;
}

/** Bar is one phase in a waterfall: where it begins and how long it is, in seconds. */
export type Bar = { phase: Phase; from: number; took: number };

/** waterfall puts phases after each other; what is between them and took belongs to none. */
export function waterfall(of: Phases | undefined): Bar[] {
  const bars: Bar[] = [];
  let from = 0;
  for (const phase of phases) {
    const took = of?.[phase] ?? 0;
    if (took <= 0) continue;
    bars.push({ phase, from, took });
    from += took;
  }
  return bars;
}

/** lines yields the JSON values of a stream of lines as they come; one that is cut off is an error of the stream. */
export async function* lines<T>(stream: ReadableStream<Uint8Array>): AsyncGenerator<T> {
  const decoder = new TextDecoder();
  const reader = stream.getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      rest += decoder.decode(value, { stream: !done });
      const cut = rest.split("\n");
      rest = done ? "" : (cut.pop() as string);
      for (const line of cut) if (line.trim() !== "") yield JSON.parse(line) as T;
      if (done) return;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** target makes the parameters of the page of one target. */
export function pageOf(r: { definition: string; target: string }): string {
  return `/probes/${encodeURIComponent(r.definition)}?${new URLSearchParams({ target: r.target })}`;
}
