import { useQueries } from "@tanstack/react-query";
import { useMemo } from "react";
import { askLabelNames } from "@/prom/ask";
import { useMetricNames } from "@/prom/hooks";
import { type Scope, writeScope } from "@/prom/scope";
import { discover, type Source, sourceOf } from "./discover";

/** useSources finds what counts requests, and by which labels. */
export function useSources(scope: Scope, ready: boolean) {
  const names = useMetricNames(ready ? scope : "local");
  const found = useMemo(() => discover(names.data ?? []), [names.data]);
  const labels = useQueries({
    queries: found.map((f) => ({
      queryKey: ["prom", "labels", f.requests, writeScope(scope)],
      queryFn: () => askLabelNames(scope, [f.requests]),
      staleTime: 60_000,
      enabled: ready,
    })),
  });
  const stamp = labels.map((l) => l.dataUpdatedAt).join(" ");
  const sources = useMemo(
    () =>
      found.flatMap((f, i): Source[] => {
        const s = sourceOf(f, labels[i]?.data ?? []);
        return s === undefined ? [] : [s];
      }),
    [found, stamp],
  );
  return {
    sources,
    error: names.error ?? labels.find((l) => l.error)?.error ?? null,
    pending: !ready || names.isPending || labels.some((l) => l.isPending),
    retry: () => void names.refetch(),
  };
}
