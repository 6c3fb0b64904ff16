import {
  Anchor,
  Button,
  Card,
  Code,
  Group,
  Modal,
  Stack,
  Table,
  Text,
  Textarea,
  TextInput,
  Title,
} from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { notifications } from "@mantine/notifications";
import { IconSearch } from "@tabler/icons-react";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { diffLines } from "diff";
import { useState } from "react";
import { Link, useNavigate, useParams, useSearchParams } from "react-router";
import { ask, headersFor, Refusal, refusalOf, send } from "@/api/client";
import { useRefreshOn } from "@/api/events";
import { useAccess } from "@/api/session";
import { Empty, Failed, Loading, Mark, PageTitle } from "@/parts/states";
import { useLanguage } from "@/text/text";
import { bytes, clock } from "@/text/time";
import { addressOf } from "./address";
import { Sure } from "./Sure";
import classes from "./settings.module.css";
import { useSettingsText } from "./text";

export type Doc = {
  key: string;
  value?: string;
  time: string;
  modified: string;
  deleted?: boolean;
  author: string;
  bytes: number;
};
type Version = Doc & { until: string; reason?: string; void?: boolean };

const base = "/api/atoll/v1/documents";
const documentPath = (kind: string, name: string) =>
  `${base}/${encodeURIComponent(kind)}/${encodeURIComponent(name)}` as const;
type Path = ReturnType<typeof documentPath>;

