import { Button, Card, Code, Group, Modal, SegmentedControl, Stack, Text, TextInput } from "@mantine/core";
import { IconPlus, IconSearch } from "@tabler/icons-react";
import { useState } from "react";
import { useNavigate, useSearchParams } from "react-router";
import { Empty, Failed, Loading, Mark, type State } from "@/parts/states";
import { useLanguage } from "@/text/text";
import { ago } from "@/text/time";
import classes from "./alerts.module.css";
import { type Silence, useExpire, useSilences } from "./api";
import { May } from "./May";
import { writeMatcher } from "./model";
import { useAlertsText } from "./text";

const states = ["active", "pending", "expired"] as const;

/** Silences lists what is held back, and lets people end it. */
export function Silences() {
  const t = useAlertsText();
  const navigate = useNavigate();
  const [params, setParams] = useSearchParams();
  const { data, error, refetch } = useSilences();
  const [ending, setEnding] = useState<Silence>();
  const expire = useExpire();
  const state = states.find((s) => s === params.get("state")) ?? "active";
  const q = params.get("q") ?? "";
  const put = (name: string, value: string) =>
    setParams(
      (now) => {
        if (value === "") now.delete(name);
        else now.set(name, value);
        return now;
      },
      { replace: true },
    );
  if (error) return <Failed error={error} retry={() => void refetch()} />;
  if (!data) return <Loading />;
  const of = (wanted: string) =>
    data.filter(
      (s) =>
        s.status.state === wanted &&
        `${s.createdBy} ${s.comment} ${s.matchers.map(writeMatcher).join(" ")}`
          .toLowerCase()
          .includes(q.toLowerCase()),
    );
  const shown = of(state).sort((a, b) => Date.parse(a.endsAt) - Date.parse(b.endsAt));
  if (state === "expired") shown.reverse();
  return (
    <Stack gap="sm">
      <Group gap="sm">
        <TextInput
          type="search"
          size="md"
          flex="1 1 200px"
          aria-label={t.search}
          placeholder={t.search}
          leftSection={<IconSearch size={16} />}
          value={q}
          onChange={(e) => put("q", e.currentTarget.value)}
        />
        <SegmentedControl
          size="md"
          aria-label={t.silences}
          value={state}
          onChange={(v) => put("state", v === "active" ? "" : v)}
          data={states.map((s) => ({ value: s, label: `${t[s]} ${of(s).length}` }))}
        />
        <May action="silence">
          {(disabled) => (
            <Button
              h={42}
              leftSection={<IconPlus size={16} />}
              disabled={disabled}
              onClick={() => void navigate("/alerts/silences/new")}
            >
              {t.newSilence}
            </Button>
          )}
        </May>
      </Group>
      {shown.length === 0 ? (
        <Empty title={q === "" ? t.noSilences : t.noMatch}>
          {q === "" ? t.noSilencesHint : t.noMatchHint}
        </Empty>
      ) : (
        <div className={classes.cards}>
          {shown.slice(0, 200).map((s) => (
            <One key={s.id} of={s} onEnd={() => setEnding(s)} />
          ))}
          {shown.length > 200 && <Text c="dimmed">{t.moreLeft(shown.length - 200)}</Text>}
        </div>
      )}
      <Modal
        opened={ending !== undefined}
        onClose={() => setEnding(undefined)}
        title={t.expireSure}
        closeButtonProps={{ "aria-label": t.close }}
      >
        <Stack>
          <Text size="sm">{t.expireWhat}</Text>
          {ending && <Matchers of={ending} />}
          <Group justify="flex-end">
            <Button variant="default" h={40} onClick={() => setEnding(undefined)}>
              {t.cancel}
            </Button>
            <Button
              color="red"
              h={40}
              loading={expire.isPending}
              onClick={() => ending && expire.mutate(ending.id, { onSettled: () => setEnding(undefined) })}
            >
              {t.expire}
            </Button>
          </Group>
        </Stack>
      </Modal>
    </Stack>
  );
}

const marks: Record<Silence["status"]["state"], State> = { active: "info", pending: "warn", expired: "idle" };

function Matchers({ of: s }: { of: Silence }) {
  return (
    <Group gap={4}>
      {s.matchers.map((m) => (
        <Code key={writeMatcher(m)}>{writeMatcher(m)}</Code>
      ))}
    </Group>
  );
}

function One({ of: s, onEnd }: { of: Silence; onEnd: () => void }) {
  const t = useAlertsText();
  const { language } = useLanguage();
  const navigate = useNavigate();
  const { state } = s.status;
  const end = ago(Date.parse(s.endsAt), language);
  const when = {
    active: t.ends(end),
    pending: t.begins(ago(Date.parse(s.startsAt), language)),
    expired: t.ended(end),
  }[state];
  const ack = s.comment.startsWith("ack:");
  return (
    <Card component="article" padding="sm">
      <Group justify="space-between" gap="sm">
        <Stack gap={4} flex="1 1 260px">
          <Group gap="xs">
            <Mark state={marks[state]}>{t[state]}</Mark>
            {ack && <Mark state="info">{t.ack}</Mark>}
            <Text size="sm" fw={600}>
              {when}
            </Text>
          </Group>
          <Matchers of={s} />
          <Text size="sm" c="dimmed">
            {s.createdBy}
            {s.comment && ` · ${ack ? s.comment.slice(4).trim() : s.comment}`}
          </Text>
        </Stack>
        <May action="silence">
          {(disabled) => (
            <div className={classes.actions}>
              <Button
                variant="default"
                h={40}
                disabled={disabled}
                onClick={() =>
                  void navigate(
                    state === "expired"
                      ? `/alerts/silences/new?matchers=${encodeURIComponent(JSON.stringify(s.matchers))}`
                      : `/alerts/silences/${s.id}`,
                  )
                }
              >
                {state === "expired" ? t.newSilence : t.edit}
              </Button>
              {state !== "expired" && (
                <Button variant="default" h={40} disabled={disabled} onClick={onEnd}>
                  {t.expire}
                </Button>
              )}
            </div>
          )}
        </May>
      </Group>
    </Card>
  );
}
