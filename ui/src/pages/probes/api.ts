import { useQuery } from "@tanstack/react-query";
import { ask, fetched } from "@/api/client";
import type { Matrix, Vantage } from "./model";

/** data unpacks the envelope that /api/v1 puts around its answers. */
export async function data<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await fetched<{ data: T }>(path, { signal: signal ?? null })).data;
}

/** useMatrix asks what each vantage sees of each target, or of those of one definition and target. */
export function useMatrix(filter: { definition?: string; instance?: string } = {}) {
  const query = new URLSearchParams({ limit: "500", ...filter }).toString();
  return useQuery({
    queryKey: ["probes", "matrix", query],
    queryFn: async ({ signal }): Promise<Matrix> =>
      (await ask(`/api/v1/probes/matrix?${query}`, { signal })).data,
    refetchInterval: 5_000,
  });
}

export function useVantages() {
  return useQuery({
    queryKey: ["probes", "vantages"],
    queryFn: async ({ signal }): Promise<Vantage[]> =>
      (await ask("/api/v1/probes/vantages", { signal })).data,
    refetchInterval: 30_000,
  });
}
