import { Anchor, Card, Code, Grid, Group, SimpleGrid, Stack, Text, Title } from "@mantine/core";
import {
  IconAlertTriangle,
  IconBell,
  IconCircleCheck,
  IconRadar2,
  IconServer,
  IconTopologyStar3,
} from "@tabler/icons-react";
import { type ComponentType, type ReactNode, useMemo } from "react";
import { Link } from "react-router";
import { Loading, Mark, type State } from "@/parts/states";
import { useLanguage } from "@/text/text";
import { ago, count } from "@/text/time";
import { stateOf as peerState } from "../islands/peers";
import { pageOf, stateOf as probeState } from "../probes/model";
import { addressOf } from "../settings/Documents";
import classes from "./home.module.css";
import { type Change, grouped, type Need, overall, severityState } from "./model";
import { useHomeText } from "./text";
import { type Overview, useOverview } from "./use";

/** Home says whether everything is well, what needs somebody, and what changed lately. */
export default function Home() {
  const t = useHomeText();
  const o = useOverview();
  const needs = useNeeds(o);
  const changes = useChanges(o);
  if (o.status.isPending || o.alerts.isPending) return <Loading height={320} />;
  const state = overall(needs.map((n) => n.state));
  const targets = (o.targets.data ?? []).reduce((sum, j) => sum + j.up + j.down, 0);
  const probed = o.probes.data?.verdicts.length ?? 0;
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
            <Title order={1}>{state === "good" ? t.well : state === "bad" ? t.trouble : t.look}</Title>
            <Text size="sm">{t.sumUp(o.status.data?.network?.members ?? 1, targets, probed)}</Text>
          </div>
        </Group>
      </Card>
      <Tiles o={o} />
      <Grid>
        <Grid.Col span={{ base: 12, lg: 7 }}>
          <Card h="100%">
            <Title order={2} mb="sm">
              {t.needs}
            </Title>
            {needs.length === 0 && <Text size="sm">{t.nothing}</Text>}
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
      {targets <= 2 && !o.joined && <FirstSteps />}
    </Stack>
  );
}

function Tiles({ o }: { o: Overview }) {
  const t = useHomeText();
  const groups = grouped((o.alerts.data ?? []).filter((a) => a.status.state === "active"));
  const silenced = (o.alerts.data ?? []).filter((a) => a.status.silencedBy.length > 0).length;
  const jobs = o.targets.data ?? [];
  const down = jobs.reduce((sum, j) => sum + j.down, 0);
  const up = jobs.reduce((sum, j) => sum + j.up, 0);
  const network = o.status.data?.network;
  const verdicts = o.probes.data?.verdicts ?? [];
  const notUp = verdicts.filter((v) => v.state !== "up").length;
  const reached = (o.peers.data ?? []).filter((p) => p.state === "connected").length + 1;
  return (
    <SimpleGrid cols={{ base: 2, md: 4 }}>
      <Tile
        to="/alerts"
        icon={IconBell}
        name={t.alerts}
        state={groups.length === 0 ? "good" : severityState(groups[0]?.severity)}
        value={groups.length === 0 ? t.noAlerts : t.firing(groups.length)}
        note={silenced > 0 ? t.silenced(silenced) : undefined}
      />
      <Tile
        to="/probes"
        icon={IconRadar2}
        name={t.probes}
        state={
          verdicts.length === 0
            ? "idle"
            : verdicts.some((v) => v.state === "down")
              ? "bad"
              : notUp > 0
                ? "warn"
                : "good"
        }
        value={
          verdicts.length === 0
            ? t.noProbes
            : notUp === 0
              ? t.allUp(verdicts.length)
              : t.notUp(notUp, verdicts.length)
        }
      />
      <Tile
        to="/explore?expr=up%20%3D%3D%200"
        icon={IconServer}
        name={t.targets}
        state={down > 0 ? "warn" : up > 0 ? "good" : "idle"}
        value={up + down === 0 ? t.noTargets : down > 0 ? t.down(down) : t.up(up)}
        note={
          down > 0
            ? t.up(up)
            : t.samples(
                count(Math.round(o.status.data?.samples_per_second ?? 0)),
                count(o.status.data?.head_series ?? 0),
              )
        }
      />
      <Tile
        to="/islands"
        icon={IconTopologyStar3}
        name={t.islands}
        state={!network ? "idle" : reached < network.members ? "warn" : "good"}
        value={network ? t.reached(reached, network.members) : (o.status.data?.name ?? "")}
        note={network ? network.name : t.aloneHint}
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
            <Anchor component={Link} to={c.to} size="sm" c="inherit">
              {c.title}
            </Anchor>
          </Group>
          <Text size="xs" c="dimmed" className={classes.when}>
            {ago(c.at, language)}
          </Text>
        </Group>
      ))}
    </Stack>
  );
}

