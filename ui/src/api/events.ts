import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useEffectEvent } from "react";

/** The topics of GET /api/atoll/v1/events. */
export type Topic = "alerts" | "peers" | "probes" | "documents" | "health";
export type LiveEvent = { topic: Topic; kind: string; id: string; at: string; summary: string };

const topics: Topic[] = ["alerts", "peers", "probes", "documents", "health"];
const listeners = new Set<(e: LiveEvent) => void>();
let source: EventSource | undefined;

function open() {
  source = new EventSource(`/api/atoll/v1/events?topics=${topics.join(",")}`);
  for (const topic of topics) {
    source.addEventListener(topic, (m) => {
      const event = JSON.parse((m as MessageEvent<string>).data) as LiveEvent;
      for (const f of listeners) f(event);
    });
  }
}

/** useEvents calls f for each event of these topics; all views share one connection. */
export function useEvents(wanted: readonly Topic[], f: (e: LiveEvent) => void) {
  const call = useEffectEvent((e: LiveEvent) => {
    if (wanted.includes(e.topic)) f(e);
  });
  useEffect(() => {
    const listener = (e: LiveEvent) => call(e);
    listeners.add(listener);
    if (source === undefined) open();
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0) {
        source?.close();
        source = undefined;
      }
    };
  }, []);
}

/** useRefreshOn asks again for what queryKey names when something of a topic happens. */
export function useRefreshOn(wanted: readonly Topic[], queryKey: readonly unknown[]) {
  const queries = useQueryClient();
  useEvents(wanted, () => void queries.invalidateQueries({ queryKey }));
}
