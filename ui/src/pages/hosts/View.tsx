import { Anchor, Button, Group, Stack, Text, Title } from "@mantine/core";
import { IconBell } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { Link, useParams, useSearchParams } from "react-router";
import { Empty, Failed, Loading, PageTitle } from "@/parts/states";
import type { Line } from "@/prom/answer";
import { askInstant, askLabelValues } from "@/prom/ask";
import { Graph, type GraphSpec, present } from "@/prom/Graph";
import { RangePicker } from "@/range/RangePicker";
import { rateWindow } from "@/range/range";
import { useRange } from "@/range/useRange";
import { bytes, seconds } from "@/text/time";
import { type ChartID, hostCharts, hostMatchers, type Section, sections } from "./charts";
import classes from "./hosts.module.css";
import { useHostText } from "./text";

/** View is one host: every chart for which there is data, without being configured. */
export function View() {
  const t = useHostText();
  const { name: instance = "" } = useParams();
  const [params] = useSearchParams();
  const timeline = useRange("1h", "15s");
  const island = params.get("island");
  // A link from elsewhere need not say on which island the host is.
  const scope = "all";
  const m = hostMatchers(instance, island);
  const since = Math.floor(timeline.span.from / 600_000) * 600_000;
  const names = useQuery({
    queryKey: ["host", "names", m, scope, since],
    queryFn: async ({ signal }) =>
      new Set(
        await askLabelValues("__name__", scope, [`{${m},__name__=~"node_.*|container_.*"}`], since, signal),
      ),
    placeholderData: (before) => before,
    staleTime: 60_000,
    // An island that has just begun soon has more of them.
    refetchInterval: (q) => ((q.state.data?.size ?? 0) > 0 ? 60_000 : 3_000),
  });
  const { step } = timeline.span;
  const charts = useMemo(() => hostCharts(m, rateWindow(step)), [m, step]);
  const shown = present(charts, names.data ?? new Set<string>());
  const titles: Record<ChartID, string> = {
    cpu: t.chartCpu,
    load: t.chartLoad,
    pressure: t.chartPressure,
    memory: t.chartMemory,
    swap: t.chartSwap,
    paging: t.chartPaging,
    space: t.chartSpace,
    inodes: t.chartInodes,
    throughput: t.chartThroughput,
    busy: t.chartBusy,
    latency: t.chartLatency,
    traffic: t.chartTraffic,
    faults: t.chartFaults,
    tcp: t.chartTcp,
    retransmits: t.chartRetransmits,
    processes: t.chartProcesses,
    forks: t.chartForks,
    files: t.chartFiles,
    containerCPU: t.chartContainerCPU,
    containerMemory: t.chartContainerMemory,
    containerPressure: t.chartContainerPressure,
  };
  const heads: Record<Section, string> = {
    cpu: t.sectionCpu,
    memory: t.sectionMemory,
    disk: t.sectionDisk,
    network: t.sectionNetwork,
    process: t.sectionProcess,
    container: t.sectionContainer,
  };
  return (
    <Stack gap="md">
      <Anchor component={Link} to="/hosts" size="sm" py={10} my={-10}>
        ← {t.all}
      </Anchor>
      <PageTitle
        note={<Facts m={m} scope={scope} island={island} />}
        actions={
          <>
            <Button
              variant="default"
              component={Link}
              to={`/alerts?q=${encodeURIComponent(instance)}`}
              leftSection={<IconBell size={16} />}
            >
              {t.alerts}
            </Button>
            <RangePicker timeline={timeline} />
          </>
        }
      >
        {instance}
      </PageTitle>
      {names.error && <Failed error={names.error} retry={() => void names.refetch()} />}
      {names.isPending && <Loading height={400} />}
      {names.data && shown.length === 0 && <Empty title={t.noneTitle}>{t.noneText}</Empty>}
      {sections.map((section) => {
        const own = shown.filter((c) => c.section === section);
        return own.length === 0 ? null : (
          <Stack key={section} gap="xs" component="section" aria-label={heads[section]}>
            <Title order={2}>{heads[section]}</Title>
            <div className={classes.grid}>
              {own.map((c) => (
                <Graph
                  key={c.id}
                  spec={specOf(c, titles[c.id])}
                  scope={scope}
                  timeline={timeline}
                  group={`host ${instance}`}
                />
              ))}
            </div>
          </Stack>
        );
      })}
    </Stack>
  );
}

const specs = new WeakMap<object, GraphSpec>();

/** specOf keeps a chart the same object while it is the same chart, which spares drawing it again. */
function specOf(chart: ReturnType<typeof hostCharts>[number], title: string): GraphSpec {
  const held = specs.get(chart);
  if (held?.title === title) return held;
  const spec = { ...chart, title };
  specs.set(chart, spec);
  return spec;
}

/** useOne is what is known of the host by one question. */
function useOne(scope: "all" | "local", expr: string): Line | undefined {
  return useQuery({
    queryKey: ["host", "fact", scope, expr],
    queryFn: ({ signal }) => askInstant(expr, Date.now(), scope, signal),
    staleTime: 60_000,
  }).data?.lines[0];
}

function Facts({ m, scope, island }: { m: string; scope: "all" | "local"; island: string | null }) {
  const t = useHostText();
  const uname = useOne(scope, `last_over_time(node_uname_info{${m}}[1h])`)?.labels;
  const cores = useOne(scope, `count(node_cpu_seconds_total{${m},mode="idle"})`)?.points[0]?.[1];
  const memory = useOne(scope, `max(node_memory_MemTotal_bytes{${m}})`)?.points[0]?.[1];
  const boot = useOne(scope, `max(node_boot_time_seconds{${m}})`)?.points[0]?.[1];
  const words = [
    island ?? "",
    uname?.nodename ?? "",
    uname ? `${uname.sysname ?? ""} ${uname.release ?? ""} ${uname.machine ?? ""}`.trim() : "",
    cores ? t.cores(cores) : "",
    memory ? bytes(memory) : "",
    boot ? t.up(seconds(Date.now() / 1000 - boot)) : "",
  ].filter((w) => w !== "");
  return (
    <Group gap="xs" mih={20}>
      <Text size="sm">{words.join(" · ")}</Text>
    </Group>
  );
}
