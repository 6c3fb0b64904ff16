import { Anchor, Button, Group, SegmentedControl, Stack, Text, TextInput } from "@mantine/core";
import { IconSearch } from "@tabler/icons-react";
import { Link, useParams, useSearchParams } from "react-router";
import { Empty, Failed, Loading } from "@/parts/states";
import classes from "./alerts.module.css";
import { useGroups } from "./api";
import { Elsewhere } from "./Elsewhere";
import { GroupCard } from "./GroupCard";
import { type Group as FiringGroup, mentions, withFingerprint } from "./model";
import { useAlertsText } from "./text";

const filters = ["all", "open", "taken", "muted"] as const;
type Filter = (typeof filters)[number];

const belongs: Record<Filter, (g: FiringGroup) => boolean> = {
  all: () => true,
  open: (g) => g.state === "firing",
  taken: (g) => g.acknowledged_count > 0,
  muted: (g) => g.silenced + g.inhibited > 0,
};

/** Firing is what is wrong now, the worst first. */
export function Firing() {
  const t = useAlertsText();
  const { fingerprint } = useParams();
  const [params, setParams] = useSearchParams();
  const { data, error, refetch } = useGroups();
  const q = params.get("q") ?? "";
  const filter = filters.find((f) => f === params.get("show")) ?? "all";
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
  if (fingerprint !== undefined) {
    const named = withFingerprint(data.items, fingerprint);
    return (
      <Stack gap="sm">
        {named ? (
          <GroupCard group={named} named />
        ) : (
          <Empty
            title={t.over}
            action={
              <Button component={Link} to="/alerts/history" variant="default" h={40}>
                {t.history}
              </Button>
            }
          >
            {t.overHint}
          </Empty>
        )}
        <Anchor component={Link} to="/alerts" size="sm" py={8}>
          {t.seeAll}
        </Anchor>
      </Stack>
    );
  }
  const found = data.items.filter((g) => mentions(g, q));
  const shown = found.filter(belongs[filter]);
  return (
    <Stack gap="sm">
      <Group gap="sm">
        <TextInput
          type="search"
          flex="1 1 220px"
          size="md"
          aria-label={t.search}
          placeholder={t.search}
          leftSection={<IconSearch size={16} />}
          value={q}
          onChange={(e) => put("q", e.currentTarget.value)}
        />
        <SegmentedControl
          aria-label={t.firing}
          size="md"
          value={filter}
          onChange={(v) => put("show", v === "all" ? "" : v)}
          data={filters.map((f) => ({ value: f, label: `${t[f]} ${found.filter(belongs[f]).length}` }))}
        />
      </Group>
      {shown.length === 0 ? (
        data.items.length === 0 ? (
          <Empty
            title={t.quiet}
            action={
              <Group>
                <Button component={Link} to="/alerts/rules" variant="default" h={40}>
                  {t.seeRules}
                </Button>
                <Button component={Link} to="/alerts/rules/new" h={40}>
                  {t.firstRule}
                </Button>
              </Group>
            }
          >
            {t.quietHint}
          </Empty>
        ) : (
          <Empty title={t.noMatch}>{t.noMatchHint}</Empty>
        )
      ) : (
        <div className={classes.cards}>
          {shown.slice(0, 200).map((g) => (
            <GroupCard key={g.group} group={g} />
          ))}
        </div>
      )}
      {shown.length > 200 && <Text c="dimmed">{t.moreLeft(shown.length - 200)}</Text>}
      <Elsewhere q={q} />
    </Stack>
  );
}
