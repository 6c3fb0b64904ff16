import type { components } from "@/api/schema";
import type { State } from "@/parts/states";
import { pageOf, type Row, stateOf } from "../probes/model";
import { addressOf } from "../settings/address";
import type { HomeText } from "./text";

export type Overview = components["schemas"]["Overview"];
type Event = Overview["changes"]["newest"][number];

/** Need is something that wants somebody: what, why, and where to go. */
export type Need = { state: State; title: string; text: string; remedy?: string | undefined; to: string };
/** Change is how something stands that changed lately, and how often it did. */
export type Change = { at: number; state: State; title: string; to: string; times: number };

const ranks: Record<State, number> = { bad: 0, warn: 1, info: 2, idle: 3, good: 4 };

/** alertsState is what the worst severity of those that fire means. */
export function alertsState(a: Overview["alerts"]): State {
  const has = (...names: string[]) => names.some((n) => (a.by_severity[n] ?? 0) > 0);
  if (a.firing === 0) return "good";
  if (has("critical", "page", "error")) return "bad";
  return has("warning", "") || !has("info") ? "warn" : "info";
}

/** needsOf puts together what wants somebody, the worst first; alerts of one name are one trouble. */
export function needsOf(o: Overview, verdicts: readonly Row[], t: HomeText): Need[] {
  const needs: Need[] = [];
  const add = (need: Need) => needs.push(need);
  const alerts = new Map<string, Overview["needs"]>();
  for (const n of o.needs) {
    if (n.kind === "alert") alerts.set(n.title, [...(alerts.get(n.title) ?? []), n]);
    else if (n.kind === "health" || n.kind === "budget")
      add({
        state: n.severity === "critical" ? "bad" : "warn",
        title: n.title,
        text: n.detail ?? "",
        remedy: n.remedy,
        to: n.href,
      });
  }
  for (const [name, same] of alerts)
    add({
      state: same.some((n) => n.severity === "critical") ? "bad" : "warn",
      title: same.length > 1 ? t.several(name, same.length) : name,
      text: same[0]?.detail || t.alertText,
      to: same.length > 1 ? `/alerts?q=${encodeURIComponent(name)}` : (same[0]?.href ?? "/alerts"),
    });
  for (const v of verdicts)
    if (v.state === "down" || v.state === "degraded")
      add({
        state: stateOf(v.state),
        title: t.verdict(v.target, v.state),
        text: v.words,
        to: pageOf(v),
      });
  for (const name of o.islands.lost)
    add({ state: "bad", title: t.islandLost(name), text: t.islandLostText, to: island(name) });
  for (const name of o.islands.unreached.filter((n) => !o.islands.lost.includes(n)))
    add({ state: "warn", title: t.islandGone(name), text: t.islandGoneText, to: island(name) });
  for (const j of o.targets.jobs)
    if (j.down > 0)
      add({
        state: "warn",
        title: t.jobDown(j.job, j.down, j.up + j.down + j.unknown),
        text: t.jobRemedy,
        to: `/explore?expr=${encodeURIComponent(`up{job=${JSON.stringify(j.job)}} == 0`)}&tab=table`,
      });
  return needs.sort((a, b) => ranks[a.state] - ranks[b.state]);
}

const island = (name: string) => `/islands/${encodeURIComponent(name)}`;

// What people write; the rest is the islands' own bookkeeping.
const people = /^(rules|globalrules|probe|dashboard|policy|owner|scrape|aggregate|primary)\//;

/**
 * changesOf lists what changed, the newest first: what came and went many times is one
 * line, which says how it stands now.
 */
export function changesOf(o: Overview, t: HomeText): Change[] {
  const lines = new Map<string, Change>();
  for (const e of o.changes.newest) {
    const told = tell(e, t);
    if (told === undefined) continue;
    const key = `${e.topic} ${e.id}`;
    const newer = lines.get(key);
    if (newer) newer.times++;
    else lines.set(key, { ...told, at: Date.parse(e.at), times: 1 });
  }
  return [...lines.values()].sort((a, b) => b.at - a.at);
}

function tell(e: Event, t: HomeText): { state: State; title: string; to: string } | undefined {
  switch (e.topic) {
    case "alerts": {
      const name = e.summary.split(": ")[0] ?? e.summary;
      if (e.kind === "pending") return undefined;
      return e.kind === "resolved"
        ? { state: "good", title: t.resolved(name), to: `/alerts/history?q=${encodeURIComponent(name)}` }
        : { state: "bad", title: t.fired(name), to: `/alerts/${encodeURIComponent(e.id)}` };
    }
    case "probes": {
      const cut = e.id.indexOf("/");
      const target = e.id.slice(cut + 1);
      return {
        state: stateOf(e.kind),
        title: t.verdict(target, e.kind),
        to: pageOf({ definition: e.id.slice(0, cut), target }),
      };
    }
    case "peers": {
      const good = e.kind === "connected" || e.kind === "back";
      return {
        state: good ? "good" : e.kind === "lost" ? "bad" : "warn",
        title: t.peer(e.id, e.kind) || e.summary,
        to: island(e.id),
      };
    }
    case "health":
      return e.kind === "cleared"
        ? { state: "good", title: t.cleared(e.summary), to: "/islands" }
        : { state: e.kind === "critical" ? "bad" : "warn", title: e.summary, to: "/islands" };
    default:
      return people.test(e.id)
        ? { state: "info", title: t.documentChanged(e.id), to: addressOf(e.id) }
        : undefined;
  }
}

// What every island scrapes of itself and its machine.
const own = ["atoll", "node", "cgroup"];

/** begins tells whether an island has nothing yet but itself. */
export const begins = (o: Overview): boolean =>
  o.islands.network === undefined && o.targets.jobs.every((j) => own.includes(j.job));

/** overall is the worst state of all. */
export function overall(states: readonly State[]): State {
  for (const s of ["bad", "warn", "info"] as const) if (states.includes(s)) return s;
  return "good";
}
