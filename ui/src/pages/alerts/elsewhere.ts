import type { Line } from "@/prom/answer";

/** FiringElsewhere is one kind of alert that fires on other islands. */
export type FiringElsewhere = {
  alertname: string;
  severity: string;
  /** How many alerts of it fire on which island, most first. */
  islands: { name: string; count: number }[];
  count: number;
};

/** firingExpr counts what rules say fires, by what is wrong and where. */
export const firingExpr = 'count by (alertname, severity, island) (ALERTS{alertstate="firing"})';

const rank = (severity: string) => {
  const at = ["critical", "page", "error", "warning", "info"].indexOf(severity.toLowerCase());
  return at < 0 ? 5 : at;
};

/** elsewhere groups the answer to firingExpr, without what fires on self; the worst comes first. */
export function elsewhere(lines: readonly Line[], self: string): FiringElsewhere[] {
  const groups = new Map<string, FiringElsewhere>();
  for (const { labels, points } of lines) {
    const { alertname = "", severity = "", island = "" } = labels;
    const count = points.at(-1)?.[1] ?? 0;
    if (island === self || count <= 0) continue;
    const key = JSON.stringify([alertname, severity]);
    const group = groups.get(key) ?? { alertname, severity, islands: [], count: 0 };
    group.islands.push({ name: island, count });
    group.count += count;
    groups.set(key, group);
  }
  for (const g of groups.values())
    g.islands.sort((a, b) => b.count - a.count || a.name.localeCompare(b.name));
  return [...groups.values()].sort(
    (a, b) =>
      rank(a.severity) - rank(b.severity) || b.count - a.count || a.alertname.localeCompare(b.alertname),
  );
}
