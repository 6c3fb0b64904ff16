import { Anchor, Button, Card, Code, Group, SimpleGrid, Stack, Table, Text, Title } from "@mantine/core";
import { IconDownload } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { Link, useParams, useSearchParams } from "react-router";
import { refusalOf } from "@/api/client";
import { Empty, Failed, Loading, Mark, PageTitle } from "@/parts/states";
import { useLanguage } from "@/text/text";
import { bytes, clock } from "@/text/time";
import { data } from "./api";
import type { Hop } from "./model";
import classes from "./probes.module.css";
import { HopTable } from "./Target";
import { useProbesText } from "./text";

type Manifest = {
  failure: string;
  definition: string;
  target: string;
  address?: string;
  vantage: string;
  role: string;
  at: string;
  code?: string;
  words?: string;
  up: boolean;
  files: { name: string; size: number }[];
  missing?: Record<string, string>;
  island: string;
};
type Found = { bundles: Manifest[] | null; unanswered?: { island: string; error: string }[] | null };

const base = "/api/v1/probes/evidence";
const fileAt = (m: Manifest, name: string) =>
  `${base}/${[m.failure, m.island, name].map(encodeURIComponent).join("/")}`;

/** Bundles lists what was found out when targets failed, the newest first. */
export function Bundles() {
  const t = useProbesText();
  const { language } = useLanguage();
  const [params] = useSearchParams();
  const asked = new URLSearchParams({ limit: "200" });
  for (const name of ["definition", "instance"]) {
    const value = params.get(name);
    if (value !== null) asked.set(name, value);
  }
  const found = useQuery({
    queryKey: ["probes", "evidence", String(asked)],
    queryFn: () => data<Found>(`${base}?${asked}`),
    refetchInterval: 15_000,
  });
  if (found.error) return <Failed error={found.error} retry={() => void found.refetch()} />;
  if (!found.data) return <Loading />;
  const bundles = found.data.bundles ?? [];
  return (
    <Stack>
      <Back />
      <PageTitle>{t.bundles}</PageTitle>
      {(found.data.unanswered ?? []).length > 0 && (
        <Text size="sm">{t.unanswered((found.data.unanswered ?? []).map((u) => u.island).join(", "))}</Text>
      )}
      {bundles.length === 0 && <Empty title={t.noEvidence}>{t.noEvidenceHint}</Empty>}
      {bundles.map((m) => (
        <Card key={m.failure + m.island} p="sm">
          <Group gap="sm" wrap="nowrap" align="flex-start">
            <Mark state={m.role === "failing" ? "bad" : "good"}>
              {m.role === "failing" ? t.failing : t.healthy}
            </Mark>
            <div>
              <Anchor component={Link} to={`/probes/evidence/${encodeURIComponent(m.failure)}`} fw={600}>
                {m.target}
              </Anchor>
              <Text size="sm">{[m.vantage, m.words].filter(Boolean).join(": ")}</Text>
              <Text size="xs" c="dimmed">
                {m.definition} · {clock(Date.parse(m.at), language)}
              </Text>
            </div>
          </Group>
        </Card>
      ))}
    </Stack>
  );
}

function Back() {
  const t = useProbesText();
  return (
    <Anchor component={Link} to="/probes" size="sm" py={10} my={-10}>
      ← {t.back}
    </Anchor>
  );
}

/** Bundle shows the evidence of one failure: the failing vantage beside the healthy one. */
export function Bundle() {
  const t = useProbesText();
  const { failure = "" } = useParams();
  const found = useQuery({
    queryKey: ["probes", "evidence", failure],
    queryFn: () => data<Found>(`${base}/${encodeURIComponent(failure)}`),
  });
  if (found.error) return <Failed error={found.error} retry={() => void found.refetch()} />;
  if (!found.data) return <Loading />;
  const bundles = [...(found.data.bundles ?? [])].sort((a) => (a.role === "failing" ? -1 : 1));
  return (
    <Stack>
      <Back />
      <PageTitle note={bundles[0]?.words}>{bundles[0]?.target ?? t.noEvidence}</PageTitle>
      <SimpleGrid cols={{ base: 1, lg: Math.min(Math.max(bundles.length, 1), 2) }}>
        {bundles.map((m) => (
          <Side key={m.island} manifest={m} />
        ))}
      </SimpleGrid>
    </Stack>
  );
}

function Side({ manifest: m }: { manifest: Manifest }) {
  const t = useProbesText();
  const { language } = useLanguage();
  const has = (name: string) => m.files.some((f) => f.name === name);
  return (
    <Stack>
      <Card>
        <Group justify="space-between">
          <div>
            <Group gap="xs">
              <Title order={2}>{m.vantage}</Title>
              <Mark state={m.role === "failing" ? "bad" : "good"}>
                {m.role === "failing" ? t.failing : t.healthy}
              </Mark>
            </Group>
            <Text size="sm" c="dimmed">
              {clock(Date.parse(m.at), language)} {m.address ?? ""}
            </Text>
          </div>
          <Button
            component="a"
            href={`${base}/${encodeURIComponent(m.failure)}/${encodeURIComponent(m.island)}`}
            download
            variant="default"
            leftSection={<IconDownload size={16} />}
          >
            {t.download}
          </Button>
        </Group>
        {m.words && <Text mt="xs">{m.words}</Text>}
        {Object.entries(m.missing ?? {}).map(([file, why]) => (
          <Text key={file} size="sm" c="dimmed">
            {file}: {why}
          </Text>
        ))}
      </Card>
      {has("trace.json") && (
        <Part title={t.trace} manifest={m} name="trace.json" draw={(text) => <Trace text={text} />} />
      )}
      {has("dns.json") && (
        <Part title={t.dns} manifest={m} name="dns.json" draw={(text) => <Names text={text} />} />
      )}
      {has("chain.json") && (
        <Part title={t.chain} manifest={m} name="chain.json" draw={(text) => <Chain text={text} />} />
      )}
      {has("response.txt") && (
        <Part title={t.response} manifest={m} name="response.txt" draw={(text) => <Plain text={text} />} />
      )}
      {has("probe.json") && (
        <Part title={t.look} manifest={m} name="probe.json" draw={(text) => <Plain text={text} />} />
      )}
      {has("flow.pcapng") && (
        <Card>
          <Title order={3}>{t.packets}</Title>
          <Anchor href={fileAt(m, "flow.pcapng")} download>
            flow.pcapng, {bytes(m.files.find((f) => f.name === "flow.pcapng")?.size ?? 0)}
          </Anchor>{" "}
          <Text span size="sm" c="dimmed">
            {t.packetsHint}
          </Text>
        </Card>
      )}
    </Stack>
  );
}

