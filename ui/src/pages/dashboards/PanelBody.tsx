import { Group, Stack, Text } from "@mantine/core";
import { useQueries } from "@tanstack/react-query";
import { useMemo } from "react";
import { HeatChart } from "@/chart/HeatChart";
import { heatOf } from "@/chart/heat";
import { Spark } from "@/chart/Spark";
import { TimeChart } from "@/chart/TimeChart";
import { units } from "@/chart/units";
import { Failed, Loading } from "@/parts/states";
import type { Answer } from "@/prom/answer";
import { askInstant, askRange, type Span } from "@/prom/ask";
import { toSeries } from "@/prom/names";
import { type Scope, writeScope } from "@/prom/scope";
import type { Timeline } from "@/range/useRange";
import { AnswerTable } from "../explore/AnswerTable";
import classes from "./dashboards.module.css";
import { type Panel, stateAt } from "./model";
import { useDashboardText } from "./text";
import { type Chosen, fill } from "./variables";

type Props = {
  panel: Panel;
  chosen: Chosen;
  scope: Scope;
  timeline: Timeline;
  height: number;
  /** A panel that nobody sees keeps what it has. */
  seen?: boolean;
};

const mostLines = 100;

/** PanelBody asks what a panel asks, and draws it. */
export function PanelBody({ panel, chosen, scope, timeline, height, seen = true }: Props) {
  const t = useDashboardText();
  const { span, now, range } = timeline;
  const instant = panel.type === "table" || panel.type === "bargauge";
  const at = "last" in range ? now : range.to;
  const queries = (panel.queries ?? []).filter((q) => q.expr.trim() !== "");
  const answers = useQueries({
    queries: queries.map((q) => {
      const expr = fill(q.expr, chosen, span);
      return {
        queryKey: instant
          ? ["prom", "instant", expr, at, writeScope(scope)]
          : ["prom", "range", expr, span.from, span.to, span.step, writeScope(scope)],
        queryFn: ({ signal }: { signal: AbortSignal }): Promise<Answer & { span?: Span }> =>
          instant ? askInstant(expr, at, scope, signal) : askRange(expr, span, scope, signal),
        placeholderData: <T,>(before: T) => before,
        staleTime: 60_000,
        gcTime: 60_000,
        refetchOnWindowFocus: false,
        enabled: seen,
      };
    }),
  });
  const stamp = answers.map((a) => a.dataUpdatedAt).join(" ");
  const got = useMemo(() => answers.map((a) => a.data), [stamp]);
  if (queries.length === 0)
    return (
      <Text size="sm" c="dimmed">
        {t.noQuery}
      </Text>
    );
  const error = answers.find((a) => a.error)?.error;
  if (error) return <Failed error={error} retry={() => answers.forEach((a) => void a.refetch())} />;
  if (answers.some((a) => a.isPending)) return <Loading height={height} />;
  const legends = queries.map((q) => q.legend);
  // The axis moves when the values do: a chart is drawn once for each answer.
  const shown = got.find((a) => a?.span)?.span ?? span;
  const empty = got.every((a) => (a?.lines.length ?? 0) === 0);
  if (empty)
    return (
      <Text size="sm" c="dimmed">
        {t.noData}
      </Text>
    );
  const missing = new Set(
    got.flatMap((a) => a?.receipt?.islands?.filter((i) => i.state === "failed").map((i) => i.name) ?? []),
  );
  return (
    <Stack gap={4}>
      {missing.size > 0 && (
        <Text size="xs" c="var(--atoll-warn)">
          {t.missing([...missing].join(", "))}
        </Text>
      )}
      <Drawn
        panel={panel}
        answers={got}
        legends={legends}
        span={shown}
        timeline={timeline}
        at={at}
        height={height}
      />
    </Stack>
  );
}

type DrawnProps = {
  panel: Panel;
  answers: (Answer | undefined)[];
  legends: (string | undefined)[];
  span: Span;
  timeline: Timeline;
  at: number;
  height: number;
};

