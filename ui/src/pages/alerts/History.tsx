import {
  Alert,
  Anchor,
  Button,
  Card,
  Chip,
  Group,
  SegmentedControl,
  Stack,
  Table,
  Text,
  TextInput,
  Title,
} from "@mantine/core";
import { IconSearch } from "@tabler/icons-react";
import { useInfiniteQuery } from "@tanstack/react-query";
import { Link, useSearchParams } from "react-router";
import { $api, api } from "@/api/client";
import { useRefreshOn } from "@/api/events";
import { Empty, Failed, Labels, Loading, Mark, type State } from "@/parts/states";
import { useLanguage } from "@/text/text";
import { ago, clock, seconds } from "@/text/time";
import classes from "./alerts.module.css";
import type { AlertEvent } from "./model";
import { markOf } from "./model";
import { useAlertsText } from "./text";

const days = { "24h": 1, "7d": 7, "30d": 30 } as const;
type Range = keyof typeof days;
const kinds = [
  "firing",
  "resolved",
  "acknowledged",
  "unacknowledged",
  "silenced",
  "unsilenced",
  "notified",
  "failed",
] as const;

const marks: Record<AlertEvent["kind"], State> = {
  firing: "bad",
  resolved: "good",
  silenced: "idle",
  unsilenced: "idle",
  acknowledged: "info",
  unacknowledged: "idle",
  notified: "info",
  failed: "warn",
};

/** History is what happened to alerts, and which make the most noise. */
export function History() {
  const t = useAlertsText();
  const [params, setParams] = useSearchParams();
  const range = (Object.keys(days) as Range[]).find((r) => r === params.get("range")) ?? "7d";
  const to = Math.ceil(Date.now() / 60_000) * 60;
  const from = to - days[range] * 86_400;
  const names: Record<Range, string> = { "24h": t.day, "7d": t.week, "30d": t.month };
  const put = (name: string, values: string[]) =>
    setParams(
      (now) => {
        now.delete(name);
        for (const v of values) if (v !== "") now.append(name, v);
        return now;
      },
      { replace: true },
    );
  return (
    <Stack>
      <Group gap="sm">
        <TextInput
          type="search"
          size="md"
          flex="1 1 200px"
          aria-label={t.search}
          placeholder={t.search}
          leftSection={<IconSearch size={16} />}
          defaultValue={params.get("q") ?? params.get("alertname") ?? ""}
          onChange={(e) => {
            put("alertname", []);
            put("q", [e.currentTarget.value]);
          }}
        />
        <SegmentedControl
          size="md"
          aria-label={t.history}
          value={range}
          onChange={(v) => put("range", v === "7d" ? [] : [v])}
          data={(Object.keys(days) as Range[]).map((r) => ({ value: r, label: names[r] }))}
        />
      </Group>
      {!params.has("alertname") && !params.has("q") && <Statistics from={from} to={to} />}
      <Events from={from} to={to} params={params} onKinds={(v) => put("kind", v)} />
    </Stack>
  );
}

