import { Anchor, Card, Group, SegmentedControl, Stack, Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { Link, useParams, useSearchParams } from "react-router";
import { Empty, Failed, Loading, Mark, PageTitle } from "@/parts/states";
import { askInstant } from "@/prom/ask";
import { Graph, type GraphSpec } from "@/prom/Graph";
import { labelName, literal, quoted } from "@/prom/names";
import { ScopePicker } from "@/prom/ScopePicker";
import { type Scope, writeScope } from "@/prom/scope";
import { useScope } from "@/prom/useScope";
import { RangePicker } from "@/range/RangePicker";
import { rateWindow } from "@/range/range";
import { useRange } from "@/range/useRange";
import { red, type Source } from "./discover";
import classes from "./services.module.css";
import { useServiceText } from "./text";
import { useSources } from "./use";

/** View is one service: rate, errors and durations, its targets and its alerts. */
export function View() {
  const t = useServiceText();
  const { name = "" } = useParams();
  const [params, setParams] = useSearchParams();
  const { scope, ready, setScope } = useScope();
  const timeline = useRange("1h", "15s");
  const { sources, error, pending, retry } = useSources(scope, ready);
  const source = sources.find((s) => s.id === params.get("source")) ?? sources[0];
  const splits = [...(source?.split ?? []), ...(scope === "local" ? [] : ["island"]), "instance"];
  const by = splits.includes(params.get("by") ?? "") ? (params.get("by") as string) : splits[0];
  const { step } = timeline.span;
  const graphs = useMemo(
    () => (source === undefined ? [] : graphsOf(source, name, rateWindow(step), by, t)),
    [source, name, step, by, t],
  );
  return (
    <Stack gap="md">
      <Anchor component={Link} to="/services" size="sm" py={10} my={-10}>
        ← {t.all}
      </Anchor>
      <PageTitle
        note={source && t.from(source.requests)}
        actions={
          <>
            <ScopePicker scope={scope} onChange={setScope} />
            <RangePicker timeline={timeline} />
          </>
        }
      >
        {name}
      </PageTitle>
      {error && <Failed error={error} retry={retry} />}
      {pending && <Loading height={400} />}
      {!pending && source === undefined && <Empty title={t.gone}>{t.goneText}</Empty>}
      {source !== undefined && (
        <>
          <div className={classes.grid}>
            {graphs.slice(0, 3).map((g) => (
              <Graph key={g.id} spec={g} scope={scope} timeline={timeline} group={`service ${name}`} />
            ))}
          </div>
          <Group gap="sm">
            <Text size="sm" fw={500}>
              {t.split}
            </Text>
            <SegmentedControl
              aria-label={t.split}
              value={by ?? ""}
              data={splits}
              onChange={(v) =>
                setParams(
                  (p) => {
                    const next = new URLSearchParams(p);
                    next.set("by", v);
                    return next;
                  },
                  { replace: true },
                )
              }
            />
          </Group>
          <div className={classes.grid}>
            {graphs.slice(3).map((g) => (
              <Graph key={g.id} spec={g} scope={scope} timeline={timeline} group={`service ${name}`} />
            ))}
          </div>
          <div className={classes.grid}>
            <Targets source={source} name={name} scope={scope} />
            <Alerts source={source} name={name} scope={scope} />
          </div>
        </>
      )}
    </Stack>
  );
}

function graphsOf(
  source: Source,
  name: string,
  window: string,
  by: string | undefined,
  t: ReturnType<typeof useServiceText>,
): GraphSpec[] {
  const all = red(source, window, [], name);
  const parts = by === undefined ? undefined : red(source, window, [by], name);
  const legend = `{{${by}}}`;
  const graph = (
    id: string,
    title: string,
    unit: GraphSpec["unit"],
    queries: GraphSpec["queries"],
  ): GraphSpec[] => (queries.length === 0 ? [] : [{ id, title, unit, queries, needs: [] }]);
  const quantiles = [0.5, 0.95, 0.99];
  // Where there is no such thing the place stays empty, so that the first three are always the service's own.
  const own = [
    ...graph("rate", t.chartRate, "perSecond", [{ expr: all.rate, legend: t.chartRate }]),
    ...graph("errors", t.chartErrors, "ratio", [{ expr: all.errors ?? "vector(0) < 0", legend: t.errors }]),
    ...graph(
      "latency",
      t.chartLatency,
      "seconds",
      quantiles.map((q) => ({ expr: all.latency?.(q) ?? "vector(0) < 0", legend: `${q * 100} %` })),
    ),
  ];
  if (parts === undefined || by === undefined) return own;
  return [
    ...own,
    ...graph("rateBy", t.chartBy(by), "perSecond", [{ expr: `topk(10, ${parts.rate})`, legend }]),
    ...(parts.errors
      ? graph("errorsBy", t.chartErrorsBy(by), "ratio", [{ expr: `topk(10, ${parts.errors} > 0)`, legend }])
      : []),
    ...(parts.latency
      ? graph("latencyBy", t.chartLatencyBy(by), "seconds", [
          { expr: `topk(10, ${parts.latency(0.95)})`, legend },
        ])
      : []),
  ];
}

const most = 50;

function useNow(key: string, expr: string, scope: Scope, enabled = true) {
  return useQuery({
    queryKey: ["service", key, expr, writeScope(scope)],
    queryFn: ({ signal }) => askInstant(expr, Date.now(), scope, signal),
    refetchInterval: 15_000,
    enabled,
  });
}

function Targets({ source, name, scope }: { source: Source; name: string; scope: Scope }) {
  const t = useServiceText();
  const own = `${labelName(source.service)}=${quoted(name)}`;
  const { data, error } = useNow(
    "targets",
    `group by (job, instance, island) (last_over_time(${source.requests}{${own}}[15m]))`,
    scope,
  );
  const jobs = [...new Set(data?.lines.map((l) => l.labels.job ?? "") ?? [])];
  const ups = useNow("up", `up{job=~${quoted(jobs.map(literal).join("|"))}}`, scope, jobs.length > 0);
  const key = (l: { labels: Record<string, string> }) =>
    `${l.labels.island ?? ""} ${l.labels.job ?? ""} ${l.labels.instance ?? ""}`;
  const values = new Map(ups.data?.lines.map((l) => [key(l), l.points.at(-1)?.[1]]));
  return (
    <Card padding="sm" component="section" aria-label={t.targets}>
      <Text fw={600} size="sm" mb={4}>
        {t.targets}
      </Text>
      {error && <Failed error={error} />}
      {data && data.lines.length === 0 ? (
        <Text size="sm" c="dimmed">
          {t.noTargets}
        </Text>
      ) : (
        <Table fz="sm" verticalSpacing={4}>
          <Table.Thead>
            <Table.Tr>
              <Table.Th>{t.target}</Table.Th>
              <Table.Th>{t.job}</Table.Th>
              <Table.Th>{t.island}</Table.Th>
              <Table.Th>{t.state}</Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {data?.lines.slice(0, most).map((l) => {
              const up = values.get(key(l));
              return (
                <Table.Tr key={key(l)}>
                  <Table.Td>{l.labels.instance}</Table.Td>
                  <Table.Td>{l.labels.job}</Table.Td>
                  <Table.Td>{l.labels.island ?? "–"}</Table.Td>
                  <Table.Td>
                    {up === undefined ? (
                      "–"
                    ) : (
                      <Mark state={up === 1 ? "good" : "bad"}>{up === 1 ? t.up : t.down}</Mark>
                    )}
                  </Table.Td>
                </Table.Tr>
              );
            })}
          </Table.Tbody>
        </Table>
      )}
    </Card>
  );
}

function Alerts({ source, name, scope }: { source: Source; name: string; scope: Scope }) {
  const t = useServiceText();
  // An alert is the service's by the label that names it, or by the job of that name.
  const { data, error } = useNow(
    "alerts",
    `ALERTS{${labelName(source.service)}=${quoted(name)}} or ALERTS{job=${quoted(name)}} or ALERTS{service=${quoted(name)}}`,
    scope,
  );
  return (
    <Card padding="sm" component="section" aria-label={t.alerts}>
      <Group justify="space-between" mb={4}>
        <Text fw={600} size="sm">
          {t.alerts}
        </Text>
        <Anchor component={Link} to={`/alerts?q=${encodeURIComponent(name)}`} size="xs">
          {t.toAlerts}
        </Anchor>
      </Group>
      {error && <Failed error={error} />}
      {data?.lines.length === 0 && (
        <Text size="sm" c="dimmed">
          {t.noAlerts}
        </Text>
      )}
      <Stack gap="xs">
        {data?.lines.slice(0, most).map((l) => (
          <Group key={JSON.stringify(l.labels)} gap="xs">
            <Mark state={l.labels.alertstate === "firing" ? "bad" : "warn"}>
              {l.labels.alertstate === "firing" ? t.firing : t.pending}
            </Mark>
            <Text size="sm">{l.labels.alertname}</Text>
            <Text size="xs" c="dimmed">
              {[l.labels.island, l.labels.instance].filter(Boolean).join(" · ")}
            </Text>
          </Group>
        ))}
      </Stack>
    </Card>
  );
}
