import { Button, Card, Group, Select, Stack, Text, TextInput } from "@mantine/core";
import { useQueries } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { Link, useSearchParams } from "react-router";
import { Empty, Failed, Loading, Mark, PageTitle } from "@/parts/states";
import { askInstant } from "@/prom/ask";
import { ReceiptLine } from "@/prom/ReceiptLine";
import { ScopePicker } from "@/prom/ScopePicker";
import { writeScope } from "@/prom/scope";
import { useScope } from "@/prom/useScope";
import { percent, seconds } from "@/text/time";
import { type ListQuery, listQueries } from "./charts";
import classes from "./hosts.module.css";
import { arrange, type Host, hostsOf, type Order, orders, perCore, silent } from "./list";
import { useHostText } from "./text";

const page = 100;
const every = 15_000;

/** List shows all hosts that are measured, those under most strain first. */
export function List() {
  const t = useHostText();
  const [params, setParams] = useSearchParams();
  const { scope, ready, setScope } = useScope();
  const [shown, setShown] = useState(page);
  const queries = listQueries("2m");
  const names = Object.keys(queries) as ListQuery[];
  const answers = useQueries({
    queries: names.map((n) => ({
      queryKey: ["hosts", n, writeScope(scope)],
      queryFn: ({ signal }: { signal: AbortSignal }) => askInstant(queries[n], Date.now(), scope, signal),
      refetchInterval: every,
      enabled: ready,
    })),
  });
  const stamp = answers.map((a) => a.dataUpdatedAt).join(" ");
  const hosts = useMemo(
    () => hostsOf(Object.fromEntries(names.map((n, i) => [n, answers[i]?.data?.lines]))),
    [stamp],
  );
  const words = params.get("q") ?? "";
  const given = params.get("order") as Order | null;
  const order: Order = given !== null && orders.includes(given) ? given : "strain";
  const set = (name: string, value: string) =>
    setParams(
      (p) => {
        const next = new URLSearchParams(p);
        if (value === "") next.delete(name);
        else next.set(name, value);
        return next;
      },
      { replace: true },
    );
  const rows = arrange(hosts, words, order);
  const [info, bare] = answers;
  const error = info?.error ?? bare?.error;
  const pending = answers[0]?.isPending || answers[1]?.isPending;
  const label = {
    strain: t.strain,
    name: t.name,
    cpu: t.cpuOrder,
    memory: t.memoryOrder,
    disk: t.diskOrder,
    load: t.loadOrder,
  };
  return (
    <Stack gap="md">
      <PageTitle
        note={hosts.length > 0 ? t.count(hosts.length) : undefined}
        actions={<ScopePicker scope={scope} onChange={setScope} />}
      >
        {t.title}
      </PageTitle>
      <Group gap="sm">
        <TextInput
          type="search"
          flex={1}
          miw={200}
          maw={420}
          aria-label={t.filter}
          placeholder={t.filter}
          defaultValue={words}
          onChange={(e) => set("q", e.currentTarget.value)}
        />
        <Select
          aria-label={t.order}
          w={200}
          allowDeselect={false}
          value={order}
          onChange={(v) => v && set("order", v)}
          data={orders.map((o) => ({ value: o, label: label[o] }))}
        />
      </Group>
      {error ? (
        <Failed error={error} retry={() => answers.forEach((a) => void a.refetch())} />
      ) : pending ? (
        <Loading height={320} />
      ) : hosts.length === 0 ? (
        <Empty title={t.emptyTitle}>{t.emptyText}</Empty>
      ) : rows.length === 0 ? (
        <Empty title={t.noMatch}>{t.noMatchText}</Empty>
      ) : (
        <Card padding={0}>
          {rows.slice(0, shown).map((h) => (
            <Row key={`${h.island}/${h.instance}`} host={h} />
          ))}
        </Card>
      )}
      {rows.length > shown && (
        <Button variant="default" onClick={() => setShown(shown + page)}>
          {t.more(Math.min(page, rows.length - shown))}
        </Button>
      )}
      {info?.data && <ReceiptLine answer={info.data} />}
    </Stack>
  );
}

function Row({ host }: { host: Host }) {
  const t = useHostText();
  const load = perCore(host);
  return (
    <Link
      className={classes.row}
      to={`/hosts/${encodeURIComponent(host.instance)}${host.island === "" ? "" : `?island=${encodeURIComponent(host.island)}`}`}
    >
      <div>
        <Group gap="xs">
          <Text fw={600}>{host.instance}</Text>
          {silent(host) && <Mark state="bad">{t.silent}</Mark>}
        </Group>
        <Text size="xs" c="dimmed">
          {[
            host.island,
            host.nodename === host.instance ? "" : host.nodename,
            host.boot ? t.up(seconds(Date.now() / 1000 - host.boot)) : "",
          ]
            .filter((w) => w !== "")
            .join(" · ")}
        </Text>
      </div>
      <Bar label={t.cpu} share={host.cpu} text={host.cpu === undefined ? "–" : percent(host.cpu)} />
      <Bar
        label={t.memory}
        share={host.memory}
        text={host.memory === undefined ? "–" : percent(host.memory)}
      />
      <Bar label={t.disk} share={host.disk} text={host.disk === undefined ? "–" : percent(host.disk)} />
      <Bar label={t.load} share={load} text={load === undefined ? "–" : load.toFixed(2)} />
    </Link>
  );
}

function Bar({ label, share, text }: { label: string; share: number | undefined; text: string }) {
  const full = Math.min(Math.max(share ?? 0, 0), 1);
  const state = full >= 0.95 ? "bad" : full >= 0.8 ? "warn" : "good";
  return (
    <div>
      <Group justify="space-between" gap={4} wrap="nowrap">
        <Text size="xs" c="dimmed">
          {label}
        </Text>
        <Text size="xs" fw={600}>
          {text}
        </Text>
      </Group>
      <div className={classes.bar} aria-hidden>
        <i data-state={state} style={{ width: `${full * 100}%` }} />
      </div>
    </div>
  );
}
