import { Anchor, Card, Collapse, Group, Stack, Text, UnstyledButton } from "@mantine/core";
import { IconChevronDown, IconChevronRight, IconExternalLink } from "@tabler/icons-react";
import { Link, useSearchParams } from "react-router";
import { Labels, Mark, type State } from "@/parts/states";
import { useLanguage } from "@/text/text";
import { ago, clock } from "@/text/time";
import { AckButton } from "./AckButton";
import classes from "./alerts.module.css";
import {
  equal,
  evidenceOf,
  exploreOf,
  type Group as FiringGroup,
  groupMatchers,
  type Instance,
  markOf,
  place,
  safeLink,
} from "./model";
import { SilenceMenu } from "./SilenceMenu";
import { useAlertsText } from "./text";

/** GroupCard is one thing that is wrong; the one that the address names is open at first. */
export function GroupCard({ group: g, named = false }: { group: FiringGroup; named?: boolean }) {
  const t = useAlertsText();
  const { language } = useLanguage();
  const [params, setParams] = useSearchParams();
  const turned = params.getAll("open").includes(g.group);
  const opened = turned !== named;
  const toggle = () =>
    setParams(
      (now) => {
        const open = now.getAll("open").filter((id) => id !== g.group);
        now.delete("open");
        for (const id of turned ? open : [...open, g.group]) now.append("open", id);
        return now;
      },
      { replace: true },
    );
  return (
    <Card
      component="article"
      className={classes.card}
      data-mark={markOf(g.severity)}
      data-held={g.state !== "firing"}
      aria-label={g.alertname}
      padding="sm"
    >
      <Stack gap={8}>
        <UnstyledButton className={classes.head} onClick={toggle} aria-expanded={opened}>
          <Group gap="xs" wrap="nowrap" align="flex-start">
            {opened ? <IconChevronDown size={18} /> : <IconChevronRight size={18} />}
            <Stack gap={2} flex={1}>
              <Group gap="xs">
                {g.severity !== "" && <Mark state={markOf(g.severity)}>{g.severity}</Mark>}
                <Text span className={classes.name}>
                  {g.alertname}
                </Text>
                {g.state !== "firing" && <StateMark state={g.state} />}
              </Group>
              {g.summary && <Text size="sm">{g.summary}</Text>}
              <Text size="sm" c="dimmed">
                {[
                  t.countAlerts(g.count),
                  t.since(ago(Date.parse(g.since), language)),
                  ...(g.owner ? [g.owner] : []),
                ].join(" · ")}
              </Text>
            </Stack>
          </Group>
        </UnstyledButton>
        {g.verdict && (
          <Text size="sm" fs="italic">
            {g.verdict}
          </Text>
        )}
        {g.acknowledged && (
          <Text size="sm" c="var(--atoll-info)">
            {t.ackedBy(g.acknowledged.by, clock(Date.parse(g.acknowledged.until), language))}
            {g.acknowledged.comment ? ` · ${g.acknowledged.comment}` : ""}
            {g.acknowledged_count < g.count ? ` · ${t.someAcked(g.acknowledged_count, g.count)}` : ""}
          </Text>
        )}
        {g.silenced > 0 && g.silenced < g.count && (
          <Text size="sm" c="dimmed">
            {t.someSilenced(g.silenced, g.count)}
          </Text>
        )}
        <Group gap="sm" justify="space-between">
          <div className={classes.actions}>
            <AckButton target={g.group} what={g.alertname} acked={g.acknowledged_count === g.count} />
            <SilenceMenu what={g.alertname} matchers={groupMatchers(g)} />
          </div>
          <Links of={g.links} />
        </Group>
        <Collapse expanded={opened}>
          {opened && (
            <Stack gap="xs">
              {g.description && (
                <Text size="sm" style={{ whiteSpace: "pre-wrap" }}>
                  {g.description}
                </Text>
              )}
              <Labels of={g.common_labels} />
              {g.receivers.length > 0 && (
                <Text size="sm" c="dimmed">
                  {t.receivers}: {g.receivers.join(", ")}
                </Text>
              )}
              <div>
                {g.instances.map((i) => (
                  <One key={i.fingerprint} of={i} group={g} />
                ))}
              </div>
              {g.instances_left_out !== undefined && (
                <Text size="sm" c="dimmed">
                  {t.moreLeft(g.instances_left_out)}
                </Text>
              )}
            </Stack>
          )}
        </Collapse>
      </Stack>
    </Card>
  );
}

const marks: Record<FiringGroup["state"], State> = {
  firing: "bad",
  acknowledged: "info",
  silenced: "idle",
  inhibited: "idle",
};

export function StateMark({ state }: { state: FiringGroup["state"] }) {
  const t = useAlertsText();
  const words = {
    firing: t.stateFiring,
    acknowledged: t.stateAcknowledged,
    silenced: t.stateSilenced,
    inhibited: t.stateInhibited,
  };
  return <Mark state={marks[state]}>{words[state]}</Mark>;
}

/** Links lead out of the page; the island lets through web addresses alone, and so does this. */
export function Links({ of }: { of: FiringGroup["links"] }) {
  const t = useAlertsText();
  return (
    <Group gap="md">
      {of.map((l) => {
        const href = safeLink(l.url);
        const own =
          l.kind === "generator" ? exploreOf(l.url) : l.kind === "evidence" ? evidenceOf(l.url) : undefined;
        if (own !== undefined)
          return (
            <Anchor key={l.kind} component={Link} to={own} size="sm" py={8}>
              {t[l.kind]}
            </Anchor>
          );
        return (
          href && (
            <Anchor key={l.kind} href={href} target="_blank" rel="noopener noreferrer" size="sm" py={8}>
              {t[l.kind]} <IconExternalLink size={13} aria-hidden />
            </Anchor>
          )
        );
      })}
    </Group>
  );
}

function One({ of: i, group }: { of: Instance; group: FiringGroup }) {
  const t = useAlertsText();
  const { language } = useLanguage();
  const held = i.acknowledged ?? i.silenced_by?.[0];
  return (
    <div className={classes.instance}>
      <Group justify="space-between" gap="xs">
        <Stack gap={2} flex="1 1 240px">
          <Group gap="xs">
            <StateMark state={i.state} />
            <Text size="sm" fw={600}>
              {place(i, group) || i.labels.instance || i.fingerprint}
            </Text>
          </Group>
          {i.summary && i.summary !== group.summary && <Text size="sm">{i.summary}</Text>}
          <Text size="xs" c="dimmed">
            {t.since(clock(Date.parse(i.since), language))}
            {held && ` · ${t.ackedBy(held.by, clock(Date.parse(held.until), language))}`}
            {held?.comment && ` · ${held.comment}`}
          </Text>
        </Stack>
        {group.count > 1 && (
          <div className={classes.actions}>
            <AckButton target={i.fingerprint} what={group.alertname} acked={i.acknowledged !== undefined} />
            <SilenceMenu what={group.alertname} matchers={equal(i.labels)} compact />
          </div>
        )}
      </Group>
    </div>
  );
}
