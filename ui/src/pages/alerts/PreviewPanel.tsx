import { Alert, Card, Group, Stack, Text, Title } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { send } from "@/api/client";
import { type Band, TimeChart } from "@/chart/TimeChart";
import { unitOf } from "@/chart/units";
import { Failed, Labels, Loading, Mark } from "@/parts/states";
import { useLanguage } from "@/text/text";
import { clock, seconds } from "@/text/time";
import classes from "./alerts.module.css";
import type { Preview } from "./model";
import { useAlertsText } from "./text";

export type PreviewAsk = {
  expr: string;
  for?: string;
  keep_firing_for?: string;
  interval?: string;
  labels?: Record<string, string>;
};

const nameOf = (labels: Record<string, string>) => {
  const { __name__: metric = "", ...rest } = labels;
  const inner = Object.entries(rest)
    .map(([k, v]) => `${k}=${v}`)
    .join(", ");
  return inner === "" ? metric || "{}" : `${metric}{${inner}}`;
};

/** chartFrom leaves out the time before there was anything to see. */
function chartFrom(p: Preview): number {
  const from = Date.parse(p.from);
  const to = Date.parse(p.to);
  const first = Math.min(...p.chart.series.map((s) => Number(s.points[0]?.[0] ?? to)));
  return Number.isFinite(first) ? Math.max(from, first - (to - first) * 0.1) : from;
}

/** PreviewPanel shows how often a rule would have fired in the last week, and when. */
export function PreviewPanel({ ask, fires = true }: { ask: PreviewAsk; fires?: boolean }) {
  const t = useAlertsText();
  const { language } = useLanguage();
  const [wanted] = useDebouncedValue(ask, 500);
  const { data, error, isFetching, refetch } = useQuery({
    queryKey: ["preview", wanted],
    queryFn: () => send("POST", "/api/atoll/v1/rules/preview", { ...wanted, range_seconds: 604_800 }),
    enabled: wanted.expr.trim() !== "",
    placeholderData: keepPreviousData,
    staleTime: 60_000,
    refetchOnWindowFocus: false,
  });
  if (wanted.expr.trim() === "")
    return (
      <Card>
        <Text size="sm" c="dimmed">
          {t.previewFirst}
        </Text>
      </Card>
    );
  if (error) return <Failed error={error} retry={() => void refetch()} />;
  if (!data) return <Loading height={320} />;
  const bands: Band[] = fires
    ? data.incidents.map((i) => ({ from: Date.parse(i.from), to: Date.parse(i.to), state: "bad" }))
    : [];
  return (
    <Card component="section" aria-label={t.preview} aria-busy={isFetching}>
      <Stack gap="sm">
        {fires && (
          <Group justify="space-between">
            <Title order={3}>{t.preview}</Title>
            <Group gap="xs" role="status">
              {data.chart.series.length === 0 && <Mark state="warn">{t.noData}</Mark>}
              <Mark
                state={
                  data.chart.series.length === 0
                    ? "idle"
                    : data.fired === 0
                      ? "good"
                      : data.fired > 20
                        ? "warn"
                        : "info"
                }
              >
                {`${t.wouldFire(data.fired)}${data.fired > 0 ? `, ${t.forTotal(seconds(data.firing_seconds))}` : ""}`}
              </Mark>
              {data.firing_now > 0 && <Mark state="bad">{t.firesNow(data.firing_now)}</Mark>}
              {data.pending_now > 0 && <Mark state="warn">{t.pendingNow(data.pending_now)}</Mark>}
            </Group>
          </Group>
        )}
        <TimeChart
          label={t.chartOf(data.chart.expr)}
          series={data.chart.series.map((s) => ({
            name: nameOf(s.labels),
            labels: s.labels,
            points: s.points.map(([at, v]) => [Number(at), Number(v)] as const),
          }))}
          from={chartFrom(data)}
          to={Date.parse(data.to)}
          unit={unitOf(data.chart.expr)}
          height={260}
          bands={bands}
          {...(data.chart.threshold === undefined ? {} : { threshold: data.chart.threshold })}
        />
        {data.chart.series_left_out ? (
          <Text size="sm" c="dimmed">
            {t.drawnSome(data.chart.series_left_out)}
          </Text>
        ) : null}
        {fires && data.coarser && (
          <Text size="sm" c="dimmed">
            {t.coarser(seconds(data.step_seconds), seconds(data.interval_seconds))}
          </Text>
        )}
        {data.series_left_out ? <Alert color="yellow">{t.leftOut(data.series_left_out)}</Alert> : null}
        {fires && data.incidents.length > 0 && (
          <div>
            <Text size="sm" fw={600}>
              {t.incidents}
            </Text>
            {data.incidents.slice(0, 10).map((i) => (
              <Group key={`${i.from} ${nameOf(i.labels)}`} className={classes.instance} gap="xs">
                <Text size="sm" w={150}>
                  {clock(Date.parse(i.from), language)}
                </Text>
                <Text size="sm" c="dimmed">
                  {i.open ? t.still : t.lasted(seconds((Date.parse(i.to) - Date.parse(i.from)) / 1000))}
                </Text>
                <Labels of={i.labels} />
              </Group>
            ))}
            {data.fired > 10 && (
              <Text size="sm" c="dimmed">
                {t.moreLeft(data.fired - 10)}
              </Text>
            )}
          </div>
        )}
      </Stack>
    </Card>
  );
}
