import { Alert, Code, Collapse, Group, ScrollArea, Stack, Table, Text, UnstyledButton } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconChevronDown, IconChevronRight } from "@tabler/icons-react";
import { Mark, type State } from "@/parts/states";
import { useLanguage } from "@/text/text";
import { ago, bytes, count, seconds } from "@/text/time";
import type { Answer, IslandPart, Receipt } from "./answer";
import { summary } from "./receipt";
import { usePromText } from "./text";

/** ReceiptLine says under a chart who answered, how much came, how fresh it is, and what is missing. */
export function ReceiptLine({ answer }: { answer: Answer }) {
  const t = usePromText();
  const { language } = useLanguage();
  const [opened, details] = useDisclosure(false);
  const { receipt } = answer;
  const s = receipt ? summary(receipt) : undefined;
  const words = [
    ...(s ? [t.answered(s.answered, s.asked)] : [t.localAnswer]),
    t.series(answer.lines.length),
    ...(s ? [bytes(s.bytes)] : []),
    ...(s?.newest ? [t.newest(ago(s.newest, language))] : []),
    t.took(seconds(answer.tookMs / 1000)),
  ];
  return (
    <Stack gap={6} data-testid="receipt">
      <Group gap="xs">
        {s !== undefined && (
          <Mark state={s.missing.length > 0 ? "warn" : "good"}>
            {s.missing.length > 0 ? t.partial : t.complete}
          </Mark>
        )}
        <Text size="xs" c="dimmed">
          {words.join(" · ")}
        </Text>
        {receipt !== undefined && (
          <UnstyledButton
            fz="xs"
            mih={28}
            c="var(--mantine-color-anchor)"
            aria-expanded={opened}
            onClick={details.toggle}
          >
            <Group gap={2}>
              {opened ? <IconChevronDown size={14} /> : <IconChevronRight size={14} />}
              {t.details}
            </Group>
          </UnstyledButton>
        )}
      </Group>
      <Notes answer={answer} missing={s?.missing ?? []} />
      {receipt !== undefined && (
        <Collapse expanded={opened}>
          <Details receipt={receipt} />
        </Collapse>
      )}
    </Stack>
  );
}

/** Notes are what the answer warns of; at most ten, for a question can have thousands. */
function Notes({ answer, missing }: { answer: Answer; missing: string[] }) {
  const t = usePromText();
  const warnings = [...new Set(answer.warnings)].slice(0, 10);
  const infos = [...new Set(answer.infos)].slice(0, 10);
  if (warnings.length + infos.length + missing.length === 0) return null;
  return (
    <Alert
      variant="light"
      color={warnings.length + missing.length > 0 ? "yellow" : "blue"}
      p="xs"
      role="status"
      title={missing.length > 0 ? t.missing(missing.join(", ")) : undefined}
    >
      {[...warnings, ...infos].map((w) => (
        <Text key={w} size="xs">
          {w}
        </Text>
      ))}
    </Alert>
  );
}

const states: Record<IslandPart["state"], State> = { answered: "good", skipped: "idle", failed: "bad" };

function Details({ receipt }: { receipt: Receipt }) {
  const t = usePromText();
  const { language } = useLanguage();
  const word = { answered: t.stateAnswered, skipped: t.stateSkipped, failed: t.stateFailed };
  const parts: [string, string[]][] = [
    [t.pushed, receipt.pushed ?? []],
    [t.fetched, receipt.fetched ?? []],
    [t.rest, receipt.rest ? [receipt.rest] : []],
  ];
  return (
    <Stack gap="xs">
      <ScrollArea>
        <Table fz="xs" verticalSpacing={4} miw={560} aria-label={t.receipt}>
          <Table.Thead>
            <Table.Tr>
              {[t.island, t.state, t.newestHead, t.seriesHead, t.samples, t.bytes, t.tookHead, t.why].map(
                (h) => (
                  <Table.Th key={h}>{h}</Table.Th>
                ),
              )}
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {(receipt.islands ?? []).map((i) => (
              <Table.Tr key={i.name}>
                <Table.Td>{i.name}</Table.Td>
                <Table.Td>
                  <Mark state={states[i.state] ?? "idle"}>{word[i.state] ?? i.state}</Mark>
                </Table.Td>
                <Table.Td>{i.newest ? ago(i.newest, language) : "–"}</Table.Td>
                <Table.Td>{count(i.series)}</Table.Td>
                <Table.Td title={i.reused ? t.reused(count(i.reused)) : undefined}>
                  {count(i.samples)}
                </Table.Td>
                <Table.Td>{bytes(i.bytes)}</Table.Td>
                <Table.Td>{seconds(i.took / 1e9)}</Table.Td>
                <Table.Td>{[i.from ? t.from(i.from) : "", i.why ?? ""].filter(Boolean).join("; ")}</Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </ScrollArea>
      {parts.map(([title, exprs]) =>
        exprs.length === 0 ? null : (
          <Text key={title} size="xs" component="div">
            {title}{" "}
            {exprs.slice(0, 20).map((e) => (
              <Code key={e} mr={4}>
                {e}
              </Code>
            ))}
          </Text>
        ),
      )}
      <Text size="xs" c="dimmed">
        {t.rounds(receipt.rounds)}
      </Text>
    </Stack>
  );
}
