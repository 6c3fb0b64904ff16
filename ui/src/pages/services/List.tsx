import { Button, Card, Group, Select, Stack, Text, TextInput } from "@mantine/core";
import { useQueries } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { Link, useSearchParams } from "react-router";
import { Spark } from "@/chart/Spark";
import { units } from "@/chart/units";
import { Empty, Failed, Loading, PageTitle } from "@/parts/states";
import { askRange } from "@/prom/ask";
import { ScopePicker } from "@/prom/ScopePicker";
import { writeScope } from "@/prom/scope";
import { useScope } from "@/prom/useScope";
import { RangePicker } from "@/range/RangePicker";
import { type Range, rateWindow, stepFor, writeRange } from "@/range/range";
import { useRange } from "@/range/useRange";
import { percent, seconds } from "@/text/time";
import { red } from "./discover";
import { arrange, last, type Order, orders, type Service, servicesOf, stateOf } from "./list";
import classes from "./services.module.css";
import { useServiceText } from "./text";
import { useSources } from "./use";

const page = 60;

/** List shows all services that are known, those that fail most first. */
export function List() {
  const t = useServiceText();
  const [params, setParams] = useSearchParams();
  const { scope, ready, setScope } = useScope();
  const timeline = useRange("1h", "15s");
  const [shown, setShown] = useState(page);
  const { sources, error, pending, retry } = useSources(scope, ready);
  const full = timeline.span;
  // Steps are counted back from the newest moment: a row tells how things are now, not
  // at the last whole minute.
  const step = stepFor((full.to - full.from) / 1000, 60);
  const span = {
    from: full.to - Math.ceil((full.to - full.from) / 1000 / step) * step * 1000,
    to: full.to,
    step,
  };
  const asked = sources.flatMap((s) => {
    const r = red(s, rateWindow(span.step), [s.service]);
    return [
      { s, what: "rate" as const, expr: r.rate },
      { s, what: "errors" as const, expr: r.errors ?? "" },
      { s, what: "latency" as const, expr: r.latency?.(0.95) ?? "" },
    ].filter((q) => q.expr !== "");
  });
  const answers = useQueries({
    queries: asked.map((q) => ({
      queryKey: ["prom", "range", q.expr, span.from, span.to, span.step, writeScope(scope)],
      queryFn: ({ signal }: { signal: AbortSignal }) => askRange(q.expr, span, scope, signal),
      placeholderData: <T,>(before: T) => before,
      staleTime: 60_000,
      enabled: ready,
    })),
  });
  const stamp = answers.map((a) => a.dataUpdatedAt).join(" ");
  const services = useMemo(
    () =>
      sources.flatMap((s) =>
        servicesOf(
          s,
          Object.fromEntries(asked.flatMap((q, i) => (q.s === s ? [[q.what, answers[i]?.data?.lines]] : []))),
        ),
      ),
    [sources, stamp],
  );
  const words = params.get("q") ?? "";
  const given = params.get("order") as Order | null;
  const order: Order = given !== null && orders.includes(given) ? given : "errors";
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
  const rows = arrange(services, words, order);
  const failed = error ?? answers.find((a) => a.error)?.error;
  const waiting = pending || answers.some((a, i) => asked[i]?.what === "rate" && a.isPending);
  const label = { errors: t.byErrors, rate: t.byRate, latency: t.byLatency, name: t.byName };
  return (
    <Stack gap="md">
      <PageTitle
        note={services.length > 0 ? t.count(services.length) : undefined}
        actions={
          <>
            <ScopePicker scope={scope} onChange={setScope} />
            <RangePicker timeline={timeline} />
          </>
        }
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
      {failed && <Failed error={failed} retry={retry} />}
      {waiting ? (
        <Loading height={320} />
      ) : services.length === 0 ? (
        !failed && <Empty title={t.emptyTitle}>{t.emptyText}</Empty>
      ) : rows.length === 0 ? (
        <Empty title={t.noMatch}>{t.noMatchText}</Empty>
      ) : (
        <Card padding={0}>
          {rows.slice(0, shown).map((s) => (
            <Row
              key={`${s.source.id} ${s.name}`}
              service={s}
              span={span}
              scope={writeScope(scope)}
              range={timeline.range}
            />
          ))}
        </Card>
      )}
      {rows.length > shown && (
        <Button variant="default" onClick={() => setShown(shown + page)}>
          {t.more(Math.min(page, rows.length - shown))}
        </Button>
      )}
    </Stack>
  );
}

function Row({
  service,
  span,
  scope,
  range,
}: {
  service: Service;
  span: { from: number; to: number };
  scope: string;
  range: Range;
}) {
  const t = useServiceText();
  const share = last(service.errors);
  const query = writeRange(new URLSearchParams({ source: service.source.id, scope }), range);
  return (
    <Link className={classes.row} to={`/services/${encodeURIComponent(service.name)}?${query}`}>
      <div>
        <Text fw={600}>{service.name}</Text>
        <Text size="xs" c="dimmed">
          {t.from(service.source.requests)}
        </Text>
      </div>
      <Figure label={t.rate} points={service.rate} write={units.perSecond} span={span} tone={0} />
      <Figure
        label={t.errors}
        points={service.errors}
        write={percent}
        span={span}
        tone={1}
        state={stateOf(share)}
      />
      <Figure label={t.latency} points={service.latency} write={seconds} span={span} tone={2} />
    </Link>
  );
}

function Figure({
  label,
  points,
  write,
  span,
  tone,
  state = "good",
}: {
  label: string;
  points: readonly (readonly [number, number])[];
  write: (v: number) => string;
  span: { from: number; to: number };
  tone: number;
  state?: "good" | "warn" | "bad";
}) {
  const t = useServiceText();
  const v = last(points);
  return (
    <div className={classes.number}>
      <div>
        <Text size="xs" c="dimmed">
          {label}
        </Text>
        <Text size="sm" fw={600} className={classes.value} data-state={state}>
          {v === undefined ? t.unknown : write(v)}
        </Text>
      </div>
      {points.length > 1 && <Spark points={points} from={span.from} to={span.to} label={label} tone={tone} />}
    </div>
  );
}
