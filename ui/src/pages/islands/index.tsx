import {
  Anchor,
  Button,
  Card,
  Code,
  Grid,
  Group,
  Progress,
  Stack,
  Table,
  Text,
  TextInput,
  Title,
  Tooltip,
} from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconSearch, IconUserPlus } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { useNavigate, useParams, useSearchParams } from "react-router";
import { $api, ask } from "@/api/client";
import { useRefreshOn } from "@/api/events";
import { useAccess } from "@/api/session";
import { type Place, type Way, WorldMap } from "@/map/WorldMap";
import { Empty, Failed, Labels, Loading, Mark, PageTitle } from "@/parts/states";
import { useLanguage } from "@/text/text";
import { ago, bytes, count, percent, seconds } from "@/text/time";
import { useVantages } from "../probes/api";
import { Detail } from "./Detail";
import { Invite } from "./Invite";
import { found, type Peer, placeOf, stateOf } from "./peers";
import { useIslandsText } from "./text";

type Network = {
  joined: boolean;
  network?: string;
  island?: string;
  key?: string;
  role?: string;
  primary?: boolean;
  members?: number;
};

/** Islands shows who reaches whom and how, and lets people come in and go. */
export default function Islands() {
  const t = useIslandsText();
  const { "*": name } = useParams();
  const navigate = useNavigate();
  const [params, setParams] = useSearchParams();
  const { may } = useAccess();
  const network = useQuery({
    queryKey: ["mesh", "network"],
    queryFn: () => ask("/api/atoll/v1/mesh/network"),
  });
  const peers = useQuery({
    queryKey: ["mesh", "peers"],
    queryFn: async () => (await ask("/api/atoll/v1/mesh/peers")) ?? [],
    refetchInterval: 10_000,
    enabled: network.data?.joined === true,
  });
  useRefreshOn(["peers"], ["mesh"]);
  const [inviting, invite] = useDisclosure(false);
  if (network.error) return <Failed error={network.error} retry={() => void network.refetch()} />;
  if (!network.data) return <Loading />;
  if (!network.data.joined) return <Alone />;
  if (peers.error) return <Failed error={peers.error} retry={() => void peers.refetch()} />;
  if (!peers.data) return <Loading />;
  const search = params.get("q") ?? "";
  const chosen = peers.data.find((p) => p.name === name);
  const select = (island: string) =>
    void navigate({
      pathname: island === "" ? "/islands" : `/islands/${encodeURIComponent(island)}`,
      search: params.toString(),
    });
  const find = (q: string) => setParams(q === "" ? {} : { q }, { replace: true });
  const connected = peers.data.filter((p) => p.state === "connected").length + 1;
  return (
    <Stack gap="md">
      <PageTitle
        note={t.note(network.data.network ?? "", connected, peers.data.length + 1)}
        actions={
          <Tooltip label={t.signIn} disabled={may("administer")}>
            <Button
              leftSection={<IconUserPlus size={16} />}
              onClick={invite.open}
              disabled={!may("administer")}
            >
              {t.invite}
            </Button>
          </Tooltip>
        }
      >
        {t.title}
      </PageTitle>
      <IslandMap network={network.data} peers={peers.data} selected={chosen?.name} onSelect={select} />
      <TextInput
        type="search"
        aria-label={t.search}
        placeholder={t.search}
        leftSection={<IconSearch size={16} />}
        value={search}
        onChange={(e) => find(e.currentTarget.value)}
      />
      <PeerTable peers={found(peers.data, search)} onSelect={select} />
      <ThisIsland />
      <Detail peer={chosen} onClose={() => select("")} />
      <Invite opened={inviting} onClose={invite.close} />
    </Stack>
  );
}

function Alone() {
  const t = useIslandsText();
  return (
    <Stack>
      <PageTitle>{t.title}</PageTitle>
      <Empty title={t.alone}>
        <Stack gap="xs" align="center">
          <span>{t.aloneHint}</span>
          <Code>atoll init NAME</Code>
          <span>{t.joinHint}</span>
          <Code>atoll join TOKEN</Code>
        </Stack>
      </Empty>
      <ThisIsland />
    </Stack>
  );
}

type MapProps = {
  network: Network;
  peers: readonly Peer[];
  selected: string | undefined;
  onSelect: (name: string) => void;
};

function IslandMap({ network, peers, selected, onSelect }: MapProps) {
  const t = useIslandsText();
  const status = $api.useQuery("get", "/api/atoll/v1/status");
  const vantages = useVantages();
  const { places, ways } = useMemo(() => {
    const known = new Map((vantages.data ?? []).map((v) => [v.name, v]));
    const where = (name: string, labels: Record<string, string> | undefined) => {
      const v = known.get(name);
      return v?.latitude !== undefined && v.longitude !== undefined
        ? { lat: v.latitude, lon: v.longitude }
        : placeOf(labels);
    };
    const here = network.island ?? "";
    const places: Place[] = [];
    const ways: Way[] = [];
    const own = where(here, (status.data as { labels?: Record<string, string> } | undefined)?.labels);
    if (own) places.push({ id: here, name: here, note: t.here, state: "info", radius: 9, ...own });
    for (const p of peers) {
      const place = where(p.name, p.labels);
      if (!place) continue;
      const rtt = p.rtt_seconds === undefined ? "" : seconds(p.rtt_seconds);
      places.push({ id: p.name, name: p.name, note: rtt || t.states(p.state), state: stateOf(p), ...place });
      ways.push({
        from: here,
        to: p.name,
        state: stateOf(p),
        dashed: p.path !== "direct",
        note: `${here} – ${p.name} ${rtt}`,
      });
    }
    return { places, ways };
  }, [network.island, peers, vantages.data, status.data, t]);
  if (places.length === 0) {
    return (
      <Text size="sm" c="dimmed">
        {t.noPlaces}
      </Text>
    );
  }
  return (
    <WorldMap
      label={t.map}
      places={places}
      ways={ways}
      selected={selected}
      onSelect={(id) => id !== network.island && onSelect(id)}
    />
  );
}

