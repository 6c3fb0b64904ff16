import { Button, Card, Group, SegmentedControl, Stack, Text, TextInput } from "@mantine/core";
import { IconPlus, IconSearch } from "@tabler/icons-react";
import { Link, useSearchParams } from "react-router";
import { Empty, Failed, Loading, Mark } from "@/parts/states";
import { useLanguage } from "@/text/text";
import { ago, seconds } from "@/text/time";
import classes from "./alerts.module.css";
import { type Rule, type RuleGroup, useRules } from "./api";
import { useAlertsText } from "./text";

const kinds = ["all", "alerting", "recording", "ruleBroken"] as const;
type Kind = (typeof kinds)[number];

const belongs: Record<Kind, (r: Rule) => boolean> = {
  all: () => true,
  alerting: (r) => r.type === "alerting",
  recording: (r) => r.type === "recording",
  ruleBroken: (r) => r.health === "err",
};

/** rank puts first what needs somebody. */
const rank = (r: Rule) => (r.health === "err" ? 0 : r.state === "firing" ? 1 : r.state === "pending" ? 2 : 3);

export const ruleAddress = (g: RuleGroup, r: Rule) =>
  `/alerts/rules/view?${new URLSearchParams({ file: g.file, group: g.name, rule: r.name, at: String(g.rules.indexOf(r)) })}`;

/** Rules lists every rule that is evaluated here. */
export function Rules() {
  const t = useAlertsText();
  const [params, setParams] = useSearchParams();
  const { data, error, refetch } = useRules();
  const asked = params.get("q") ?? params.get("name") ?? "";
  const q = asked.toLowerCase();
  const kind = kinds.find((k) => k === params.get("kind")) ?? "all";
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
  const all = data.flatMap((g) => g.rules.map((r) => ({ g, r })));
  const found = all.filter(({ g, r }) =>
    `${r.name} ${r.query} ${g.name} ${g.file} ${r.lastError ?? ""} ${Object.values(r.labels ?? {}).join(" ")}`
      .toLowerCase()
      .includes(q),
  );
  const shown = found.filter(({ r }) => belongs[kind](r)).sort((a, b) => rank(a.r) - rank(b.r));
  const newRule = (
    <Button component={Link} to="/alerts/rules/new" h={42} leftSection={<IconPlus size={16} />}>
      {t.newRule}
    </Button>
  );
  return (
    <Stack gap="sm">
      <Group gap="sm">
        <TextInput
          type="search"
          size="md"
          flex="1 1 200px"
          aria-label={t.searchRules}
          placeholder={t.searchRules}
          leftSection={<IconSearch size={16} />}
          value={asked}
          onChange={(e) => put("q", e.currentTarget.value)}
        />
        {newRule}
      </Group>
      <SegmentedControl
        aria-label={t.rules}
        value={kind}
        onChange={(v) => put("kind", v === "all" ? "" : v)}
        data={kinds.map((k) => ({
          value: k,
          label: `${t[k]} ${found.filter(({ r }) => belongs[k](r)).length}`,
        }))}
      />
      {all.length === 0 ? (
        <Empty title={t.noRules} action={newRule}>
          {t.noRulesHint}
        </Empty>
      ) : shown.length === 0 ? (
        <Empty title={t.noMatch}>{t.noMatchHint}</Empty>
      ) : (
        <Card padding="xs">
          {shown.slice(0, 300).map(({ g, r }) => (
            <One key={`${g.file} ${g.name} ${r.name} ${g.rules.indexOf(r)}`} group={g} rule={r} />
          ))}
          {shown.length > 300 && <Text c="dimmed">{t.moreLeft(shown.length - 300)}</Text>}
        </Card>
      )}
    </Stack>
  );
}

export function RuleMark({ rule: r }: { rule: Rule }) {
  const t = useAlertsText();
  if (r.health === "err") return <Mark state="bad">{t.ruleBroken}</Mark>;
  if (r.state === "firing") return <Mark state="bad">{t.ruleFiring}</Mark>;
  if (r.state === "pending") return <Mark state="warn">{t.rulePending}</Mark>;
  if (r.health === "unknown") return <Mark state="idle">{t.never}</Mark>;
  return <Mark state="good">{t.ruleOk}</Mark>;
}

export function useEvaluated() {
  const t = useAlertsText();
  const { language } = useLanguage();
  return (r: Rule) => {
    const at = Date.parse(r.lastEvaluation);
    return at > 0 ? `${t.evaluated(ago(at, language))} ${t.took(seconds(r.evaluationTime))}` : t.never;
  };
}

function One({ group: g, rule: r }: { group: RuleGroup; rule: Rule }) {
  const evaluated = useEvaluated();
  return (
    <Link to={ruleAddress(g, r)} className={classes.rule}>
      <Stack gap={2} flex="1 1 260px">
        <Text fw={600}>{r.name}</Text>
        <Text size="xs" c="dimmed" ff="monospace" lineClamp={1}>
          {r.query}
        </Text>
        {r.health === "err" && (
          <Text size="sm" c="var(--atoll-bad)">
            {r.lastError}
          </Text>
        )}
      </Stack>
      <Group gap="sm">
        <Text size="xs" c="dimmed">
          {evaluated(r)}
        </Text>
        <RuleMark rule={r} />
      </Group>
    </Link>
  );
}
