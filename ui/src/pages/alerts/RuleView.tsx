import { Alert, Button, Card, Code, Group, Stack, Text, Title } from "@mantine/core";
import { Link, useSearchParams } from "react-router";
import { Empty, Failed, Labels, Loading } from "@/parts/states";
import { seconds } from "@/text/time";
import { useRules } from "./api";
import { PreviewPanel } from "./PreviewPanel";
import { RuleMark, useEvaluated } from "./Rules";
import { documentOf } from "./rule";
import { useAlertsText } from "./text";

/** RuleView is one rule: how it is, what it looks at, and when it fired. */
export function RuleView() {
  const t = useAlertsText();
  const [params] = useSearchParams();
  const { data, error, refetch } = useRules();
  const evaluated = useEvaluated();
  if (error) return <Failed error={error} retry={() => void refetch()} />;
  if (!data) return <Loading />;
  const name = params.get("rule");
  const g = data.find((x) => x.file === params.get("file") && x.name === params.get("group"));
  const at = g?.rules[Number(params.get("at"))];
  const r = at?.name === name ? at : g?.rules.find((x) => x.name === name);
  if (g === undefined || r === undefined) return <Empty title={t.ruleGone}>{t.ruleGoneHint}</Empty>;
  const document = documentOf(g.file);
  return (
    <Stack>
      <Group justify="space-between">
        <Group gap="sm">
          <Title order={2}>{r.name}</Title>
          <RuleMark rule={r} />
        </Group>
        <Group gap="xs">
          {document && (
            <Button
              component={Link}
              to={`/alerts/rules/edit/${document.kind}/${encodeURIComponent(document.name)}`}
              h={40}
            >
              {t.edit}
            </Button>
          )}
          {r.type === "alerting" && (
            <Button
              component={Link}
              to={`/alerts/rules/new?expr=${encodeURIComponent(r.query)}`}
              variant="default"
              h={40}
            >
              {t.copyRule}
            </Button>
          )}
        </Group>
      </Group>
      {r.lastError && <Alert color="red">{r.lastError}</Alert>}
      <Card>
        <Stack gap="xs">
          <Code block style={{ whiteSpace: "pre-wrap" }}>
            {r.query}
          </Code>
          <Labels of={r.labels} />
          {Object.entries(r.annotations ?? {}).map(([key, value]) => (
            <Text key={key} size="sm">
              <b>{key}</b>: {value}
            </Text>
          ))}
          <Text size="sm" c="dimmed">
            {[
              ...(r.type === "alerting"
                ? [`${t.forField}: ${r.duration ? seconds(r.duration) : t.forNone}`]
                : []),
              evaluated(r),
              document ? `${t.inDocument}: ${document.kind}/${document.name}` : `${t.inFile}: ${g.file}`,
            ].join(" · ")}
          </Text>
        </Stack>
      </Card>
      <PreviewPanel
        ask={{
          expr: r.query,
          for: `${r.duration ?? 0}s`,
          keep_firing_for: `${r.keepFiringFor ?? 0}s`,
          interval: `${g.interval}s`,
        }}
        fires={r.type === "alerting"}
      />
    </Stack>
  );
}
