import { useQuery } from "@tanstack/react-query";
import { $api, ask } from "@/api/client";
import { useRefreshOn } from "@/api/events";
import { data } from "../probes/api";
import type { Row } from "../probes/model";
import { jobs } from "./model";

type Vector = { result: { metric: Record<string, string>; value: [number, string] }[] };
type Verdicts = { verdicts: Row[]; leftOff?: number };

const instant = (query: string) =>
  data<Vector>(`/api/v1/query?${new URLSearchParams({ query })}`).then((v) => v.result);
const lately = 10_000;

/** useOverview asks for all that the home page tells, each by itself, so that one that fails hides no other. */
export function useOverview() {
  const status = $api.useQuery("get", "/api/atoll/v1/status", {}, { refetchInterval: lately });
  const health = useQuery({
    queryKey: ["health"],
    queryFn: () => ask("/api/atoll/v1/health"),
    refetchInterval: lately,
  });
  const targets = useQuery({
    queryKey: ["home", "targets"],
    queryFn: async () =>
      jobs(await instant("count by (job) (up)"), await instant("count by (job) (up == 0)")),
    refetchInterval: lately,
  });
  const alerts = useQuery({
    queryKey: ["alerts", "active"],
    queryFn: () => ask("/api/v2/alerts?active=true&silenced=true&inhibited=true"),
    refetchInterval: lately,
  });
  const joined = status.data?.network !== undefined && status.data.network !== null;
  const peers = useQuery({
    queryKey: ["mesh", "peers"],
    queryFn: async () => (await ask("/api/atoll/v1/mesh/peers")) ?? [],
    refetchInterval: lately,
    enabled: joined,
  });
  const probes = useQuery({
    queryKey: ["probes", "verdicts"],
    queryFn: () => data<Verdicts>("/api/v1/probes/verdicts?limit=1000"),
    refetchInterval: lately,
  });
  const documents = useQuery({
    queryKey: ["documents"],
    queryFn: async () => (await ask("/api/atoll/v1/documents")).documents,
    enabled: joined,
    staleTime: 30_000,
  });
  useRefreshOn(["alerts"], ["alerts"]);
  useRefreshOn(["peers"], ["mesh"]);
  useRefreshOn(["probes"], ["probes"]);
  useRefreshOn(["health"], ["health"]);
  useRefreshOn(["documents"], ["documents"]);
  return { status, health, targets, alerts, peers, probes, documents, joined };
}

export type Overview = ReturnType<typeof useOverview>;