type PartProps = { title: string; manifest: Manifest; name: string; draw: (text: string) => React.ReactNode };

function Part({ title, manifest, name, draw }: PartProps) {
  const t = useProbesText();
  const file = useQuery({
    queryKey: ["probes", "evidence", manifest.failure, manifest.island, name],
    queryFn: async () => {
      const r = await fetch(fileAt(manifest, name));
      if (!r.ok) throw await refusalOf(r);
      return r.text();
    },
    staleTime: Number.POSITIVE_INFINITY,
  });
  return (
    <Card>
      <Group justify="space-between" mb="xs">
        <Title order={3}>{title}</Title>
        <Anchor href={fileAt(manifest, name)} download size="sm">
          {t.file}
        </Anchor>
      </Group>
      {file.isPending && <Loading height={80} />}
      {file.error && <Failed error={file.error} />}
      {file.data !== undefined && draw(file.data)}
    </Card>
  );
}

function Plain({ text }: { text: string }) {
  return (
    <Code block className={classes.pre}>
      {text}
    </Code>
  );
}

function Trace({ text }: { text: string }) {
  const trace = JSON.parse(text) as {
    to: string;
    over: string;
    port?: number;
    reached: boolean;
    words?: string;
    hops: (Hop & { rttMilliseconds?: number[] })[] | null;
  };
  return (
    <>
      <Text size="sm">
        {trace.to}
        {trace.port ? `:${trace.port}` : ""} ({trace.over}) {trace.words ?? ""}
      </Text>
      <HopTable
        hops={(trace.hops ?? []).map((h) => ({
          ...h,
          rtts: (h.rttMilliseconds ?? []).map((ms) => ms / 1000),
        }))}
      />
    </>
  );
}

type NameAnswers = {
  host: string;
  resolver: { addresses: string[] | null; error?: string; tookMilliseconds: number };
  problem?: string;
  servers:
    | {
        role: string;
        name?: string;
        address?: string;
        error?: string;
        answers?: { type: string; code?: string; records: string[] | null; error?: string }[];
      }[]
    | null;
};

function Names({ text }: { text: string }) {
  const names = JSON.parse(text) as NameAnswers;
  const rows = [
    { who: "system", what: names.resolver.error ?? (names.resolver.addresses ?? []).join(", ") },
    ...(names.servers ?? []).map((s) => ({
      who: [s.role, s.name, s.address].filter(Boolean).join(" "),
      what:
        s.error ??
        (s.answers ?? [])
          .map(
            (a) =>
              `${a.type}: ${a.error ?? ([a.code, ...(a.records ?? [])].filter(Boolean).join(", ") || "–")}`,
          )
          .join("; "),
    })),
  ];
  return (
    <Table fz="sm">
      <Table.Tbody>
        {rows.map((r) => (
          <Table.Tr key={r.who}>
            <Table.Td>{r.who}</Table.Td>
            <Table.Td>{r.what}</Table.Td>
          </Table.Tr>
        ))}
      </Table.Tbody>
    </Table>
  );
}

type ChainText = {
  valid: boolean;
  problem?: string;
  version: string;
  cipher: string;
  certificates:
    | {
        subject: string;
        issuer: string;
        notAfter: string;
        sha256: string;
        names?: string[];
        revocation?: string;
      }[]
    | null;
};

function Chain({ text }: { text: string }) {
  const t = useProbesText();
  const { language } = useLanguage();
  const chain = JSON.parse(text) as ChainText;
  return (
    <>
      <Group gap="xs" mb="xs">
        <Mark state={chain.valid ? "good" : "bad"}>
          {chain.valid ? t.validChain : (chain.problem ?? "–")}
        </Mark>
        <Text size="sm" c="dimmed">
          {chain.version} · {chain.cipher}
        </Text>
      </Group>
      {(chain.certificates ?? []).map((c) => (
        <Table key={c.sha256} fz="sm" mb="xs">
          <Table.Tbody>
            <Table.Tr>
              <Table.Th w={110}>{t.subject}</Table.Th>
              <Table.Td>
                {c.subject} {(c.names ?? []).join(", ")}
              </Table.Td>
            </Table.Tr>
            <Table.Tr>
              <Table.Th>{t.issuer}</Table.Th>
              <Table.Td>{c.issuer}</Table.Td>
            </Table.Tr>
            <Table.Tr>
              <Table.Th>{t.until}</Table.Th>
              <Table.Td>
                {clock(Date.parse(c.notAfter), language)} {c.revocation ?? ""}
              </Table.Td>
            </Table.Tr>
          </Table.Tbody>
        </Table>
      ))}
    </>
  );
}
