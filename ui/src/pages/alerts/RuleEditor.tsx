import {
  Alert,
  Button,
  Card,
  CopyButton,
  Group,
  SegmentedControl,
  Stack,
  Text,
  TextInput,
  Title,
} from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { notifications } from "@mantine/notifications";
import { keepPreviousData, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { lazy, Suspense, useEffect, useState } from "react";
import { useNavigate, useParams, useSearchParams } from "react-router";
import { $api, ask, Refusal, send } from "@/api/client";
import { Failed, Loading, Mark } from "@/parts/states";
import { documentPath, writeDocument } from "./api";
import { May } from "./May";
import { PreviewPanel } from "./PreviewPanel";
import { blank, divide, documentName, exprOf, type Simple, simpleOf, type Understood, yamlOf } from "./rule";
import { SimpleRule } from "./SimpleRule";
import { useAlertsText } from "./text";
import type { Problem } from "./YamlEditor";

const YamlEditor = lazy(() => import("./YamlEditor"));

type Checked = { ok: boolean; problems: Problem[]; rules: Understood[] };

const check = (kind: string, yaml: string): Promise<Checked> =>
  send("POST", "/api/atoll/v1/rules/check", { kind: kind === "globalrules" ? kind : "rules", yaml });

/** RuleEditor writes a rule as a form or as text, and shows how often it would have fired. */
export function RuleEditor() {
  const { kind = "rules", name } = useParams();
  const [params] = useSearchParams();
  const path = name === undefined ? undefined : documentPath(kind, name);
  const document = useQuery({
    queryKey: ["documents", path],
    queryFn: async () => {
      const d = await ask(path as NonNullable<typeof path>);
      const checked = await check(kind, d.value ?? "");
      return { ...d, simple: checked.ok ? simpleOf(checked.rules) : undefined };
    },
    enabled: path !== undefined,
    refetchOnWindowFocus: false,
    staleTime: Number.POSITIVE_INFINITY,
    gcTime: 0,
  });
  if (path === undefined)
    return <Editor kind={kind} simple={{ ...blank, ...divide(params.get("expr") ?? "") }} />;
  if (document.error) return <Failed error={document.error} retry={() => void document.refetch()} />;
  if (!document.data) return <Loading />;
  const { value = "", time, simple } = document.data;
  return <Editor kind={kind} name={name} text={value} tag={time} simple={simple} />;
}

type Props = {
  kind: string;
  name?: string | undefined;
  text?: string;
  tag?: string;
  /** simple is undefined where the text holds more than the form. */
  simple: Simple | undefined;
};

function Editor({ kind, name, text: initial, tag, simple: first }: Props) {
  const t = useAlertsText();
  const [params, setParams] = useSearchParams();
  const [simple, setSimple] = useState(first);
  const [text, setText] = useState(() => initial ?? yamlOf(first ?? blank));
  const [key, setKey] = useState(name ?? "");
  const advanced = params.get("mode") === "yaml" || simple === undefined;
  const [settled] = useDebouncedValue(text, 400);
  const checked = useQuery({
    queryKey: ["check", kind, settled],
    queryFn: () => check(kind, settled),
    placeholderData: keepPreviousData,
    staleTime: Number.POSITIVE_INFINITY,
  });
  // What is written as text goes into the form again, as far as that can hold it.
  useEffect(() => {
    if (advanced && checked.data?.ok && !checked.isPlaceholderData) setSimple(simpleOf(checked.data.rules));
  }, [advanced, checked.data, checked.isPlaceholderData]);
  const change = (s: Simple) => {
    setSimple(s);
    setText(yamlOf(s));
  };
  const rule = checked.data?.ok ? checked.data.rules.find((r) => r.alert !== undefined) : undefined;
  const asked = advanced
    ? {
        expr: rule?.expr ?? "",
        for: rule?.for ?? "",
        keep_firing_for: rule?.keep_firing_for ?? "",
        interval: rule?.interval ?? "",
      }
    : { expr: exprOf(simple), for: simple.for, keep_firing_for: simple.keep_firing_for };
  const complete = advanced || (simple.name.trim() !== "" && exprOf(simple) !== "");
  return (
    <Stack>
      <Group justify="space-between">
        <Title order={2}>{name ?? t.newRule}</Title>
        <SegmentedControl
          size="md"
          aria-label={t.rules}
          value={advanced ? "yaml" : "simple"}
          disabled={simple === undefined}
          onChange={(mode) =>
            setParams(
              (now) => {
                if (mode === "yaml") now.set("mode", mode);
                else now.delete("mode");
                return now;
              },
              { replace: true },
            )
          }
          data={[
            { value: "simple", label: t.simple },
            { value: "yaml", label: t.advanced },
          ]}
        />
      </Group>
      {simple === undefined && checked.data?.ok && <Text size="sm">{t.notSimple}</Text>}
      <Card>
        {advanced ? (
          <Stack gap="xs">
            <Suspense fallback={<Loading height={260} />}>
              <YamlEditor
                value={text}
                onChange={setText}
                problems={checked.data?.problems ?? []}
                label={t.advanced}
              />
            </Suspense>
            <Problems
              checked={checked.data}
              error={checked.error}
              busy={checked.isFetching || settled !== text}
            />
          </Stack>
        ) : (
          <Stack>
            <SimpleRule value={simple} onChange={change} />
            {complete && !checked.data?.ok && (
              <Problems checked={checked.data} error={checked.error} busy={settled !== text} />
            )}
          </Stack>
        )}
      </Card>
      <PreviewPanel ask={asked} />
      <Save
        kind={kind}
        name={name}
        suggested={simple === undefined ? (rule?.alert ?? "") : simple.name}
        docKey={key}
        onKey={setKey}
        text={text}
        tag={tag}
        ready={complete && checked.data?.ok === true && settled === text && !checked.isPlaceholderData}
      />
    </Stack>
  );
}

/** Problems lists what is wrong with the text, each with its line. */
function Problems({
  checked,
  error,
  busy,
}: {
  checked: Checked | undefined;
  error: Error | null;
  busy: boolean;
}) {
  const t = useAlertsText();
  if (error) return <Failed error={error} />;
  if (checked === undefined) return <Text size="sm">{t.checking}</Text>;
  return (
    <Stack gap={4} role="status" aria-busy={busy}>
      <Group>
        <Mark state={checked.ok ? "good" : "bad"}>
          {checked.problems.length === 0 ? t.noProblems : t.problems(checked.problems.length)}
        </Mark>
      </Group>
      {checked.problems.slice(0, 20).map((p) => (
        <Text key={`${p.line}:${p.column} ${p.message}`} size="sm">
          <b>{t.line(p.line)}</b>: {p.message}
        </Text>
      ))}
    </Stack>
  );
}

type SaveProps = {
  kind: string;
  name: string | undefined;
  suggested: string;
  docKey: string;
  onKey: (key: string) => void;
  text: string;
  tag: string | undefined;
  ready: boolean;
};

/** Save makes the text a document of the network, or says what to do where there is none. */
function Save({ kind, name, suggested, docKey, onKey, text, tag, ready }: SaveProps) {
  const t = useAlertsText();
  const navigate = useNavigate();
  const queries = useQueryClient();
  const { data: status } = $api.useQuery("get", "/api/atoll/v1/status", {});
  const key = name ?? (docKey.trim() || documentName(suggested));
  const act = useMutation({
    mutationFn: () => writeDocument(documentPath(kind, key), text, tag),
    onSuccess: async () => {
      notifications.show({ message: t.saved(`${kind}/${key}`) });
      await queries.invalidateQueries({ queryKey: ["documents"] });
      await queries.invalidateQueries({ queryKey: ["rules"] });
      void navigate("/alerts/rules");
    },
  });
  const copy = (
    <CopyButton value={text}>
      {({ copied, copy }) => (
        <Button variant="default" h={42} onClick={copy}>
          {copied ? t.copied : t.copy}
        </Button>
      )}
    </CopyButton>
  );
  if (status && !status.network)
    return (
      <Alert color="blue" title={t.solo}>
        <Stack align="flex-start" gap="xs">
          <Text size="sm">{t.soloHint}</Text>
          {copy}
        </Stack>
      </Alert>
    );
  const stale = act.error instanceof Refusal && (act.error.status === 412 || act.error.status === 409);
  return (
    <Card>
      <Stack gap="sm">
        {name === undefined && (
          <TextInput
            size="md"
            label={t.document}
            placeholder={documentName(suggested)}
            value={docKey}
            maxLength={100}
            onChange={(e) => onKey(e.currentTarget.value.replace(/[^A-Za-z0-9._-]/g, "-"))}
          />
        )}
        <Text size="sm" c="dimmed">
          {t.saveWhere(`${kind}/${key}`)}
        </Text>
        {act.error &&
          (stale ? (
            <Alert color="red" role="alert">
              {tag === undefined ? t.documentTaken : t.overwritten}
            </Alert>
          ) : (
            <Failed error={act.error} />
          ))}
        <Group justify="flex-end">
          {copy}
          <Button variant="default" h={42} onClick={() => void navigate(-1)}>
            {t.cancel}
          </Button>
          <May action="write">
            {(disabled) => (
              <Button
                h={42}
                loading={act.isPending}
                disabled={disabled || !ready}
                onClick={() => act.mutate()}
              >
                {t.save}
              </Button>
            )}
          </May>
        </Group>
      </Stack>
    </Card>
  );
}
