import { Anchor, Card, Group, Stack, Table, Text, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link, useParams, useSearchParams } from "react-router";
import { useRefreshOn } from "@/api/events";
import { type Series, TimeChart } from "@/chart/TimeChart";
import { Empty, Failed, Labels, Loading, Mark, PageTitle } from "@/parts/states";
import { useLanguage } from "@/text/text";
import { ago, clock, seconds } from "@/text/time";
import { data, useMatrix, useVantages } from "./api";
import { type Cell, pageOf, type Row, stateOf } from "./model";
import { VantageMap } from "./Overview";
import { useProbesText } from "./text";
import { PhaseKey, Waterfall } from "./Waterfall";

/** Target is one target: the verdict, the map, the phases from each vantage, and the last hours. */
export function Target() {
  const t = useProbesText();
  const { definition = "" } = useParams();
  const [params] = useSearchParams();
  const instance = params.get("target");
  const matrix = useMatrix({ definition, ...(instance === null ? {} : { instance }) });
  const vantages = useVantages();
  useRefreshOn(["probes"], ["probes"]);
  if (matrix.error) return <Failed error={matrix.error} retry={() => void matrix.refetch()} />;
  if (!matrix.data) return <Loading />;
  const rows = matrix.data.targets;
  if (rows.length === 0) return <Empty title={t.none} />;
  if (rows.length > 1) return <Choice definition={definition} rows={rows} />;
  const row = rows[0] as Row;
  return (
    <Stack gap="md">
      <Anchor component={Link} to="/probes" size="sm" py={10} my={-10}>
        ← {t.back}
      </Anchor>
      <PageTitle note={[row.definition, row.address].filter(Boolean).join(" · ")}>{row.target}</PageTitle>
      <Verdict row={row} />
      <VantageMap vantages={vantages.data ?? []} cells={row.cells} />
      <Falls cells={row.cells} />
      <Durations row={row} />
    </Stack>
  );
}

function Choice({ definition, rows }: { definition: string; rows: readonly Row[] }) {
  const t = useProbesText();
  return (
    <Stack>
      <PageTitle>{definition}</PageTitle>
      {rows.map((r) => (
        <Card key={r.target} p="sm">
          <Group>
            <Mark state={stateOf(r.state)}>{t.states[r.state] ?? r.state}</Mark>
            <Anchor component={Link} to={pageOf(r)}>
              {r.target}
            </Anchor>
          </Group>
        </Card>
      ))}
    </Stack>
  );
}

function Verdict({ row }: { row: Row }) {
  const t = useProbesText();
  const { language } = useLanguage();
  return (
    <Card>
      <Group gap="sm" align="flex-start">
        <Mark state={stateOf(row.state)}>{t.states[row.state] ?? row.state}</Mark>
        {row.page && <Mark state="bad">{t.pages}</Mark>}
        <Text flex={1} miw={240} fw={500} data-testid="verdict">
          {row.words}
        </Text>
        {row.since && (
          <Text size="sm" c="dimmed" title={clock(Date.parse(row.since), language)}>
            {t.since} {ago(Date.parse(row.since), language)}
          </Text>
        )}
      </Group>
      <Labels of={row.labels} />
    </Card>
  );
}

function Falls({ cells }: { cells: readonly Cell[] }) {
  const t = useProbesText();
  const scale = Math.max(...cells.map((c) => c.tookSeconds), 0);
  return (
    <Card>
      <Group justify="space-between" mb="sm">
        <Title order={2}>{t.waterfall}</Title>
        <PhaseKey />
      </Group>
      <Stack gap="sm">
        {cells.map((c) => (
          <div key={c.vantage}>
            <Group gap="sm" mb={4}>
              <Text size="sm" fw={600} miw={110}>
                {c.vantage}
              </Text>
              <Mark state={stateOf(c.counted)}>{t.counted[c.counted] ?? c.counted}</Mark>
              <Text size="sm">{seconds(c.tookSeconds)}</Text>
              {c.bad > 0 && (
                <Text size="sm" c="dimmed">
                  {t.lastProbes(c.bad, c.of)}
                </Text>
              )}
              {c.evidence && (
                <Anchor component={Link} to={`/probes/evidence/${encodeURIComponent(c.evidence)}`} size="sm">
                  {t.openEvidence}
                </Anchor>
              )}
            </Group>
            <Waterfall of={c.phases} took={c.tookSeconds} scale={scale} />
            {c.words && (
              <Text size="sm" mt={2}>
                {c.words}
              </Text>
            )}
          </div>
        ))}
      </Stack>
    </Card>
  );
}

const span = 3 * 3_600_000;

type Sampled = { metric: Record<string, string>; values: [number, string][] };

/** Durations shows how long probes took from each vantage. */
function Durations({ row }: { row: Row }) {
  const t = useProbesText();
  const query = useQuery({
    queryKey: ["probes", "durations", row.definition, row.target],
    queryFn: async ({ signal }) => {
      const to = Date.now();
      const match = `{instance=${JSON.stringify(row.target)}, job=${JSON.stringify(row.definition)}}`;
      const asked = new URLSearchParams({
        query: `max by (vantage) (max_over_time(probe_duration_seconds${match}[1m]))`,
        start: String((to - span) / 1000),
        end: String(to / 1000),
        step: "60",
        scope: "all",
      });
      const got = await data<{ result: Sampled[] }>(`/api/v1/query_range?${asked}`, signal);
      const series: Series[] = got.result.map((s) => ({
        name: s.metric.vantage ?? "",
        points: s.values.map(([at, v]) => [at * 1000, Number(v)] as const),
      }));
      return { series, to };
    },
    refetchInterval: 30_000,
  });
  return (
    <Card>
      <Title order={2} mb="sm">
        {t.latency}
      </Title>
      {query.error && <Failed error={query.error} />}
      {query.isPending && <Loading height={220} />}
      {query.data && (
        <TimeChart
          label={t.latency}
          series={query.data.series}
          from={query.data.to - span}
          to={query.data.to}
          unit="seconds"
          height={220}
        />
      )}
    </Card>
  );
}

/** HopTable shows the way to a target; round trips in seconds. */
export function HopTable({
  hops,
}: {
  hops: readonly {
    ttl: number;
    addresses?: string[];
    sent: number;
    lost: number;
    rtts: number[];
    unreachable?: string;
  }[];
}) {
  const t = useProbesText();
  return (
    <Table.ScrollContainer minWidth={420} type="native" tabIndex={0}>
      <Table fz="sm">
        <Table.Thead>
          <Table.Tr>
            <Table.Th>{t.hop}</Table.Th>
            <Table.Th>{t.address}</Table.Th>
            <Table.Th ta="right">{t.loss}</Table.Th>
            <Table.Th ta="right">{t.best}</Table.Th>
            <Table.Th ta="right">{t.worst}</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {hops.map((h) => (
            <Table.Tr key={h.ttl}>
              <Table.Td>{h.ttl}</Table.Td>
              <Table.Td>
                {[(h.addresses ?? []).join(", ") || "*", h.unreachable].filter(Boolean).join(" · ")}
              </Table.Td>
              <Table.Td ta="right">
                {h.sent === 0 ? "–" : `${Math.round((h.lost / h.sent) * 100)} %`}
              </Table.Td>
              <Table.Td ta="right">{h.rtts.length === 0 ? "–" : seconds(Math.min(...h.rtts))}</Table.Td>
              <Table.Td ta="right">{h.rtts.length === 0 ? "–" : seconds(Math.max(...h.rtts))}</Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Table.ScrollContainer>
  );
}
