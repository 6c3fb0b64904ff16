import { Anchor, Card, Group, Text } from "@mantine/core";
import { useQueries } from "@tanstack/react-query";
import { useEffect, useMemo, useState } from "react";
import { Link } from "react-router";
import { $api } from "@/api/client";
import { TimeChart } from "@/chart/TimeChart";
import type { Unit } from "@/chart/units";
import { Failed, Loading } from "@/parts/states";
import { useSeen } from "@/parts/useSeen";
import { writeRange } from "@/range/range";
import type { Timeline } from "@/range/useRange";
import { texts } from "@/text/text";
import { askRange } from "./ask";
import { toSeries } from "./names";
import { type Scope, writeScope } from "./scope";

/** GraphSpec says what a chart shows: it is there where one of the metrics that it needs exists. */
export type GraphSpec = {
  id: string;
  title: string;
  queries: { expr: string; legend?: string }[];
  needs: string[];
  unit: Unit;
  stacked?: boolean;
};

/** present are the charts for which there is data. */
export const present = <G extends { needs: string[] }>(all: readonly G[], names: ReadonlySet<string>): G[] =>
  all.filter((g) => g.needs.some((n) => names.has(n)));

const useText = texts(
  { explore: "Explore", soon: "The first values come within half a minute." },
  { explore: "在查询中打开", soon: "半分钟内会有第一批数据。" },
);

/** For so many seconds an island that has begun has metrics without values to draw. */
const young = 90;

type Props = {
  spec: GraphSpec;
  scope: Scope;
  timeline: Timeline;
  /** Charts of one group show the cursor at the same moment. */
  group: string;
  height?: number;
};

/** Graph draws what a GraphSpec says; where nothing comes back there is nothing. */
export function Graph({ spec, scope, timeline, group, height = 190 }: Props) {
  const t = useText();
  const { span } = timeline;
  const { ref, seen } = useSeen();
  // Where nothing is drawn nothing can be seen: it goes on asking.
  const [nothing, setNothing] = useState(false);
  const answers = useQueries({
    queries: spec.queries.map((q) => ({
      queryKey: ["prom", "range", q.expr, span.from, span.to, span.step, writeScope(scope)],
      queryFn: ({ signal }: { signal: AbortSignal }) => askRange(q.expr, span, scope, signal),
      placeholderData: <T,>(before: T) => before,
      staleTime: 60_000,
      gcTime: 60_000,
      refetchOnWindowFocus: false,
      enabled: seen || nothing,
    })),
  });
  const stamp = answers.map((a) => a.dataUpdatedAt).join(" ");
  const series = useMemo(
    () =>
      answers.flatMap((a, i) =>
        toSeries(a.data?.lines.slice(0, mostLines) ?? [], {
          legend: spec.queries[i]?.legend,
          fallback: spec.title,
        }),
      ),
    [stamp, spec],
  );
  const error = answers.find((a) => a.error)?.error;
  const pending = answers.some((a) => a.isPending);
  const empty = !pending && !error && series.length === 0;
  useEffect(() => setNothing(empty), [empty]);
  const status = $api.useQuery("get", "/api/atoll/v1/status").data;
  const soon = empty && status !== undefined && status.uptime_seconds < young;
  if (empty && !soon) return null;
  // The axis moves when the values do: a chart is drawn once for each answer.
  const shown = answers.find((a) => a.data)?.data?.span ?? span;
  const address = writeRange(new URLSearchParams(), timeline.range);
  for (const q of spec.queries) address.append("expr", q.expr);
  address.set("scope", writeScope(scope));
  return (
    <Card ref={ref} padding="sm" component="section" aria-label={spec.title}>
      <Group justify="space-between" mb={4} wrap="nowrap">
        <Text fw={600} size="sm">
          {spec.title}
        </Text>
        <Anchor component={Link} to={`/explore?${address}`} size="xs" display="inline-block" py={12} my={-12}>
          {t.explore}
        </Anchor>
      </Group>
      {error ? (
        <Failed error={error} retry={() => answers.forEach((a) => void a.refetch())} />
      ) : soon ? (
        <Text size="sm" c="dimmed" mih={height}>
          {t.soon}
        </Text>
      ) : series.length === 0 ? (
        <Loading height={height} />
      ) : (
        <TimeChart
          series={series}
          from={shown.from}
          to={shown.to}
          unit={spec.unit}
          stacked={spec.stacked ?? false}
          height={height}
          group={group}
          onZoom={timeline.zoom}
          label={spec.title}
        />
      )}
    </Card>
  );
}

/** More lines than these in one of many charts are a carpet. */
const mostLines = 40;
