import { Anchor, Card, Code, Grid, Group, SimpleGrid, Stack, Text, Title } from "@mantine/core";
import {
  IconAlertTriangle,
  IconBell,
  IconBellOff,
  IconChartLine,
  IconCircleCheck,
  IconMap2,
  IconRadar2,
  IconServer,
  IconTopologyStar3,
} from "@tabler/icons-react";
import { type ComponentType, type ReactNode, useMemo } from "react";
import { Link } from "react-router";
import { $api } from "@/api/client";
import { Failed, Loading, Mark, type State } from "@/parts/states";
import { useLanguage } from "@/text/text";
import { ago, count } from "@/text/time";
import { stateOf as probeState, type Row } from "../probes/model";
import classes from "./home.module.css";
import {
  alertsState,
  begins,
  type Change,
  changesOf,
  type Need,
  needsOf,
  type Overview,
  overall,
} from "./model";
import { useHomeText } from "./text";
import { useHome } from "./use";

/** Home says whether everything is well, what needs somebody, and what changed lately. */
export default function Home() {
  const t = useHomeText();
  const { overview, verdicts } = useHome();
  const o = overview.data;
  const rows = verdicts.data?.verdicts;
  const needs = useMemo(() => (o ? needsOf(o, rows ?? [], t) : []), [o, rows, t]);
  const changes = useMemo(() => (o ? changesOf(o, t) : []), [o, t]);
  if (overview.error && !o) return <Failed error={overview.error} retry={() => void overview.refetch()} />;
  if (!o) return <Loading height={320} />;
  // Other islands may know of more: nothing is called well before they were asked.
  const worst = overall(needs.map((n) => n.state));
  const state = worst === "good" && verdicts.isPending ? "idle" : worst;
  const targets = o.targets.up + o.targets.down + o.targets.unknown;
  return (
    <Stack gap="md">
      <Card className={classes.banner} data-state={state}>
        <Group gap="md" wrap="nowrap">
          {state === "good" ? (
            <IconCircleCheck size={40} stroke={1.5} />
          ) : (
            <IconAlertTriangle size={40} stroke={1.5} />
          )}
          <div>
            <Title order={1}>
              {state === "idle" ? t.asking : state === "good" ? t.well : state === "bad" ? t.trouble : t.look}
            </Title>
            <Text size="sm">{t.sumUp(o.islands.count, targets, rows?.length ?? 0)}</Text>
          </div>
        </Group>
      </Card>
      <Tiles o={o} rows={rows ?? []} asking={verdicts.isPending} />
      <Grid>
        <Grid.Col span={{ base: 12, lg: 7 }}>
          <Card h="100%">
            <Title order={2} mb="sm">
              {t.needs}
            </Title>
            {needs.length === 0 && <Text size="sm">{state === "idle" ? t.asking : t.nothing}</Text>}
            <Stack gap="sm">
              {needs.slice(0, 12).map((n) => (
                <NeedLine key={n.title + n.text} need={n} />
              ))}
            </Stack>
          </Card>
        </Grid.Col>
        <Grid.Col span={{ base: 12, lg: 5 }}>
          <Card h="100%">
            <Title order={2} mb="sm">
              {t.lately}
            </Title>
            <Changes changes={changes} />
          </Card>
        </Grid.Col>
      </Grid>
      {begins(o) ? <FirstSteps /> : <Ways />}
    </Stack>
  );
}

function Tiles({ o, rows, asking }: { o: Overview; rows: readonly Row[]; asking: boolean }) {
  const t = useHomeText();
  const status = $api.useQuery("get", "/api/atoll/v1/status").data;
  const { alerts, targets, islands } = o;
  const notUp = rows.filter((v) => v.state !== "up").length;
  const alone = islands.network === undefined;
  const alertNotes = [
    alerts.silenced > 0 ? t.silenced(alerts.silenced) : "",
    alerts.pending > 0 ? t.pending(alerts.pending) : "",
  ].filter(Boolean);
  return (
    <SimpleGrid cols={{ base: 2, md: 4 }}>
      <Tile
        to="/alerts"
        icon={IconBell}
        name={t.alerts}
        state={alertsState(alerts)}
        value={alerts.firing === 0 ? t.noAlerts : t.firing(alerts.firing)}
        note={alertNotes.join(" · ") || undefined}
      />
      <Tile
        to="/probes"
        icon={IconRadar2}
        name={t.probes}
        state={rows.length === 0 ? "idle" : overall(rows.map((v) => probeState(v.state)))}
        value={
          asking
            ? "…"
            : rows.length === 0
              ? t.noProbes
              : notUp === 0
                ? t.allUp(rows.length)
                : t.notUp(notUp, rows.length)
        }
      />
      <Tile
        to={targets.down > 0 ? "/explore?expr=up%20%3D%3D%200&tab=table" : "/explore?expr=up&tab=table"}
        icon={IconServer}
        name={t.targets}
        state={targets.down > 0 ? "warn" : targets.up > 0 ? "good" : "idle"}
        value={
          targets.up + targets.down + targets.unknown === 0
            ? t.noTargets
            : targets.down > 0
              ? t.down(targets.down)
              : t.up(targets.up)
        }
        note={
          targets.down > 0
            ? t.up(targets.up)
            : t.samples(count(Math.round(status?.samples_per_second ?? 0)), count(status?.head_series ?? 0))
        }
      />
      <Tile
        to="/islands"
        icon={IconTopologyStar3}
        name={t.islands}
        state={
          alone ? "idle" : islands.lost.length > 0 ? "bad" : islands.unreached.length > 0 ? "warn" : "good"
        }
        value={alone ? o.island : t.reached(islands.connected, islands.count)}
        note={islands.network ?? t.aloneHint}
      />
    </SimpleGrid>
  );
}

