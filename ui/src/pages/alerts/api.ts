import { notifications } from "@mantine/notifications";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { $api, ask, headersFor, refusalOf, send } from "@/api/client";
import { useRefreshOn } from "@/api/events";
import { useAccess } from "@/api/session";
import type { Matcher } from "./model";

export type Silence = {
  id: string;
  matchers: Matcher[];
  startsAt: string;
  endsAt: string;
  updatedAt: string;
  createdBy: string;
  comment: string;
  status: { state: "active" | "pending" | "expired" };
};

const groupsKey = ["get", "/api/atoll/v1/alerts"] as const;

/** useGroups is what fires, as it is now. */
export function useGroups() {
  useRefreshOn(["alerts"], groupsKey);
  return $api.useQuery("get", "/api/atoll/v1/alerts", {}, { refetchInterval: 10_000 });
}

export function useSilences() {
  useRefreshOn(["alerts"], ["silences"]);
  return useQuery({
    queryKey: ["silences"],
    queryFn: () => ask("/api/v2/silences"),
    refetchInterval: 30_000,
  });
}

/** useRenew asks again for everything that a change here may have changed. */
export function useRenew() {
  const queries = useQueryClient();
  return () =>
    Promise.all([
      queries.invalidateQueries({ queryKey: groupsKey }),
      queries.invalidateQueries({ queryKey: ["silences"] }),
    ]);
}

/** useName is who a silence is by. */
export function useName(): string {
  const { session } = useAccess();
  return session?.user ?? "portal";
}

type Wanted = { id?: string; matchers: Matcher[]; from: number; to: number; comment: string };

export function useSilence() {
  const by = useName();
  const renew = useRenew();
  return useMutation({
    mutationFn: (w: Wanted) =>
      send("POST", "/api/v2/silences", {
        ...(w.id === undefined ? {} : { id: w.id }),
        matchers: w.matchers,
        startsAt: new Date(w.from).toISOString(),
        endsAt: new Date(w.to).toISOString(),
        createdBy: by,
        comment: w.comment,
      }),
    onSettled: renew,
  });
}

export function useExpire() {
  const renew = useRenew();
  return useMutation({
    mutationFn: (id: string) => send("DELETE", `/api/v2/silence/${encodeURIComponent(id)}`),
    onError: (e) => notifications.show({ color: "red", message: e.message }),
    onSettled: renew,
  });
}

const acknowledgement = (target: string) =>
  `/api/atoll/v1/alerts/${encodeURIComponent(target)}/acknowledge` as const;

export function useAcknowledge() {
  const by = useName();
  const renew = useRenew();
  return useMutation({
    mutationFn: ({ target, comment, back }: { target: string; comment?: string; back?: boolean }) =>
      back
        ? send("DELETE", acknowledgement(target))
        : send("POST", acknowledgement(target), { by, comment: comment ?? "" }),
    onError: (e) => notifications.show({ color: "red", message: e.message }),
    onSettled: renew,
  });
}

export type Rule = {
  type: "alerting" | "recording";
  name: string;
  query: string;
  health: "ok" | "err" | "unknown";
  lastError?: string;
  lastEvaluation: string;
  evaluationTime: number;
  state?: "unknown" | "inactive" | "pending" | "firing";
  duration?: number;
  keepFiringFor?: number;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  alerts?: { labels: Record<string, string>; state: string; activeAt?: string; value: string }[] | null;
};
export type RuleGroup = { name: string; file: string; interval: number; rules: Rule[] };

export function useRules() {
  useRefreshOn(["alerts", "documents"], ["rules"]);
  return useQuery({
    queryKey: ["rules"],
    queryFn: async (): Promise<RuleGroup[]> => (await ask("/api/v1/rules")).data.groups,
    refetchInterval: 15_000,
  });
}

/** documentPath is where a shared document is. */
export const documentPath = (kind: string, name: string) =>
  `/api/atoll/v1/documents/${encodeURIComponent(kind)}/${encodeURIComponent(name)}` as const;

/** writeDocument writes over the version of tag, or anew where there is none: nobody's change is lost. */
export async function writeDocument(path: string, text: string, tag: string | undefined): Promise<void> {
  const r = await fetch(path, {
    method: "PUT",
    credentials: "same-origin",
    headers: {
      "Content-Type": "text/plain; charset=utf-8",
      ...headersFor("PUT"),
      ...(tag === undefined ? { "If-None-Match": "*" } : { "If-Match": `"${tag}"` }),
    },
    body: text,
  });
  if (!r.ok) throw await refusalOf(r);
}
