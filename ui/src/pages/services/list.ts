import type { Line } from "@/prom/answer";
import type { Source } from "./discover";

type Points = readonly (readonly [number, number])[];

/** Service is a row of the list. */
export type Service = {
  name: string;
  source: Source;
  rate: Points;
  errors: Points;
  latency: Points;
};

/** Answers are the lines of the three questions about one source. */
export type Answers = { rate?: readonly Line[]; errors?: readonly Line[]; latency?: readonly Line[] };

/** servicesOf puts the answers about a source together by service. */
export function servicesOf(source: Source, a: Answers): Service[] {
  const of = (lines: readonly Line[] | undefined, name: string) =>
    lines?.find((l) => (l.labels[source.service] ?? "") === name)?.points ?? [];
  return (a.rate ?? []).flatMap((l) => {
    const name = l.labels[source.service] ?? "";
    return name === ""
      ? []
      : [{ name, source, rate: l.points, errors: of(a.errors, name), latency: of(a.latency, name) }];
  });
}

/** last is the newest value that is a number. */
export const last = (points: Points) => points.findLast(([, v]) => !Number.isNaN(v))?.[1];

export type Order = "errors" | "rate" | "latency" | "name";
export const orders: readonly Order[] = ["errors", "rate", "latency", "name"];

/** arrange keeps services that have all words and sorts them. */
export function arrange(all: readonly Service[], words: string, order: Order): Service[] {
  const wanted = words
    .toLowerCase()
    .split(/\s+/)
    .filter((w) => w !== "");
  const rank = (s: Service) => (order === "name" ? 0 : (last(s[order]) ?? -1));
  return all
    .filter((s) => wanted.every((w) => `${s.name} ${s.source.requests}`.toLowerCase().includes(w)))
    .sort(
      (a, b) =>
        rank(b) - rank(a) || (last(b.rate) ?? 0) - (last(a.rate) ?? 0) || a.name.localeCompare(b.name),
    );
}

/** stateOf judges by the share of requests that fail. */
export function stateOf(share: number | undefined): "good" | "warn" | "bad" {
  return share === undefined || share < 0.01 ? "good" : share < 0.05 ? "warn" : "bad";
}
