import type { State } from "@/parts/states";

/** Peer is another island as this one sees it: GET /api/atoll/v1/mesh/peers. */
export type Peer = {
  key: string;
  name: string;
  role: string;
  primary?: boolean;
  labels?: Record<string, string>;
  region?: string;
  state: string;
  path?: string;
  via?: string;
  transport?: string;
  security?: string;
  congestion_control?: string;
  rtt_seconds?: number;
  jitter_seconds?: number;
  loss: number;
  bytes_in: number;
  bytes_out: number;
  since?: string;
  last_seen?: string;
  version?: number;
  software?: string;
  clock_skew_seconds: number;
  breaker?: string;
  certificate_expires?: string;
  why_not_direct?: string;
  verdict?: string;
  last_error?: string;
  addresses?: string[];
};

/** stateOf says how much a peer's state asks for attention. */
export function stateOf(p: Pick<Peer, "state" | "path" | "breaker">): State {
  switch (p.state) {
    case "connected":
      return p.breaker === "open" ? "warn" : "good";
    case "suspect":
    case "connecting":
    case "quarantined":
      return "warn";
    case "unreachable":
    case "refused":
      return "bad";
    default:
      return "idle";
  }
}

const rank: Record<State, number> = { bad: 0, warn: 1, info: 2, idle: 3, good: 4 };

/** found are the peers that have every word of search somewhere, the troubled first, then by name. */
export function found(peers: readonly Peer[], search: string): Peer[] {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  const hay = (p: Peer) =>
    [
      p.name,
      p.role,
      p.region,
      p.state,
      p.path,
      p.key,
      ...Object.entries(p.labels ?? {}).map(([k, v]) => `${k}=${v}`),
    ]
      .join(" ")
      .toLowerCase();
  return peers
    .filter((p) => words.every((w) => hay(p).includes(w)))
    .sort((a, b) => rank[stateOf(a)] - rank[stateOf(b)] || a.name.localeCompare(b.name));
}

/** placeOf reads coordinates that labels give: lat and lon in degrees. */
export function placeOf(
  labels: Record<string, string> | undefined,
): { lat: number; lon: number } | undefined {
  const lat = Number.parseFloat(labels?.lat ?? "");
  const lon = Number.parseFloat(labels?.lon ?? "");
  return Math.abs(lat) <= 90 && Math.abs(lon) <= 180 ? { lat, lon } : undefined;
}