function Statistics({ from, to }: { from: number; to: number }) {
  const t = useAlertsText();
  const { language } = useLanguage();
  const { data, error, refetch } = $api.useQuery(
    "get",
    "/api/atoll/v1/alerts/statistics",
    { params: { query: { from: String(from), to: String(to) } } },
    { placeholderData: (before) => before },
  );
  if (error) return <Failed error={error} retry={() => void refetch()} />;
  if (!data) return <Loading />;
  if (data.items.length === 0) return null;
  return (
    <Card component="section" aria-label={t.noisiest}>
      <Title order={2} mb="xs">
        {t.noisiest}
      </Title>
      {data.partial && <Alert color="yellow">{t.partial}</Alert>}
      <Table.ScrollContainer minWidth={560}>
        <Table fz="sm">
          <Table.Thead>
            <Table.Tr>
              <Table.Th>{t.alertname}</Table.Th>
              <Table.Th className={classes.number}>{t.fired}</Table.Th>
              <Table.Th className={classes.number}>{t.total}</Table.Th>
              <Table.Th className={classes.number}>{t.longest}</Table.Th>
              <Table.Th className={classes.number}>{t.told}</Table.Th>
              <Table.Th>{t.lastFired}</Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {data.items.slice(0, 15).map((f) => (
              <Table.Tr key={f.alertname}>
                <Table.Td>
                  <Group gap={6}>
                    <Anchor component={Link} to={`?alertname=${encodeURIComponent(f.alertname)}`} size="sm">
                      {f.alertname}
                    </Anchor>
                    {f.firing_now > 0 && <Mark state={markOf(f.severity ?? "")}>{t.firingNow}</Mark>}
                  </Group>
                </Table.Td>
                <Table.Td className={classes.number}>{f.fired}</Table.Td>
                <Table.Td className={classes.number}>{seconds(f.firing_seconds)}</Table.Td>
                <Table.Td className={classes.number}>{seconds(f.longest_seconds)}</Table.Td>
                <Table.Td className={classes.number}>
                  {f.notifications}
                  {f.failed_notifications > 0 && (
                    <Text span size="xs" c="var(--atoll-warn)">
                      {" "}
                      · {t.failedTold(f.failed_notifications)}
                    </Text>
                  )}
                </Table.Td>
                <Table.Td>{f.last_fired_at ? ago(Date.parse(f.last_fired_at), language) : "–"}</Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </Table.ScrollContainer>
    </Card>
  );
}

type EventsProps = { from: number; to: number; params: URLSearchParams; onKinds: (kinds: string[]) => void };

function Events({ from, to, params, onKinds }: EventsProps) {
  const t = useAlertsText();
  const chosen = kinds.filter((k) => params.getAll("kind").includes(k));
  const alertname = params.get("alertname") ?? "";
  const q = params.get("q") ?? "";
  const queryKey = ["alert-history", to - from, alertname, q, chosen.join()];
  const { data, error, refetch, fetchNextPage, hasNextPage, isFetchingNextPage } = useInfiniteQuery({
    queryKey,
    initialPageParam: "",
    queryFn: async ({ pageParam, signal }) => {
      const query = {
        from: String(from),
        to: String(to),
        ...(alertname === "" ? {} : { alertname }),
        ...(q === "" ? {} : { q }),
        ...(chosen.length === 0 ? {} : { kind: chosen }),
        ...(pageParam === "" ? {} : { cursor: pageParam }),
      };
      const answer = await api.GET("/api/atoll/v1/alerts/history", { params: { query }, signal });
      return answer.data ?? { items: [] as AlertEvent[] };
    },
    getNextPageParam: (last) => ("next" in last ? last.next : undefined),
    placeholderData: (before) => before,
  });
  useRefreshOn(["alerts"], ["alert-history"]);
  if (error) return <Failed error={error} retry={() => void refetch()} />;
  if (!data) return <Loading />;
  const events = data.pages.flatMap((p) => p.items);
  return (
    <Card component="section" aria-label={t.events}>
      <Title order={2} mb="xs">
        {t.events}
      </Title>
      <Chip.Group multiple value={chosen} onChange={onKinds}>
        <Group gap={6} mb="xs" role="group" aria-label={t.kinds}>
          {kinds.map((k) => (
            <Chip key={k} value={k} size="sm">
              {t[`kind_${k}`]}
            </Chip>
          ))}
        </Group>
      </Chip.Group>
      {events.length === 0 ? (
        <Empty title={t.noHistory}>{t.noHistoryHint}</Empty>
      ) : (
        events.map((e, i) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: two notifications of one moment are alike
          <One key={`${e.at} ${e.kind} ${e.fingerprint ?? e.receiver ?? ""} ${i}`} event={e} />
        ))
      )}
      {hasNextPage && (
        <Button
          variant="default"
          h={42}
          fullWidth
          mt="sm"
          loading={isFetchingNextPage}
          onClick={() => void fetchNextPage()}
        >
          {t.more}
        </Button>
      )}
    </Card>
  );
}

function One({ event: e }: { event: AlertEvent }) {
  const t = useAlertsText();
  const { language } = useLanguage();
  const lasted =
    e.kind === "resolved" && e.started_at
      ? t.lasted(seconds((Date.parse(e.at) - Date.parse(e.started_at)) / 1000))
      : "";
  const detail = [
    e.receiver ? t.toldWhom(`${e.receiver} · ${e.integration ?? ""}`, e.alerts ?? 0) : "",
    e.by ?? "",
    e.comment ?? "",
    lasted,
    e.error ?? "",
    e.kind === "firing" ? (e.summary ?? "") : "",
  ].filter((s) => s !== "");
  return (
    <div className={classes.event}>
      <Text size="sm" c="dimmed">
        {clock(Date.parse(e.at), language)}
      </Text>
      <Stack gap={4}>
        <Group gap="xs">
          <Text size="sm" fw={600}>
            {e.alertname}
          </Text>
          <Mark state={marks[e.kind]}>{t[`kind_${e.kind}`]}</Mark>
        </Group>
        {detail.length > 0 && <Text size="sm">{detail.join(" · ")}</Text>}
        <Labels of={e.labels} without={["alertname"]} />
      </Stack>
    </div>
  );
}
