import type { State } from "@/parts/states";

/** Counts of targets of one job. */
export type Job = { job: string; up: number; down: number };
/** Need is something that wants somebody: what, why, and where to go. */
export type Need = { state: State; title: string; text: string; remedy?: string; to: string };
/** Change is something that happened lately. */
export type Change = { at: number; state: State; title: string; to: string };

type Sample = { metric: Record<string, string>; value: [number, string] };

/** jobs puts together what `count by (job, up)` questions answered: all targets, and those that are down. */
export function jobs(all: readonly Sample[], down: readonly Sample[]): Job[] {
  const gone = new Map(down.map((s) => [s.metric.job ?? "", Number(s.value[1])]));
  return all
    .map((s) => {
      const job = s.metric.job ?? "";
      const bad = gone.get(job) ?? 0;
      return { job, up: Number(s.value[1]) - bad, down: bad };
    })
    .sort((a, b) => b.down - a.down || a.job.localeCompare(b.job));
}

export type Alert = {
  fingerprint: string;
  labels: Record<string, string>;
  annotations: Record<string, string>;
  startsAt: string;
  endsAt: string;
  status: { state: string; silencedBy: string[]; inhibitedBy: string[] };
};

const severities: Record<string, number> = { critical: 0, page: 0, error: 1, warning: 2, info: 3 };

/** severityState colours a severity label. */
export function severityState(severity: string | undefined): State {
  const rank = severities[severity ?? "warning"] ?? 2;
  return rank <= 1 ? "bad" : rank === 2 ? "warn" : "info";
}

/** grouped puts alerts together by name, the worst first: one line for what is one trouble. */
export function grouped(
  alerts: readonly Alert[],
): { name: string; severity: string | undefined; alerts: Alert[]; since: number }[] {
  const groups = new Map<string, Alert[]>();
  for (const a of alerts) {
    const name = a.labels.alertname ?? "";
    groups.set(name, [...(groups.get(name) ?? []), a]);
  }
  return [...groups]
    .map(([name, list]) => ({
      name,
      severity: list
        .map((a) => a.labels.severity)
        .sort((a, b) => (severities[a ?? ""] ?? 2) - (severities[b ?? ""] ?? 2))[0],
      alerts: list,
      since: Math.min(...list.map((a) => Date.parse(a.startsAt))),
    }))
    .sort(
      (a, b) =>
        (severities[a.severity ?? ""] ?? 2) - (severities[b.severity ?? ""] ?? 2) || a.since - b.since,
    );
}

/** overall is the worst state of all. */
export function overall(states: readonly State[]): State {
  for (const s of ["bad", "warn", "info"] as const) if (states.includes(s)) return s;
  return "good";
}