/** Documents lists what the islands of the network share. */
export function Documents() {
  const t = useSettingsText();
  const { language } = useLanguage();
  const { may } = useAccess();
  const navigate = useNavigate();
  const [params, setParams] = useSearchParams();
  const [adding, add] = useDisclosure(false);
  const documents = useQuery({ queryKey: ["documents"], queryFn: () => ask(base) });
  useRefreshOn(["documents"], ["documents"]);
  if (documents.error instanceof Refusal && documents.error.status < 500)
    return <Empty title={t.noDocuments}>{t.noNetwork}</Empty>;
  if (documents.error) return <Failed error={documents.error} retry={() => void documents.refetch()} />;
  if (!documents.data) return <Loading />;
  const q = params.get("q") ?? "";
  const shown = documents.data.documents.filter(
    (d) => !d.deleted && d.key.toLowerCase().includes(q.toLowerCase()),
  );
  return (
    <>
      <Group>
        <TextInput
          flex={1}
          type="search"
          aria-label={t.search}
          placeholder={t.search}
          leftSection={<IconSearch size={16} />}
          value={q}
          onChange={(e) =>
            setParams(e.currentTarget.value === "" ? {} : { q: e.currentTarget.value }, { replace: true })
          }
        />
        <Button onClick={add.open} disabled={!may("write") && !may("administer")}>
          {t.newDocument}
        </Button>
      </Group>
      {shown.length === 0 ? (
        <Empty title={t.noDocuments} />
      ) : (
        <Card p={0}>
          <Table fz="sm">
            <Table.Thead>
              <Table.Tr>
                <Table.Th>{t.name}</Table.Th>
                <Table.Th>{t.changed}</Table.Th>
                <Table.Th ta="right" visibleFrom="sm">
                  {t.size}
                </Table.Th>
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {shown.slice(0, 500).map((d) => (
                <Table.Tr key={d.key}>
                  <Table.Td>
                    <Anchor component={Link} to={addressOf(d.key)} size="sm">
                      {d.key}
                    </Anchor>
                  </Table.Td>
                  <Table.Td>{clock(Date.parse(d.modified), language)}</Table.Td>
                  <Table.Td ta="right" visibleFrom="sm">
                    {bytes(d.bytes)}
                  </Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        </Card>
      )}
      <Modal
        opened={adding}
        onClose={add.close}
        title={t.newDocument}
        closeButtonProps={{ "aria-label": t.close }}
      >
        <form
          onSubmit={(e) => {
            e.preventDefault();
            const key = String(new FormData(e.currentTarget).get("key"));
            void navigate(`${addressOf(key)}?edit=1`);
          }}
        >
          <Stack>
            <TextInput name="key" label={t.key} required pattern="[^/]+/.+" data-autofocus />
            <Button type="submit">{t.newDocument}</Button>
          </Stack>
        </form>
      </Modal>
    </>
  );
}

/** Document shows one, lets people edit it, and tells how it came to be so. */
export function Document() {
  const t = useSettingsText();
  const { kind = "", name = "" } = useParams();
  const { may } = useAccess();
  const [params, setParams] = useSearchParams();
  const path = documentPath(kind, name);
  const history = useQuery({
    queryKey: ["documents", kind, name],
    queryFn: async () => {
      try {
        return await ask(`${path}/history`);
      } catch (e) {
        if (e instanceof Refusal && e.status === 404) return { versions: [] as Version[] };
        throw e;
      }
    },
  });
  if (history.error) return <Failed error={history.error} retry={() => void history.refetch()} />;
  if (!history.data) return <Loading />;
  const current = "current" in history.data ? history.data.current : undefined;
  const editing = params.get("edit") === "1";
  return (
    <Stack>
      <Anchor component={Link} to="/settings/documents" size="sm">
        ← {t.documents}
      </Anchor>
      <PageTitle
        actions={
          <>
            {!editing && (
              <Button
                variant="default"
                disabled={!may("write") && !may("administer")}
                onClick={() => setParams({ edit: "1" })}
              >
                {t.change}
              </Button>
            )}
            {current && !current.deleted && (
              <Delete path={path} name={`${kind}/${name}`} time={current.time} />
            )}
          </>
        }
      >
        {kind}/{name}
      </PageTitle>
      {editing ? (
        <Edit path={path} current={current} onDone={() => setParams({})} />
      ) : (
        <Code block className={classes.value}>
          {current?.deleted ? t.deleted : (current?.value ?? "")}
        </Code>
      )}
      <History path={path} current={current} versions={history.data.versions ?? []} />
    </Stack>
  );
}

/** put writes text over the version of time, or anew where there is none: nobody's change is lost. */
async function put(path: string, text: string, time: string | undefined): Promise<void> {
  const r = await fetch(path, {
    method: "PUT",
    headers: {
      "Content-Type": "text/plain; charset=utf-8",
      ...headersFor("PUT"),
      ...(time === undefined ? { "If-None-Match": "*" } : { "If-Match": `"${time}"` }),
    },
    body: text,
  });
  if (!r.ok) throw await refusalOf(r);
}

function useChanged() {
  const queries = useQueryClient();
  return () => queries.invalidateQueries({ queryKey: ["documents"] });
}

function Edit({ path, current, onDone }: { path: string; current: Doc | undefined; onDone: () => void }) {
  const t = useSettingsText();
  const changed = useChanged();
  const [text, setText] = useState(current?.value ?? "");
  const act = useMutation({
    mutationFn: () => put(path, text, current?.time),
    onSuccess: async () => {
      notifications.show({ message: t.saved });
      onDone();
      await changed();
    },
  });
  return (
    <Stack>
      <Textarea
        aria-label={t.value}
        autosize
        minRows={12}
        maxRows={40}
        value={text}
        onChange={(e) => setText(e.currentTarget.value)}
        classNames={{ input: classes.editor }}
        spellCheck={false}
      />
      {act.error && <Failed error={act.error} />}
      <Group justify="flex-end">
        <Button variant="default" onClick={onDone}>
          {t.cancel}
        </Button>
        <Button loading={act.isPending} onClick={() => act.mutate()}>
          {t.save}
        </Button>
      </Group>
    </Stack>
  );
}

function Delete({ path, name, time }: { path: Path; name: string; time: string }) {
  const t = useSettingsText();
  const { may } = useAccess();
  const changed = useChanged();
  const [asking, sure] = useDisclosure(false);
  const act = useMutation({
    mutationFn: () => send("DELETE", path, undefined, { "If-Match": `"${time}"` }),
    onSuccess: async () => {
      sure.close();
      await changed();
    },
  });
  return (
    <>
      <Button color="red" variant="light" disabled={!may("write") && !may("administer")} onClick={sure.open}>
        {t.remove}
      </Button>
      <Sure
        title={t.deleteDocument(name)}
        consequence={t.deleteDocumentHint}
        deed={t.remove}
        opened={asking}
        onClose={sure.close}
        act={act}
      />
    </>
  );
}

/** History shows each version against the one after it. */
function History({
  path,
  current,
  versions,
}: {
  path: string;
  current: Doc | undefined;
  versions: readonly Version[];
}) {
  const t = useSettingsText();
  const { language } = useLanguage();
  const { may } = useAccess();
  const changed = useChanged();
  const restore = useMutation({
    mutationFn: (v: Version) => put(path, v.value ?? "", current?.time),
    onSuccess: changed,
  });
  if (versions.length === 0) return <Text c="dimmed">{t.noVersions}</Text>;
  const newest = [...versions].sort((a, b) => Date.parse(b.modified) - Date.parse(a.modified));
  return (
    <Stack>
      <Title order={2}>{t.history}</Title>
      {restore.error && <Failed error={restore.error} />}
      {newest.map((v, i) => {
        const next = i === 0 ? current : newest[i - 1];
        return (
          <Card key={v.time} p="sm">
            <Group justify="space-between">
              <Text size="sm">
                {clock(Date.parse(v.modified), language)} – {clock(Date.parse(v.until), language)} ·{" "}
                {v.author.slice(-8)}
                {v.deleted ? ` · ${t.deleted}` : ""}
              </Text>
              {v.void && <Mark state="warn">{`${t.void}: ${v.reason ?? ""}`}</Mark>}
              {!v.deleted && (
                <Button
                  size="compact-sm"
                  variant="subtle"
                  disabled={!may("write") && !may("administer")}
                  onClick={() => restore.mutate(v)}
                >
                  {t.restore}
                </Button>
              )}
            </Group>
            <Diff from={v.value ?? ""} to={next?.value ?? ""} />
          </Card>
        );
      })}
    </Stack>
  );
}

function Diff({ from, to }: { from: string; to: string }) {
  let at = 0;
  return (
    <pre className={classes.diff}>
      {diffLines(from, to).map((part) => {
        at += part.count;
        const sign = part.added ? "+" : part.removed ? "-" : " ";
        return (
          <span key={`${sign}${at}`} data-sign={sign}>
            {part.value
              .replace(/\n$/, "")
              .split("\n")
              .map((line) => `${sign} ${line}\n`)
              .join("")}
          </span>
        );
      })}
    </pre>
  );
}
