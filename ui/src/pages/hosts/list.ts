import type { Line } from "@/prom/answer";
import type { ListQuery } from "./charts";

/** Host is a row of the list. */
export type Host = {
  instance: string;
  island: string;
  nodename: string;
  kernel: string;
  /** Shares of 1. */
  cpu?: number;
  memory?: number;
  disk?: number;
  load?: number;
  cores?: number;
  /** s since 1970 */
  boot?: number;
};

const keyOf = (l: Line) => `${l.labels.island ?? ""}\n${l.labels.instance ?? ""}`;
const value = (l: Line | undefined) => {
  const v = l?.points.at(-1)?.[1];
  return v === undefined || Number.isNaN(v) ? undefined : v;
};

/** hostsOf puts the answers together by instance and island. */
export function hostsOf(answers: Partial<Record<ListQuery, readonly Line[]>>): Host[] {
  const hosts = new Map<string, Host>();
  for (const l of [...(answers.info ?? []), ...(answers.bare ?? [])]) {
    const instance = l.labels.instance;
    if (instance === undefined || hosts.has(keyOf(l))) continue;
    hosts.set(keyOf(l), {
      instance,
      island: l.labels.island ?? "",
      nodename: l.labels.nodename ?? "",
      kernel: l.labels.release ?? "",
    });
  }
  for (const field of ["cpu", "memory", "disk", "load", "cores", "boot"] as const)
    for (const l of answers[field] ?? []) {
      const host = hosts.get(keyOf(l));
      const v = value(l);
      if (host && v !== undefined) host[field] = v;
    }
  return [...hosts.values()];
}

/** silent is a host that was there within the hour and says nothing now. */
export const silent = (h: Host) => h.cpu === undefined && h.memory === undefined && h.load === undefined;

/** strain is how full the fullest is: what is wrong comes first. */
export const strain = (h: Host) =>
  silent(h) ? 2 : Math.max(h.cpu ?? 0, h.memory ?? 0, h.disk ?? 0, perCore(h) ?? 0);
export const perCore = (h: Host) => (h.load === undefined || !h.cores ? undefined : h.load / h.cores);

export type Order = "strain" | "name" | "cpu" | "memory" | "disk" | "load";
export const orders: readonly Order[] = ["strain", "name", "cpu", "memory", "disk", "load"];

/** arrange keeps hosts that have all words and sorts them. */
export function arrange(hosts: readonly Host[], words: string, order: Order): Host[] {
  const wanted = words
    .toLowerCase()
    .split(/\s+/)
    .filter((w) => w !== "");
  const by: Record<Order, (h: Host) => number> = {
    strain,
    name: () => 0,
    cpu: (h) => h.cpu ?? -1,
    memory: (h) => h.memory ?? -1,
    disk: (h) => h.disk ?? -1,
    load: (h) => perCore(h) ?? -1,
  };
  return hosts
    .filter((h) => {
      const text = `${h.instance} ${h.nodename} ${h.island} ${h.kernel}`.toLowerCase();
      return wanted.every((w) => text.includes(w));
    })
    .sort(
      (a, b) =>
        by[order](b) - by[order](a) ||
        a.instance.localeCompare(b.instance, undefined, { numeric: true }) ||
        a.island.localeCompare(b.island),
    );
}
