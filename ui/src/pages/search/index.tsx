import { Anchor, Card, Group, Kbd, SegmentedControl, Stack, Text, UnstyledButton } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useEffect, useEffectEvent, useState } from "react";
import { Link, useNavigate, useSearchParams } from "react-router";
import { ask } from "@/api/client";
import { Empty, Failed, Labels, Loading, Mark, PageTitle } from "@/parts/states";
import { texts } from "@/text/text";
import { type Found, marked, stateOfWord } from "./found";
import classes from "./search.module.css";

const useText = texts(
  {
    title: "Search",
    everywhere: "All islands",
    here: "This island",
    all: "Everything",
    none: (q: string) => `Nothing matches “${q}”`,
    noneHint: "Every word must be found. Try fewer words, a part of a name or address, or another spelling.",
    teach: "What can be found",
    teachHint:
      "Hosts, targets and containers by name, IP address or any label; metrics; alerts and rules; probes; islands; dashboards; shared documents. Narrow it down with kind:host or region:eu-west.",
    took: (n: number, ms: number) => `${n} in ${ms < 1 ? "under 1" : Math.round(ms)} ms`,
    missing: (names: string) => `Without an answer: ${names}`,
    kinds: {
      island: "Islands",
      host: "Hosts",
      alert: "Alerts",
      probe: "Probes",
      dashboard: "Dashboards",
      target: "Targets",
      container: "Containers",
      probe_target: "Probed",
      rule: "Rules",
      metric: "Metrics",
      document: "Documents",
    } as Record<string, string>,
    keys: "to choose, Enter to open",
  },
  {
    title: "搜索",
    everywhere: "全部岛屿",
    here: "本岛",
    all: "全部",
    none: (q: string) => `没有与“${q}”匹配的内容`,
    noneHint: "每个词都必须匹配。请减少词语，或改用名称、地址的一部分。",
    teach: "可以搜索什么",
    teachHint:
      "按名称、IP 地址或任意标签搜索主机、采集目标和容器；还有指标、告警与规则、拨测、岛屿、仪表盘和共享文档。可用 kind:host 或 region:eu-west 缩小范围。",
    took: (n: number, ms: number) => `${n} 项，用时 ${ms < 1 ? "不到 1" : Math.round(ms)} 毫秒`,
    missing: (names: string) => `未应答：${names}`,
    kinds: {
      island: "岛屿",
      host: "主机",
      alert: "告警",
      probe: "拨测",
      dashboard: "仪表盘",
      target: "采集目标",
      container: "容器",
      probe_target: "拨测目标",
      rule: "规则",
      metric: "指标",
      document: "文档",
    },
    keys: "选择，回车打开",
  },
);

