import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { ask } from "@/api/client";
import { askInstant, askLabelValues, askMetadata, askRange, type Span } from "./ask";
import { type Scope, writeScope } from "./scope";

/** useRangeAnswer asks for values over a span; what was there before stays until the answer comes. */
export function useRangeAnswer(expr: string, span: Span, scope: Scope, enabled = true) {
  return useQuery({
    queryKey: ["prom", "range", expr, span.from, span.to, span.step, writeScope(scope)],
    queryFn: ({ signal }) => askRange(expr, span, scope, signal),
    placeholderData: keepPreviousData,
    staleTime: 60_000,
    gcTime: 60_000,
    refetchOnWindowFocus: false,
    enabled: enabled && expr !== "",
  });
}

/** useInstantAnswer asks for values at a moment (ms since 1970). */
export function useInstantAnswer(expr: string, at: number, scope: Scope, enabled = true) {
  return useQuery({
    queryKey: ["prom", "instant", expr, at, writeScope(scope)],
    queryFn: ({ signal }) => askInstant(expr, at, scope, signal),
    placeholderData: keepPreviousData,
    staleTime: 60_000,
    gcTime: 60_000,
    refetchOnWindowFocus: false,
    enabled: enabled && expr !== "",
  });
}

/** useMetricNames lists the metrics there are. */
export function useMetricNames(scope: Scope) {
  return useQuery({
    queryKey: ["prom", "names", writeScope(scope)],
    queryFn: ({ signal }) => askLabelValues("__name__", scope, [], undefined, signal),
    staleTime: 60_000,
    // An island that has just begun soon has more of them.
    refetchInterval: 60_000,
  });
}

export function useMetadata(enabled = true) {
  return useQuery({ queryKey: ["prom", "metadata"], queryFn: askMetadata, staleTime: 300_000, enabled });
}

/** Archipelago is this island and the others of its network, by name. */
export type Archipelago = { self: string; islands: { name: string; reachable: boolean }[]; joined: boolean };

/** useIslands tells whom questions can be about. */
export function useIslands() {
  return useQuery({
    queryKey: ["islands"],
    queryFn: async ({ signal }): Promise<Archipelago> => {
      const network = await ask("/api/atoll/v1/mesh/network", { signal });
      const self = network.island ?? "";
      if (!network.joined) return { self, islands: [], joined: false };
      const peers = (await ask("/api/atoll/v1/mesh/peers", { signal })) ?? [];
      const others = peers.map((p) => ({ name: p.name, reachable: p.state === "connected" }));
      const islands = [{ name: self, reachable: true }, ...others].sort((a, b) =>
        a.name.localeCompare(b.name),
      );
      return { self, islands, joined: true };
    },
    staleTime: 15_000,
    retry: false,
  });
}
