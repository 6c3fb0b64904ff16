import { Anchor, Card, Group, Stack, Text, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import { Mark } from "@/parts/states";
import { askInstant } from "@/prom/ask";
import { useIslands } from "@/prom/hooks";
import classes from "./alerts.module.css";
import { elsewhere, firingExpr } from "./elsewhere";
import { markOf } from "./model";
import { useAlertsText } from "./text";

/** useElsewhere asks every island what fires there; it is undefined where there are no others. */
export function useElsewhere() {
  const { data } = useIslands();
  const answer = useQuery({
    queryKey: ["alerts", "elsewhere"],
    queryFn: ({ signal }) => askInstant(firingExpr, Date.now(), "all", signal),
    enabled: (data?.islands.length ?? 0) > 1,
    refetchInterval: 15_000,
  });
  if (data === undefined || answer.data === undefined) return undefined;
  const silent = (answer.data.receipt?.islands ?? [])
    .filter((i) => i.state !== "answered")
    .map((i) => i.name);
  return { groups: elsewhere(answer.data.lines, data.self), silent };
}

/** Elsewhere is what fires on the other islands of the network, who tell their people themselves. */
export function Elsewhere({ q }: { q: string }) {
  const t = useAlertsText();
  const found = useElsewhere();
  if (found === undefined) return null;
  const wanted = q.toLowerCase();
  const groups = found.groups.filter((g) =>
    [g.alertname, g.severity, ...g.islands.map((i) => i.name)].some((s) => s.toLowerCase().includes(wanted)),
  );
  if (groups.length === 0 && found.silent.length === 0) return null;
  return (
    <Stack component="section" gap="xs" mt="md" aria-labelledby="elsewhere">
      <Title order={2} size="h4" id="elsewhere">
        {t.elsewhere}
      </Title>
      <Text size="sm" c="dimmed">
        {t.elsewhereHint}
      </Text>
      {found.silent.length > 0 && <Mark state="warn">{t.noAnswerFrom(found.silent.join(", "))}</Mark>}
      <div className={classes.cards}>
        {groups.slice(0, 100).map((g) => (
          <Card
            key={`${g.alertname} ${g.severity}`}
            className={classes.card as string}
            data-mark={markOf(g.severity)}
            padding="sm"
          >
            <Group justify="space-between" gap="xs">
              <Group gap="xs">
                <Text className={classes.name as string}>{g.alertname}</Text>
                {g.severity !== "" && <Mark state={markOf(g.severity)}>{g.severity}</Mark>}
                <Text size="sm">
                  {g.islands.map((i) => (i.count > 1 ? `${i.name} (${i.count})` : i.name)).join(", ")}
                </Text>
              </Group>
              <Anchor
                component={Link}
                to={`/explore?${new URLSearchParams(explored(g.alertname))}`}
                size="sm"
              >
                {t.generator}
              </Anchor>
            </Group>
          </Card>
        ))}
      </div>
      {groups.length > 100 && <Text c="dimmed">{t.moreLeft(groups.length - 100)}</Text>}
    </Stack>
  );
}

const explored = (alertname: string) => ({
  expr: `ALERTS{alertname=${JSON.stringify(alertname)}, alertstate="firing"}`,
  scope: "all",
});