/** Search finds anything by any of its words, while they are typed. */
export default function Search() {
  const t = useText();
  const [params, setParams] = useSearchParams();
  const navigate = useNavigate();
  const typed = params.get("q") ?? "";
  const kind = params.get("kind") ?? "";
  const scope = params.get("scope") === "local" ? "local" : "all";
  const [q] = useDebouncedValue(typed.trim(), 80);
  const [at, setAt] = useState(0);
  const answer = useQuery({
    queryKey: ["search", q, kind, scope],
    queryFn: ({ signal }) =>
      ask(
        `/api/atoll/v1/search?${new URLSearchParams({ q, scope, limit: "60", ...(kind === "" ? {} : { kind }) })}`,
        {
          signal,
        },
      ),
    enabled: q !== "",
    placeholderData: keepPreviousData,
  });
  const items = q === "" ? [] : (answer.data?.items ?? []);
  useEffect(() => setAt(0), [q, kind]);
  const press = useEffectEvent((e: KeyboardEvent) => {
    if (e.key === "ArrowDown") setAt((n) => Math.min(n + 1, items.length - 1));
    else if (e.key === "ArrowUp") setAt((n) => Math.max(n - 1, 0));
    else if (e.key === "Enter" && e.target instanceof HTMLInputElement && items[at])
      void navigate(items[at].href);
    else return;
    e.preventDefault();
  });
  useEffect(() => {
    const listener = (e: KeyboardEvent) => press(e);
    addEventListener("keydown", listener);
    return () => removeEventListener("keydown", listener);
  }, []);
  const change = (name: string, value: string) =>
    setParams(
      (now) => {
        if (value === "") now.delete(name);
        else now.set(name, value);
        return now;
      },
      { replace: true },
    );
  const counts = Object.entries(answer.data?.counts ?? {}).filter(([, n]) => n > 0);
  const silent = (answer.data?.islands ?? []).filter((i) => !i.answered).map((i) => i.name);
  return (
    <Stack gap="sm" maw={980}>
      <PageTitle
        note={
          q !== "" && answer.data
            ? t.took(
                counts.reduce((sum, [, n]) => sum + n, 0),
                answer.data.took_ms,
              )
            : undefined
        }
        actions={
          <SegmentedControl
            value={scope}
            onChange={(v) => change("scope", v === "all" ? "" : v)}
            data={[
              { value: "all", label: t.everywhere },
              { value: "local", label: t.here },
            ]}
          />
        }
      >
        {t.title}
      </PageTitle>
      {q === "" && <Empty title={t.teach}>{t.teachHint}</Empty>}
      {answer.error && <Failed error={answer.error} retry={() => void answer.refetch()} />}
      {q !== "" && answer.isPending && <Loading />}
      {q !== "" && (counts.length > 1 || kind !== "") && (
        <Group gap="xs" role="group">
          <Chip chosen={kind === ""} onClick={() => change("kind", "")}>
            {t.all}
          </Chip>
          {counts.map(([k, n]) => (
            <Chip key={k} chosen={kind === k} onClick={() => change("kind", k)}>
              {t.kinds[k] ?? k} {n}
            </Chip>
          ))}
        </Group>
      )}
      {silent.length > 0 && (
        <Text size="sm" c="dimmed">
          {t.missing(silent.join(", "))}
        </Text>
      )}
      {q !== "" && answer.data && items.length === 0 && <Empty title={t.none(q)}>{t.noneHint}</Empty>}
      <Stack gap="xs">
        {items.map((item, n) => (
          <Hit key={item.id} item={item} words={q} kind={t.kinds[item.kind] ?? item.kind} chosen={n === at} />
        ))}
      </Stack>
      {items.length > 0 && (
        <Text size="xs" c="dimmed" visibleFrom="sm">
          <Kbd>↑</Kbd> <Kbd>↓</Kbd> {t.keys}
        </Text>
      )}
    </Stack>
  );
}

function Chip({
  chosen,
  onClick,
  children,
}: {
  chosen: boolean;
  onClick: () => void;
  children: React.ReactNode;
}) {
  return (
    <UnstyledButton className={classes.chip} aria-pressed={chosen} onClick={onClick}>
      {children}
    </UnstyledButton>
  );
}

function Hit({ item, words, kind, chosen }: { item: Found; words: string; kind: string; chosen: boolean }) {
  return (
    <Card p="sm" className={classes.hit} data-chosen={chosen || undefined}>
      <Group justify="space-between" gap="xs" wrap="nowrap" align="flex-start">
        <div>
          <Anchor component={Link} to={item.href} fw={600}>
            {marked(item.name, words).map((part) =>
              part.hit ? <mark key={part.at}>{part.text}</mark> : part.text,
            )}
          </Anchor>
          {item.summary !== "" && (
            <Text size="sm" c="dimmed" lineClamp={2}>
              {item.summary}
            </Text>
          )}
        </div>
        <Stack gap={4} align="flex-end">
          <Text size="xs" c="dimmed" className={classes.kind}>
            {kind}
          </Text>
          {item.state && <Mark state={stateOfWord(item.state)}>{item.state}</Mark>}
        </Stack>
      </Group>
      <Group gap={4} mt={4}>
        {item.island !== "" && (
          <Text size="xs" c="dimmed">
            {(item.islands ?? [item.island]).join(", ")}
          </Text>
        )}
        <Labels of={Object.fromEntries(Object.entries(item.labels ?? {}).slice(0, 8))} />
      </Group>
    </Card>
  );
}