/** useNeeds puts together what wants somebody, the worst first. */
function useNeeds(o: Overview): Need[] {
  const t = useHomeText();
  return useMemo(() => {
    const needs: Need[] = [];
    for (const g of grouped((o.alerts.data ?? []).filter((a) => a.status.state === "active"))) {
      const first = g.alerts[0];
      needs.push({
        state: severityState(g.severity),
        title: g.name,
        text: first?.annotations.summary ?? first?.annotations.description ?? t.alertText(g.alerts.length),
        to: `/alerts?q=${encodeURIComponent(g.name)}`,
      });
    }
    for (const v of o.probes.data?.verdicts ?? []) {
      if (v.state === "down" || v.state === "degraded")
        needs.push({ state: probeState(v.state), title: v.target, text: v.words, to: pageOf(v) });
    }
    for (const w of o.health.data?.active ?? []) {
      needs.push({
        state: w.severity === "critical" ? "bad" : w.severity === "warning" ? "warn" : "info",
        title: w.title,
        text: w.text,
        remedy: w.remedy,
        to: "/islands",
      });
    }
    for (const p of o.peers.data ?? []) {
      if (peerState(p) === "bad")
        needs.push({
          state: "bad",
          title: t.islandGone(p.name),
          text: p.verdict ?? p.last_error ?? p.state,
          to: `/islands/${encodeURIComponent(p.name)}`,
        });
    }
    for (const j of o.targets.data ?? []) {
      if (j.down > 0) {
        needs.push({
          state: "warn",
          title: t.jobDown(j.job, j.down, j.up + j.down),
          text: t.jobRemedy,
          to: `/explore?expr=${encodeURIComponent(`up{job=${JSON.stringify(j.job)}} == 0`)}`,
        });
      }
    }
    const rank = { bad: 0, warn: 1, info: 2, idle: 3, good: 4 };
    return needs.sort((a, b) => rank[a.state] - rank[b.state]);
  }, [o.alerts.data, o.probes.data, o.health.data, o.peers.data, o.targets.data, t]);
}

const hour = 3_600_000;

// What people write; the rest is the islands' own bookkeeping.
const people = /^(rules|globalrules|probe|dashboard|policy|owner|scrape|aggregate|primary)\//;

/** useChanges lists what began or changed in the last hour, the newest first. */
function useChanges(o: Overview): Change[] {
  const t = useHomeText();
  return useMemo(() => {
    const changes: Change[] = [];
    for (const a of o.alerts.data ?? []) {
      const name = a.labels.alertname ?? "";
      changes.push({
        at: Date.parse(a.startsAt),
        state: severityState(a.labels.severity),
        title: t.fired(name),
        to: `/alerts?q=${encodeURIComponent(name)}`,
      });
    }
    for (const v of o.probes.data?.verdicts ?? []) {
      if (v.since)
        changes.push({
          at: Date.parse(v.since),
          state: probeState(v.state),
          title: t.verdict(v.target, v.state),
          to: pageOf(v),
        });
    }
    for (const p of o.peers.data ?? []) {
      if (p.since)
        changes.push({
          at: Date.parse(p.since),
          state: "good",
          title: t.peerBack(p.name),
          to: `/islands/${encodeURIComponent(p.name)}`,
        });
    }
    for (const d of o.documents.data ?? []) {
      if (!people.test(d.key)) continue;
      changes.push({
        at: Date.parse(d.modified),
        state: "info",
        title: t.documentChanged(d.key),
        to: addressOf(d.key),
      });
    }
    return changes.filter((c) => Date.now() - c.at < hour).sort((a, b) => b.at - a.at);
  }, [o.alerts.data, o.probes.data, o.peers.data, o.documents.data, t]);
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
