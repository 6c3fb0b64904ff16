import { Button, Group, Stack, Table, Text, TextInput, UnstyledButton } from "@mantine/core";
import { IconArrowDown, IconArrowUp } from "@tabler/icons-react";
import { useMemo, useState } from "react";
import { type Unit, unitOf, units } from "@/chart/units";
import { Empty } from "@/parts/states";
import type { Answer, Line } from "@/prom/answer";
import { useLanguage } from "@/text/text";
import { clock, count } from "@/text/time";
import classes from "./explore.module.css";
import { useExploreText } from "./text";

const page = 100;

/** AnswerTable lists the series of an answer with their values at one moment. */
export function AnswerTable({
  answer,
  at,
  expr,
  unit = unitOf(expr),
}: {
  answer: Answer;
  at: number;
  expr: string;
  unit?: Unit | undefined;
}) {
  const t = useExploreText();
  const { language } = useLanguage();
  const [filter, setFilter] = useState("");
  const [shown, setShown] = useState(page);
  const [order, setOrder] = useState<{ by: string; down: boolean }>({ by: "", down: true });
  const columns = useMemo(
    () => [...new Set(answer.lines.flatMap((l) => Object.keys(l.labels)))].sort(byName),
    [answer],
  );
  const rows = useMemo(() => sorted(filtered(answer.lines, filter), order), [answer, filter, order]);
  if (answer.text !== undefined) return <Text ff="monospace">{answer.text}</Text>;
  if (answer.lines.length === 0) return <Empty title={t.nothing}>{t.nothingText}</Empty>;
  const head = (by: string, label: string, number = false) => (
    <Table.Th
      key={by}
      aria-sort={order.by === by ? (order.down ? "descending" : "ascending") : "none"}
      className={number ? classes.number : undefined}
    >
      <UnstyledButton
        fz="sm"
        fw={600}
        mih={32}
        onClick={() => setOrder({ by, down: order.by === by ? !order.down : by === "" })}
      >
        {label}
        {order.by === by && (order.down ? <IconArrowDown size={13} /> : <IconArrowUp size={13} />)}
      </UnstyledButton>
    </Table.Th>
  );
  return (
    <Stack gap="xs">
      <Group justify="space-between" gap="xs">
        <Text size="sm" c="dimmed">
          {t.at(clock(at, language))}
        </Text>
        {answer.lines.length > 5 && (
          <TextInput
            size="xs"
            aria-label={t.filter}
            placeholder={t.filter}
            value={filter}
            onChange={(e) => setFilter(e.currentTarget.value)}
          />
        )}
      </Group>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, and the keyboard must reach that */}
      <div className={classes.scroll} tabIndex={0} role="region" aria-label={t.table}>
        <Table fz="sm" verticalSpacing={4} stickyHeader={false}>
          <Table.Thead>
            <Table.Tr>
              {columns.map((c) => head(c, c === "__name__" ? t.metric : c))}
              {head("", t.value, true)}
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {rows.slice(0, shown).map((l) => (
              <Table.Tr key={JSON.stringify(l.labels)}>
                {columns.map((c) => (
                  <Table.Td key={c}>{l.labels[c] ?? ""}</Table.Td>
                ))}
                <Value line={l} unit={unit} />
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </div>
      {rows.length > shown && (
        <Button variant="default" onClick={() => setShown(shown + page)}>
          {t.moreRows(Math.min(page, rows.length - shown))}
        </Button>
      )}
    </Stack>
  );
}

function Value({ line, unit }: { line: Line; unit: Unit }) {
  const t = useExploreText();
  const write = units[unit];
  const h = line.histograms.at(-1)?.[1];
  const v = lastOf(line);
  return (
    <Table.Td className={classes.number} title={v === undefined ? undefined : String(v)}>
      {h !== undefined
        ? t.histogram(count(h.count), h.count > 0 ? write(h.sum / h.count) : "–")
        : `${line.points.length > 1 ? `${t.samples(line.points.length)} ` : ""}${v === undefined ? "–" : write(v)}`}
    </Table.Td>
  );
}

const byName = (a: string, b: string) => (a === "__name__" ? -1 : b === "__name__" ? 1 : a.localeCompare(b));
const lastOf = (l: Line) => l.points.at(-1)?.[1] ?? l.histograms.at(-1)?.[1].count;

function filtered(lines: readonly Line[], text: string): Line[] {
  const words = text
    .toLowerCase()
    .split(/\s+/)
    .filter((w) => w !== "");
  return lines.filter((l) => {
    const all = Object.entries(l.labels)
      .map(([n, v]) => `${n}=${v}`)
      .join(" ")
      .toLowerCase();
    return words.every((w) => all.includes(w));
  });
}

function sorted(lines: Line[], { by, down }: { by: string; down: boolean }): Line[] {
  const sign = down ? -1 : 1;
  const rank = (v: number | undefined) => (v === undefined || Number.isNaN(v) ? Number.NEGATIVE_INFINITY : v);
  const compare = (a: Line, b: Line) => {
    if (by !== "")
      return (a.labels[by] ?? "").localeCompare(b.labels[by] ?? "", undefined, { numeric: true });
    const [x, y] = [rank(lastOf(a)), rank(lastOf(b))];
    return x < y ? -1 : x > y ? 1 : 0;
  };
  return lines.sort((a, b) => sign * compare(a, b));
}
