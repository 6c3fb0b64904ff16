import { useQuery } from "@tanstack/react-query";
import { ask } from "@/api/client";
import type { Matrix, Vantage } from "./model";

/** data unpacks the envelope that /api/v1 puts around its answers. */
export async function data<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await ask<{ data: T }>(path, { signal: signal ?? null })).data;
}

/** useMatrix asks what each vantage sees of each target, or of those of one definition and target. */
export function useMatrix(filter: { definition?: string; instance?: string } = {}) {
  const query = new URLSearchParams({ limit: "500", ...filter }).toString();
  return useQuery({
    queryKey: ["probes", "matrix", query],
    queryFn: ({ signal }) => data<Matrix>(`/api/v1/probes/matrix?${query}`, signal),
    refetchInterval: 5_000,
  });
}

export function useVantages() {
  return useQuery({
    queryKey: ["probes", "vantages"],
    queryFn: ({ signal }) => data<Vantage[]>("/api/v1/probes/vantages", signal),
    refetchInterval: 30_000,
  });
}