type TileProps = {
  to: string;
  icon: ComponentType<{ size?: number; stroke?: number }>;
  name: string;
  state: State;
  value: ReactNode;
  note?: string | undefined;
};

function Tile({ to, icon: Icon, name, state, value, note }: TileProps) {
  return (
    <Card component={Link} to={to} className={classes.tile} data-state={state}>
      <Group gap={6} c="dimmed">
        <Icon size={18} stroke={1.6} />
        <Text size="sm">{name}</Text>
      </Group>
      <Text fw={650} fz="lg" className={classes.value}>
        {value}
      </Text>
      {note !== undefined && (
        <Text size="xs" c="dimmed">
          {note}
        </Text>
      )}
    </Card>
  );
}

function NeedLine({ need: n }: { need: Need }) {
  return (
    <div className={classes.need} data-state={n.state}>
      <Anchor component={Link} to={n.to} fw={600} c="inherit">
        {n.title}
      </Anchor>
      <Text size="sm">{n.text}</Text>
      {n.remedy && (
        <Text size="sm" c="dimmed">
          {n.remedy}
        </Text>
      )}
    </div>
  );
}

function Changes({ changes }: { changes: readonly Change[] }) {
  const t = useHomeText();
  const { language } = useLanguage();
  if (changes.length === 0) return <Text size="sm">{t.quiet}</Text>;
  return (
    <Stack gap={6}>
      {changes.slice(0, 14).map((c) => (
        <Group key={c.title + c.at} gap="sm" wrap="nowrap" justify="space-between">
          <Group gap={8} wrap="nowrap">
            <span className={classes.dot} data-state={c.state} />
            <Anchor component={Link} to={c.to} size="sm" c="inherit" className={classes.what}>
              {c.title}
            </Anchor>
          </Group>
          <Text size="xs" c="dimmed" className={classes.when}>
            {c.times > 1 && `${t.times(c.times)} · `}
            {ago(c.at, language)}
          </Text>
        </Group>
      ))}
    </Stack>
  );
}

/** Ways lead to what people come for first. */
function Ways() {
  const t = useHomeText();
  const ways = [
    { to: "/hosts", icon: IconServer, title: t.wayHosts, text: t.wayHostsText },
    { to: "/alerts", icon: IconBellOff, title: t.wayAlerts, text: t.wayAlertsText },
    {
      to: `/explore?${new URLSearchParams({ expr: "sum by (island) (process_resident_memory_bytes)", scope: "all", range: "15m" })}`,
      icon: IconChartLine,
      title: t.wayAsk,
      text: t.wayAskText,
    },
    { to: "/probes", icon: IconMap2, title: t.wayMap, text: t.wayMapText },
  ];
  return (
    <nav aria-label={t.from}>
      <SimpleGrid cols={{ base: 1, xs: 2, lg: 4 }}>
        {ways.map((w) => (
          <Card key={w.to} component={Link} to={w.to} className={classes.tile} p="sm">
            <Group gap="sm" wrap="nowrap">
              <w.icon size={24} stroke={1.6} className={classes.dim} />
              <div>
                <Text size="sm" fw={600}>
                  {w.title}
                </Text>
                <Text size="xs" c="dimmed">
                  {w.text}
                </Text>
              </div>
            </Group>
          </Card>
        ))}
      </SimpleGrid>
    </nav>
  );
}

function FirstSteps() {
  const t = useHomeText();
  const steps = [
    {
      title: t.step1,
      text: t.step1Text,
      more: (
        <Anchor component={Link} to="/hosts">
          /hosts
        </Anchor>
      ),
    },
    {
      title: t.step2,
      text: t.step2Text,
      more: <Code block>atoll run --prometheus-config prometheus.yml</Code>,
    },
    { title: t.step3, text: t.step3Text, more: <Code block>atoll init acme</Code> },
  ];
  return (
    <Card>
      <Title order={2} mb="sm">
        {t.firstSteps}
      </Title>
      <SimpleGrid cols={{ base: 1, md: 3 }}>
        {steps.map((s, i) => (
          <div key={s.title}>
            <Group gap="xs">
              <Mark state="info">{i + 1}</Mark>
              <Text fw={600}>{s.title}</Text>
            </Group>
            <Text size="sm" my={4}>
              {s.text}
            </Text>
            {s.more}
          </div>
        ))}
      </SimpleGrid>
    </Card>
  );
}