function Drawn({ panel, answers, legends, span, timeline, at, height }: DrawnProps) {
  const series = useMemo(
    () =>
      answers.flatMap((a, i) =>
        toSeries(a?.lines.slice(0, mostLines) ?? [], { legend: legends[i], fallback: panel.title }),
      ),
    [answers, panel],
  );
  const lines = useMemo(() => answers.flatMap((a) => a?.lines ?? []), [answers]);
  const heat = useMemo(() => (panel.type === "heatmap" ? heatOf(lines) : undefined), [lines, panel.type]);
  const t = useDashboardText();
  switch (panel.type) {
    case "timeseries":
      return (
        <TimeChart
          series={series}
          from={span.from}
          to={span.to}
          unit={panel.unit ?? "number"}
          stacked={panel.stacked ?? false}
          height={Math.max(height - Math.min(series.length + 1, 5) * 26, 110)}
          group="dashboard"
          label={panel.title}
          onZoom={timeline.zoom}
          {...(panel.thresholds?.[0] ? { threshold: panel.thresholds[0].value } : {})}
        />
      );
    case "heatmap":
      return heat === undefined ? (
        <Text size="sm" c="dimmed">
          {t.noHistogram}
        </Text>
      ) : (
        <HeatChart
          heat={heat}
          from={span.from}
          to={span.to}
          step={span.step}
          unit={panel.unit ?? "number"}
          height={height}
          label={panel.title}
          onZoom={timeline.zoom}
        />
      );
    case "table": {
      const first = answers.find((a) => a !== undefined);
      return first === undefined ? null : (
        <AnswerTable answer={{ ...first, lines }} at={at} expr="" unit={panel.unit} />
      );
    }
    case "bargauge":
      return <Gauges panel={panel} answers={answers} legends={legends} />;
    default:
      return <Stats panel={panel} series={series} from={span.from} to={span.to} />;
  }
}

const lastOf = (points: readonly (readonly [number, number])[]) =>
  points.findLast(([, v]) => !Number.isNaN(v))?.[1];

function Stats({
  panel,
  series,
  from,
  to,
}: {
  panel: Panel;
  series: ReturnType<typeof toSeries>;
  from: number;
  to: number;
}) {
  const write = units[panel.unit ?? "number"];
  return (
    <div className={classes.stats}>
      {series.slice(0, 12).map((s) => {
        const v = lastOf(s.points);
        return (
          <div key={s.name}>
            {series.length > 1 && (
              <Text size="xs" c="dimmed">
                {s.name}
              </Text>
            )}
            <div
              className={classes.stat}
              data-state={v === undefined ? undefined : stateAt(v, panel.thresholds)}
            >
              {v === undefined ? "–" : write(v)}
            </div>
            {s.points.length > 1 && <Spark points={s.points} from={from} to={to} label={s.name} />}
          </div>
        );
      })}
    </div>
  );
}

function Gauges({
  panel,
  answers,
  legends,
}: {
  panel: Panel;
  answers: (Answer | undefined)[];
  legends: (string | undefined)[];
}) {
  const rows = answers.flatMap((a, i) =>
    toSeries(a?.lines ?? [], { legend: legends[i], fallback: panel.title }).map((s) => ({
      name: s.name,
      value: lastOf(s.points),
    })),
  );
  const shown = rows.sort((a, b) => (b.value ?? 0) - (a.value ?? 0)).slice(0, 50);
  const min = panel.min ?? 0;
  const max =
    panel.max ?? (panel.unit === "ratio" ? 1 : Math.max(...shown.map((r) => r.value ?? 0), min + 1e-12));
  const write = units[panel.unit ?? "number"];
  return (
    <Stack gap={8}>
      {shown.map((r) => {
        const share = r.value === undefined ? 0 : Math.min(Math.max((r.value - min) / (max - min), 0), 1);
        return (
          <div key={r.name}>
            <Group justify="space-between" gap="xs" wrap="nowrap">
              <Text size="xs" truncate>
                {r.name}
              </Text>
              <Text size="xs" fw={600}>
                {r.value === undefined ? "–" : write(r.value)}
              </Text>
            </Group>
            <div className={classes.gauge} aria-hidden>
              <i
                data-state={r.value === undefined ? undefined : stateAt(r.value, panel.thresholds)}
                style={{ width: `${share * 100}%` }}
              />
            </div>
          </div>
        );
      })}
    </Stack>
  );
}
