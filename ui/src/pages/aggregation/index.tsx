import { Card, Code, Group, Stack, Table, Text, TextInput, Title } from "@mantine/core";
import { IconSearch } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useSearchParams } from "react-router";
import { $api } from "@/api/client";
import { type Series, TimeChart } from "@/chart/TimeChart";
import type { Unit } from "@/chart/units";
import { Empty, Failed, Labels, Loading, Mark, PageTitle } from "@/parts/states";
import { count, seconds } from "@/text/time";
import { data } from "../probes/api";
import { found, lateTotal, type Rule, saving, stateOf } from "./model";
import { useAggregationText } from "./text";

/** Aggregation shows what each rule takes, makes and saves, and whether it keeps up. */
export default function Aggregation() {
  const t = useAggregationText();
  const [params, setParams] = useSearchParams();
  const rules = $api.useQuery("get", "/api/atoll/v1/aggregate/rules", {}, { refetchInterval: 10_000 });
  if (rules.error) return <Failed error={rules.error} retry={() => void rules.refetch()} />;
  if (!rules.data) return <Loading />;
  const all = rules.data.items;
  const q = params.get("q") ?? "";
  if (all.length === 0) {
    return (
      <>
        <PageTitle>{t.title}</PageTitle>
        <Empty title={t.none}>
          <Stack gap="xs" align="center">
            <span>{t.noneHint}</span>
            <Code block>{"aggregate:\n  rules: stream-aggregation.yml"}</Code>
          </Stack>
        </Empty>
      </>
    );
  }
  const sum = (f: (r: Rule) => number) => all.reduce((n, r) => n + f(r), 0);
  return (
    <Stack gap="md">
      <PageTitle note={t.note(all.length, count(sum((r) => r.series)), count(sum((r) => r.made_series)))}>
        {t.title}
      </PageTitle>
      <TextInput
        type="search"
        aria-label={t.search}
        placeholder={t.search}
        leftSection={<IconSearch size={16} />}
        value={q}
        onChange={(e) =>
          setParams(e.currentTarget.value === "" ? {} : { q: e.currentTarget.value }, { replace: true })
        }
      />
      <Rules rules={found(all, q)} />
      <Over
        title={t.samples}
        query="sum(rate(atoll_aggregate_samples_total[2m]))"
        unit="perSecond"
        name={t.samples}
      />
      <Over
        title={t.lagChart}
        query="max by (rule) (atoll_aggregate_late_seconds)"
        unit="seconds"
        name="rule"
      />
      <Offenders />
    </Stack>
  );
}

function Rules({ rules }: { rules: readonly Rule[] }) {
  const t = useAggregationText();
  if (rules.length === 0) return <Empty title={t.nothing} />;
  return (
    <Card p={0}>
      <Table.ScrollContainer minWidth={720} type="native" tabIndex={0}>
        <Table>
          <Table.Thead>
            <Table.Tr>
              <Table.Th>{t.rule}</Table.Th>
              <Table.Th>{t.state}</Table.Th>
              <Table.Th ta="right">{t.series}</Table.Th>
              <Table.Th ta="right">{t.made}</Table.Th>
              <Table.Th>{t.saving}</Table.Th>
              <Table.Th ta="right">{t.lag}</Table.Th>
              <Table.Th ta="right">{t.late}</Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {rules.map((r) => (
              <Line key={r.rule} rule={r} />
            ))}
          </Table.Tbody>
        </Table>
      </Table.ScrollContainer>
    </Card>
  );
}

function Line({ rule: r }: { rule: Rule }) {
  const t = useAggregationText();
  const state = stateOf(r, Date.now());
  const saved = saving(r);
  const grouping = r.by ? `by (${r.by.join(", ")})` : r.without ? `without (${r.without.join(", ")})` : "";
  const late = Object.entries(r.late_groups).filter(([, n]) => n > 0);
  return (
    <Table.Tr>
      <Table.Td maw={420}>
        <Text fw={600}>{r.rule}</Text>
        <Code>
          {r.outputs.join(", ")} {grouping} {seconds(r.interval_seconds)}
        </Code>
        <Text size="xs" c="dimmed">
          {r.match}
        </Text>
        <Text size="xs" c="dimmed">
          {[r.keep_input ? t.keeps : t.drops, r.distribute ? t.together : ""].filter(Boolean).join(" · ")}
        </Text>
        {r.overflow_series > 0 && <Text size="sm">{t.overflow(r.overflow_series)}</Text>}
      </Table.Td>
      <Table.Td>
        <Mark state={state}>{t.states[state]}</Mark>
      </Table.Td>
      <Table.Td ta="right">{count(r.series)}</Table.Td>
      <Table.Td ta="right">{count(r.made_series)}</Table.Td>
      <Table.Td>{saved === undefined ? "–" : t.times(count(Math.round(saved * 10) / 10))}</Table.Td>
      <Table.Td ta="right">{r.sealed === undefined ? "–" : seconds(r.lag_seconds)}</Table.Td>
      <Table.Td ta="right" title={late.map(([what, n]) => `${t.outcomes[what] ?? what}: ${n}`).join(", ")}>
        {count(lateTotal(r))}
      </Table.Td>
    </Table.Tr>
  );
}

const span = 3_600_000;
type Sampled = { metric: Record<string, string>; values: [number, string][] };

/** Over charts a figure of the island's own over the last hour; name is a label or what the only line is called. */
function Over({ title, query, unit, name }: { title: string; query: string; unit: Unit; name: string }) {
  const asked = useQuery({
    queryKey: ["aggregation", query],
    queryFn: async ({ signal }) => {
      const to = Date.now();
      const range = new URLSearchParams({
        query,
        start: String((to - span) / 1000),
        end: String(to / 1000),
        step: "15",
      });
      const got = await data<{ result: Sampled[] }>(`/api/v1/query_range?${range}`, signal);
      const series: Series[] = got.result.map((s) => ({
        name: s.metric[name] ?? name,
        points: s.values.map(([at, v]) => [at * 1000, Number(v)] as const),
      }));
      return { series, to };
    },
    refetchInterval: 15_000,
  });
  return (
    <Card>
      <Title order={2} mb="sm">
        {title}
      </Title>
      {asked.error && <Failed error={asked.error} />}
      {asked.isPending && <Loading height={180} />}
      {asked.data && (
        <TimeChart
          label={title}
          series={asked.data.series}
          from={asked.data.to - span}
          to={asked.data.to}
          unit={unit}
          height={180}
          group="aggregation"
        />
      )}
    </Card>
  );
}

function Offenders() {
  const t = useAggregationText();
  const top = $api.useQuery(
    "get",
    "/api/atoll/v1/top/series",
    { params: { query: { limit: 10 } } },
    { refetchInterval: 30_000 },
  );
  if (!top.data || top.data.groups.length === 0) return null;
  return (
    <Card>
      <Title order={2} mb="sm">
        {t.offenders}
      </Title>
      <Table fz="sm">
        <Table.Tbody>
          {top.data.groups.map((g) => (
            <Table.Tr key={g.rule + JSON.stringify(g.group)}>
              <Table.Td>{g.rule}</Table.Td>
              <Table.Td>
                <Labels of={g.group} />
              </Table.Td>
              <Table.Td ta="right">{count(g.series)}</Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
      <Group mt="sm" gap="lg">
        {top.data.labels.slice(0, 6).map((l) => (
          <Text key={l.rule + l.label + l.value} size="sm">
            <Code>
              {l.label}={l.value}
            </Code>{" "}
            {count(l.series)}
          </Text>
        ))}
      </Group>
    </Card>
  );
}