function PeerTable({ peers, onSelect }: { peers: readonly Peer[]; onSelect: (name: string) => void }) {
  const t = useIslandsText();
  const { language } = useLanguage();
  if (peers.length === 0) return <Empty title={t.nothing} />;
  return (
    <Card p={0}>
      <Table.ScrollContainer minWidth={680} type="native" tabIndex={0}>
        <Table>
          <Table.Thead>
            <Table.Tr>
              <Table.Th>{t.name}</Table.Th>
              <Table.Th>{t.state}</Table.Th>
              <Table.Th>{t.path}</Table.Th>
              <Table.Th ta="right">{t.rtt}</Table.Th>
              <Table.Th ta="right">{t.loss}</Table.Th>
              <Table.Th ta="right">{t.bytes}</Table.Th>
              <Table.Th>{t.since}</Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {peers.map((p) => (
              <Table.Tr key={p.key}>
                <Table.Td>
                  <Anchor component="button" fw={600} onClick={() => onSelect(p.name)}>
                    {p.name}
                  </Anchor>
                  <Text size="xs" c="dimmed">
                    {[p.role, p.primary ? t.primary : "", p.region].filter(Boolean).join(" · ")}
                  </Text>
                </Table.Td>
                <Table.Td>
                  <Mark state={stateOf(p)}>{t.states(p.state)}</Mark>
                </Table.Td>
                <Table.Td>
                  <Text size="sm">
                    {p.path === "relayed"
                      ? t.relayed(p.via ?? t.unknownRelay)
                      : p.path === "direct"
                        ? t.direct
                        : "–"}
                  </Text>
                  <Text size="xs" c="dimmed">
                    {p.why_not_direct ?? [p.transport, p.congestion_control].filter(Boolean).join(" · ")}
                  </Text>
                </Table.Td>
                <Table.Td ta="right">{p.rtt_seconds === undefined ? "–" : seconds(p.rtt_seconds)}</Table.Td>
                <Table.Td ta="right">{percent(p.loss)}</Table.Td>
                <Table.Td ta="right">
                  {bytes(p.bytes_in)} / {bytes(p.bytes_out)}
                </Table.Td>
                <Table.Td>{p.since === undefined ? "–" : ago(Date.parse(p.since), language)}</Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </Table.ScrollContainer>
    </Card>
  );
}

type Budget = { name: string; unit: string; used: number; limit: number };
/** ThisIsland shows its budgets and what is wrong with it, each with what to do. */
function ThisIsland() {
  const t = useIslandsText();
  const status = useQuery({
    queryKey: ["status"],
    queryFn: () => ask("/api/atoll/v1/status"),
    refetchInterval: 15_000,
  });
  const health = useQuery({
    queryKey: ["health"],
    queryFn: () => ask("/api/atoll/v1/health"),
    refetchInterval: 15_000,
  });
  useRefreshOn(["health"], ["health"]);
  return (
    <Grid>
      <Grid.Col span={{ base: 12, md: 6 }}>
        <Card h="100%">
          <Title order={2} mb="sm">
            {t.budgets}
          </Title>
          <Stack gap="sm">
            {(status.data?.budgets ?? []).map((b) => (
              <BudgetBar key={b.name} budget={b} />
            ))}
            <Labels of={status.data?.labels} />
          </Stack>
        </Card>
      </Grid.Col>
      <Grid.Col span={{ base: 12, md: 6 }}>
        <Card h="100%">
          <Title order={2} mb="sm">
            {t.health}
          </Title>
          {health.error && <Failed error={health.error} />}
          {health.data?.active.length === 0 && <Text size="sm">{t.well}</Text>}
          <Stack gap="md">
            {health.data?.active.map((w) => (
              <div key={w.code + w.text}>
                <Group gap="xs">
                  <Mark
                    state={w.severity === "critical" ? "bad" : w.severity === "warning" ? "warn" : "info"}
                  >
                    {w.title}
                  </Mark>
                </Group>
                <Text size="sm" mt={4}>
                  {w.text}
                </Text>
                <Text size="sm" c="dimmed">
                  {t.doThis}: {w.remedy}
                </Text>
              </div>
            ))}
          </Stack>
        </Card>
      </Grid.Col>
    </Grid>
  );
}

function BudgetBar({ budget: b }: { budget: Budget }) {
  const t = useIslandsText();
  const write = (v: number) => (b.unit === "bytes" ? bytes(v) : `${count(v)} ${b.unit}`);
  const part = b.limit > 0 ? (b.used / b.limit) * 100 : 0;
  return (
    <div>
      <Group justify="space-between">
        <Text size="sm" fw={600}>
          {b.name}
        </Text>
        <Text size="sm" c="dimmed">
          {b.limit > 0 ? t.of(write(b.used), write(b.limit)) : `${write(b.used)}, ${t.noLimit}`}
        </Text>
      </Group>
      {b.limit > 0 && (
        <Progress
          value={part}
          color={part > 90 ? "red" : part > 75 ? "yellow" : "lagoon"}
          aria-label={b.name}
          mt={4}
        />
      )}
    </div>
  );
}
