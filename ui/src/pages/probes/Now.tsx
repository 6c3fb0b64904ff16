import {
  Anchor,
  Button,
  Card,
  Checkbox,
  Code,
  Group,
  Progress,
  Select,
  SimpleGrid,
  Stack,
  Text,
  TextInput,
} from "@mantine/core";
import { useRef, useState } from "react";
import { Link, useSearchParams } from "react-router";
import { headersFor, refusalOf } from "@/api/client";
import { useAccess } from "@/api/session";
import { Failed, Mark, PageTitle } from "@/parts/states";
import { seconds } from "@/text/time";
import { type End, lines, type Plan, type Result, type RunEvent, stateOf } from "./model";
import { HopTable } from "./Target";
import { useProbesText } from "./text";
import { PhaseKey, Waterfall } from "./Waterfall";

const types = [
  "http",
  "http3",
  "websocket",
  "grpc",
  "tcp",
  "tls",
  "icmp",
  "mtr",
  "dns",
  "ntp",
  "ssh",
  "smtp",
  "imap",
  "pop3",
  "redis",
  "mysql",
  "postgres",
  "browser",
];
const pause = 5_000;

type Run = { plan?: Plan; results: Result[]; end?: End };

/** Now probes a target at once from chosen vantages and shows what they find as they find it. */
export function Now() {
  const t = useProbesText();
  const { may, session } = useAccess();
  const [params, setParams] = useSearchParams();
  const [run, setRun] = useState<Run>({ results: [] });
  const [trouble, setTrouble] = useState<unknown>();
  const [busy, setBusy] = useState(false);
  const stopping = useRef<AbortController | null>(null);
  const value = (name: string, otherwise: string) => params.get(name) ?? otherwise;
  const change = (name: string, v: string) =>
    setParams(
      (now) => {
        if (v === "") now.delete(name);
        else now.set(name, v);
        return now;
      },
      { replace: true },
    );
  const watch = value("watch", "") !== "";

  const once = async (signal: AbortSignal) => {
    const asked = new URLSearchParams({
      target: value("target", "").trim(),
      module: value("type", "http"),
      from: value("from", "all"),
    });
    const response = await fetch(`/api/v1/probes/run?${asked}`, {
      method: "POST",
      headers: headersFor("POST"),
      signal,
    });
    if (!response.ok || response.body === null) throw await refusalOf(response);
    setRun({ results: [] });
    for await (const event of lines<RunEvent>(response.body)) {
      setRun((now) => ({
        plan: event.plan ?? now.plan,
        results: event.result ? [...now.results, event.result] : now.results,
        end: event.end ?? now.end,
      }));
    }
  };
  const start = async () => {
    const stop = new AbortController();
    stopping.current = stop;
    setTrouble(undefined);
    setBusy(true);
    try {
      do {
        await once(stop.signal);
        if (watch) await new Promise((r) => setTimeout(r, pause));
      } while (watch && !stop.signal.aborted);
    } catch (e) {
      if (!stop.signal.aborted) setTrouble(e);
    } finally {
      setBusy(false);
    }
  };
  const allowed = may("probe") || session === undefined;
  const scale = Math.max(...run.results.map((r) => r.tookSeconds ?? 0), 0);
  return (
    <Stack gap="md">
      <Anchor component={Link} to="/probes" size="sm">
        ← {t.back}
      </Anchor>
      <PageTitle note={t.nowHint}>{t.now}</PageTitle>
      <Card>
        <form
          onSubmit={(e) => {
            e.preventDefault();
            void start();
          }}
        >
          <SimpleGrid cols={{ base: 1, sm: 2, lg: 4 }}>
            <TextInput
              label={t.targetBox}
              placeholder="https://example.com/"
              required
              value={value("target", "")}
              onChange={(e) => change("target", e.currentTarget.value)}
            />
            <Select
              label={t.type}
              data={types}
              searchable
              allowDeselect={false}
              value={value("type", "http")}
              onChange={(v) => change("type", v ?? "http")}
            />
            <TextInput
              label={t.from}
              placeholder={t.fromHint}
              value={value("from", "all")}
              onChange={(e) => change("from", e.currentTarget.value)}
            />
            <Group align="flex-end">
              <Checkbox
                label={t.watch}
                checked={watch}
                onChange={(e) => change("watch", e.currentTarget.checked ? "1" : "")}
                mb={8}
              />
              {busy ? (
                <Button variant="default" onClick={() => stopping.current?.abort()}>
                  {t.stop}
                </Button>
              ) : (
                <Button type="submit" disabled={!allowed}>
                  {t.run}
                </Button>
              )}
            </Group>
          </SimpleGrid>
        </form>
        {!allowed && (
          <Anchor component={Link} to="/login?to=/probes/now" size="sm">
            {t.signIn}
          </Anchor>
        )}
      </Card>
      {trouble !== undefined && <Failed error={trouble} />}
      {run.plan && (
        <Card>
          <Group justify="space-between" mb="sm">
            <Text size="sm">{t.waiting(run.results.length, run.plan.vantages.length)}</Text>
            <PhaseKey />
          </Group>
          {busy && (
            <Progress
              value={(run.results.length / Math.max(run.plan.vantages.length, 1)) * 100}
              mb="sm"
              aria-label={t.now}
            />
          )}
          <Stack gap="md">
            {run.results.map((r) => (
              <Line key={r.vantage} result={r} scale={scale} />
            ))}
          </Stack>
          {run.end && (
            <Group mt="md" data-testid="end">
              <Mark state={stateOf(run.end.state)}>{t.states[run.end.state] ?? run.end.state}</Mark>
              <Text fw={500}>{run.end.words}</Text>
            </Group>
          )}
        </Card>
      )}
    </Stack>
  );
}

function Line({ result: r, scale }: { result: Result; scale: number }) {
  return (
    <div>
      <Group gap="sm" mb={4}>
        <Text fw={600} miw={110}>
          {r.vantage}
        </Text>
        <Mark state={stateOf(r.state)}>{r.state}</Mark>
        <Text size="sm">{r.tookSeconds === undefined ? "" : seconds(r.tookSeconds)}</Text>
        <Text size="sm" c="dimmed">
          {[r.region, r.isp, r.answered, r.remark].filter(Boolean).join(" · ")}
        </Text>
      </Group>
      {r.tookSeconds !== undefined && <Waterfall of={r.phases} took={r.tookSeconds} scale={scale} />}
      {r.words && (
        <Text size="sm" mt={4}>
          {r.words}
        </Text>
      )}
      {r.records && r.records.length > 0 && (
        <Code block mt={4}>
          {r.records.join("\n")}
        </Code>
      )}
      {r.hops && r.hops.length > 0 && (
        <HopTable hops={r.hops.map((h) => ({ ...h, rtts: h.rttSeconds ?? [] }))} />
      )}
    </div>
  );
}
