import { useQuery } from "@tanstack/react-query";
import { $api } from "@/api/client";
import { useRefreshOn } from "@/api/events";
import { data } from "../probes/api";
import type { Row } from "../probes/model";

const lately = 10_000;

/**
 * useHome asks for all that the home page tells: what this island knows in one answer,
 * and the verdicts, which other islands may have made.
 */
export function useHome() {
  const overview = $api.useQuery("get", "/api/atoll/v1/overview", {}, { refetchInterval: lately });
  const verdicts = useQuery({
    queryKey: ["probes", "verdicts"],
    queryFn: ({ signal }) => data<{ verdicts: Row[] }>("/api/v1/probes/verdicts?limit=1000", signal),
    refetchInterval: lately,
  });
  useRefreshOn(["alerts", "peers", "probes", "health", "documents"], ["get", "/api/atoll/v1/overview"]);
  useRefreshOn(["probes"], ["probes", "verdicts"]);
  return { overview, verdicts };
}
