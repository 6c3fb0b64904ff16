import { Alert, Button, Checkbox, Code, Group, Stack, Text } from "@mantine/core";
import { useMemo } from "react";
import { useSearchParams } from "react-router";
import { HeatChart } from "@/chart/HeatChart";
import { heatOf } from "@/chart/heat";
import { TimeChart } from "@/chart/TimeChart";
import { unitOf } from "@/chart/units";
import { Empty, Failed, Loading } from "@/parts/states";
import type { Answer } from "@/prom/answer";
import { useInstantAnswer, useRangeAnswer } from "@/prom/hooks";
import { toSeries } from "@/prom/names";
import { ReceiptLine } from "@/prom/ReceiptLine";
import type { Scope } from "@/prom/scope";
import type { Timeline } from "@/range/useRange";
import { AnswerTable } from "./AnswerTable";
import type { View } from "./address";
import { useExploreText } from "./text";

type Props = {
  expr: string;
  view: View;
  scope: Scope;
  ready: boolean;
  timeline: Timeline;
  onRun: (expr: string) => void;
};

/** More lines than these are a carpet. */
const mostLines = 100;

/** Results is the answer to one question. */
export function Results({ expr, view, scope, ready, timeline, onRun }: Props) {
  const { span, now, range } = timeline;
  const instant = view === "table";
  const over = useRangeAnswer(expr, span, scope, ready && !instant);
  const at = "last" in range ? now : range.to;
  const once = useInstantAnswer(expr, at, scope, ready && instant);
  const { data, error, isPending, isPlaceholderData, refetch } = instant ? once : over;
  if (error) return <Failed error={error} retry={() => void refetch()} />;
  if (isPending) return <Loading height={instant ? 160 : 300} />;
  return (
    <Stack gap="sm" style={isPlaceholderData ? { opacity: 0.6 } : undefined} aria-busy={isPlaceholderData}>
      {view === "chart" && <Chart expr={expr} answer={data} timeline={timeline} />}
      {view === "heatmap" && <Heatmap expr={expr} answer={data} timeline={timeline} onRun={onRun} />}
      {instant && <AnswerTable answer={data} at={at} expr={expr} />}
      <ReceiptLine answer={data} />
    </Stack>
  );
}

function Nothing() {
  const t = useExploreText();
  return <Empty title={t.nothing}>{t.nothingText}</Empty>;
}

function Chart({ expr, answer, timeline }: { expr: string; answer: Answer; timeline: Timeline }) {
  const t = useExploreText();
  const [params, setParams] = useSearchParams();
  const stacked = params.get("stacked") === "1";
  const series = useMemo(() => {
    // A native histogram has no one value: what is drawn is how many it counted.
    const lines = answer.lines.map((l) =>
      l.points.length === 0
        ? { ...l, points: l.histograms.map(([ms, h]): [number, number] => [ms, h.count]) }
        : l,
    );
    return toSeries(lines.slice(0, mostLines), { fallback: expr });
  }, [answer, expr]);
  if (series.length === 0) return <Nothing />;
  return (
    <Stack gap="xs">
      {answer.lines.length > mostLines && (
        <Alert variant="light" color="blue" p="xs">
          {t.capped(mostLines, answer.lines.length)}
        </Alert>
      )}
      <TimeChart
        series={series}
        from={timeline.span.from}
        to={timeline.span.to}
        unit={unitOf(expr)}
        height={300}
        stacked={stacked}
        onZoom={timeline.zoom}
        group="explore"
        label={expr}
      />
      {series.length > 1 && (
        <Checkbox
          size="xs"
          label={t.stacked}
          checked={stacked}
          onChange={(e) => {
            const on = e.currentTarget.checked;
            setParams(
              (p) => {
                const next = new URLSearchParams(p);
                if (on) next.set("stacked", "1");
                else next.delete("stacked");
                return next;
              },
              { replace: true },
            );
          }}
        />
      )}
    </Stack>
  );
}

function Heatmap({
  expr,
  answer,
  timeline,
  onRun,
}: {
  expr: string;
  answer: Answer;
  timeline: Timeline;
  onRun: (expr: string) => void;
}) {
  const t = useExploreText();
  const heat = useMemo(() => heatOf(answer.lines), [answer]);
  if (answer.lines.length === 0) return <Nothing />;
  if (heat === undefined) return <Empty title={t.noHeat}>{t.noHeatText}</Empty>;
  const bare = /^[a-zA-Z_:][\w:]*(\{[^}]*\})?$/.test(expr);
  const rated = expr.replace(/\{.*|$/, "").endsWith("_bucket")
    ? `sum by (le) (rate(${expr}[5m]))`
    : `sum(rate(${expr}[5m]))`;
  return (
    <Stack gap="xs">
      {bare && (
        <Group gap="xs">
          <Text size="sm">{t.cumulative}</Text>
          <Button size="xs" variant="default" onClick={() => onRun(rated)}>
            <Code>{rated}</Code>
          </Button>
        </Group>
      )}
      <HeatChart
        heat={heat}
        from={timeline.span.from}
        to={timeline.span.to}
        step={timeline.span.step}
        unit={/_seconds/.test(expr) ? "seconds" : /_bytes/.test(expr) ? "bytes" : "number"}
        height={300}
        label={expr}
        onZoom={timeline.zoom}
      />
    </Stack>
  );
}
