import { Button, Stack, Text } from "@mantine/core";
import { Empty } from "@/parts/states";
import { useMetricNames } from "@/prom/hooks";
import type { Scope } from "@/prom/scope";
import { useExploreText } from "./text";

/** Beginnings of which those are offered whose metrics exist. */
const beginnings: { needs: string; expr: string }[] = [
  { needs: "up", expr: "sum by (job) (up)" },
  {
    needs: "node_cpu_seconds_total",
    expr: '1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[5m]))',
  },
  {
    needs: "node_memory_MemAvailable_bytes",
    expr: "1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes",
  },
  { needs: "http_requests_total", expr: "sum by (job) (rate(http_requests_total[5m]))" },
  { needs: "shop_http_requests_total", expr: "sum by (service, code) (rate(shop_http_requests_total[1m]))" },
  {
    needs: "shop_http_request_duration_seconds_bucket",
    expr: "histogram_quantile(0.95, sum by (le, service) (rate(shop_http_request_duration_seconds_bucket[5m])))",
  },
  { needs: "probe_duration_seconds", expr: "avg by (target) (probe_duration_seconds)" },
];

/** Examples stand where nothing was asked yet. */
export function Examples({
  scope,
  ready,
  onPick,
}: {
  scope: Scope;
  ready: boolean;
  onPick: (expr: string) => void;
}) {
  const t = useExploreText();
  const { data } = useMetricNames(ready ? scope : "local");
  const names = new Set(data);
  return (
    <Empty
      title={t.emptyTitle}
      action={
        <Stack gap="xs" mt="xs" maw="100%">
          {beginnings
            .filter((b) => names.has(b.needs))
            .map((b) => (
              <Button
                key={b.expr}
                variant="default"
                h="auto"
                mih={40}
                py={6}
                styles={{ label: { whiteSpace: "normal" } }}
                onClick={() => onPick(b.expr)}
              >
                <Text ff="monospace" size="sm" ta="left">
                  {b.expr}
                </Text>
              </Button>
            ))}
        </Stack>
      }
    >
      {t.emptyText}
    </Empty>
  );
}
