import { useQuery, useQueryClient } from "@tanstack/react-query";
import { ask, fetched, Refusal, send } from "@/api/client";
import { useRefreshOn } from "@/api/events";
import { useAccess } from "@/api/session";
import { useIslands } from "@/prom/hooks";
import { type Dashboard, readDashboard, writeDashboard } from "./model";

/** Listed is a dashboard by its name; place says where it is kept. */
export type Listed = {
  name: string;
  title: string;
  panels: number;
  modified: string | undefined;
  place: Place;
};

/** A dashboard is a document of the network, or stays in the browser where there is no network. */
export type Place = "network" | "browser";

const base = "/api/atoll/v1/documents";
const pathOf = (name: string) => `${base}/dashboard/${encodeURIComponent(name)}` as const;
const key = "atoll.dashboards";

/** kept are the dashboards of this browser, by name; what is unreadable counts as none. */
export function kept(): Record<string, string> {
  try {
    const all: unknown = JSON.parse(localStorage.getItem(key) ?? "{}");
    return all !== null && typeof all === "object" && !Array.isArray(all)
      ? Object.fromEntries(Object.entries(all).filter((e): e is [string, string] => typeof e[1] === "string"))
      : {};
  } catch {
    return {};
  }
}

function keep(name: string, text: string | undefined) {
  const { [name]: _, ...others } = kept();
  localStorage.setItem(key, JSON.stringify(text === undefined ? others : { ...others, [name]: text }));
}

// An island of no network has no documents: it answers that there is nothing there.
const none = (error: unknown) => error instanceof Refusal && error.status === 404;

/** useDashboards lists those of the network and of this browser. */
export function useDashboards() {
  useRefreshOn(["documents"], ["documents", "dashboard"]);
  return useQuery({
    queryKey: ["documents", "dashboard", "list"],
    queryFn: async ({ signal }): Promise<Listed[]> => {
      const answer = await ask(`${base}?prefix=dashboard/&values=true`, {
        signal,
      }).catch((e: unknown) => {
        if (none(e)) return { documents: [] };
        throw e;
      });
      const listed = (name: string, text: string, place: Place, modified?: string): Listed => {
        const d = readDashboard(text);
        return { name, title: d?.title || name, panels: d?.panels.length ?? 0, modified, place };
      };
      return [
        ...(answer.documents ?? []).map((d) =>
          listed(d.key.replace(/^dashboard\//, ""), d.value ?? "", "network", d.modified),
        ),
        ...Object.entries(kept()).map(([name, text]) => listed(name, text, "browser")),
      ];
    },
  });
}

export type Loaded = { dashboard: Dashboard; place: Place; time: string | undefined };

/** useDashboard reads one; undefined data where there is none of the name. */
export function useDashboard(name: string, enabled: boolean) {
  return useQuery({
    queryKey: ["documents", "dashboard", "one", name],
    queryFn: async ({ signal }): Promise<Loaded | null> => {
      const local = kept()[name];
      const found = await ask(pathOf(name), { signal }).catch((e: unknown) => {
        if (none(e)) return undefined;
        throw e;
      });
      const text = found?.value ?? local;
      if (text === undefined) return null;
      const dashboard = readDashboard(text);
      if (dashboard === undefined)
        throw new Error(`dashboard/${name} is not a dashboard: its JSON has no panels`);
      return { dashboard, place: found ? "network" : "browser", time: found?.time };
    },
    enabled,
    refetchOnWindowFocus: false,
  });
}

/** useKeeping writes and removes dashboards: in the network where this session may, else in the browser. */
export function useKeeping() {
  const queries = useQueryClient();
  const { may } = useAccess();
  const { data } = useIslands();
  const joined = data?.joined ?? false;
  const place: Place = joined && may("write") ? "network" : "browser";
  const renew = () => queries.invalidateQueries({ queryKey: ["documents"] });
  return {
    place,
    /** Why it is not the network. */
    why: joined ? ("rights" as const) : ("alone" as const),
    /** save writes over the version that was read, and nothing else. */
    save: async (name: string, d: Dashboard, time: string | undefined) => {
      const text = writeDashboard(d);
      if (place === "browser") keep(name, text);
      else {
        // Indented, so that the history's differences are lines people can read.
        await fetched(pathOf(name), {
          method: "PUT",
          body: text,
          headers: {
            "Content-Type": "application/json",
            ...(time === undefined ? { "If-None-Match": "*" } : { "If-Match": `"${time}"` }),
          },
        });
        keep(name, undefined);
      }
      await renew();
    },
    remove: async (name: string, from: Place, time: string | undefined) => {
      if (from === "browser") keep(name, undefined);
      else
        await send("DELETE", pathOf(name), undefined, time === undefined ? {} : { "If-Match": `"${time}"` });
      await renew();
    },
  };
}
