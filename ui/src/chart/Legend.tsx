import { Table, UnstyledButton } from "@mantine/core";
import { texts } from "@/text/text";
import { extremes, type Series } from "./align";
import { colour } from "./palette";
import classes from "./TimeChart.module.css";
import { type Unit, units } from "./units";

const useText = texts(
  {
    series: "Series",
    min: "Min",
    max: "Max",
    last: "Last",
    hint: "Click to hide, with Shift to show this one alone",
  },
  { series: "序列", min: "最小", max: "最大", last: "最新", hint: "点击隐藏；按住 Shift 只显示此项" },
);

type Props = {
  series: readonly Series[];
  columns: (number | null)[][];
  unit: Unit;
  dark: boolean;
  hidden: ReadonlySet<string>;
  onChange: (hidden: ReadonlySet<string>) => void;
};

/** Legend tells each series' range, and hides and shows them. */
export function Legend({ series, columns, unit, dark, hidden, onChange }: Props) {
  const t = useText();
  const write = units[unit];
  const toggle = (name: string, alone: boolean) => {
    if (alone) {
      const others = series.map((s) => s.name).filter((n) => n !== name);
      onChange(others.every((n) => hidden.has(n)) && !hidden.has(name) ? new Set() : new Set(others));
      return;
    }
    const next = new Set(hidden);
    if (!next.delete(name)) next.add(name);
    onChange(next);
  };
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, and the keyboard must reach that
    <div className={classes.legend} tabIndex={0} role="region" aria-label={t.series}>
      <Table verticalSpacing={2} fz="xs">
        <Table.Thead>
          <Table.Tr>
            <Table.Th>{t.series}</Table.Th>
            <Table.Th className={classes.value}>{t.min}</Table.Th>
            <Table.Th className={classes.value}>{t.max}</Table.Th>
            <Table.Th className={classes.value}>{t.last}</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {series.map((s, i) => {
            const range = extremes(columns[i] ?? []);
            return (
              <Table.Tr key={s.name}>
                <Table.Td>
                  <UnstyledButton
                    fz="xs"
                    className={classes.name}
                    aria-pressed={!hidden.has(s.name)}
                    title={t.hint}
                    onClick={(e) => toggle(s.name, e.shiftKey)}
                  >
                    <i style={{ background: colour(i, dark) }} />
                    {s.name}
                  </UnstyledButton>
                </Table.Td>
                <Table.Td className={classes.value}>{range ? write(range.min) : "–"}</Table.Td>
                <Table.Td className={classes.value}>{range ? write(range.max) : "–"}</Table.Td>
                <Table.Td className={classes.value}>{range ? write(range.last) : "–"}</Table.Td>
              </Table.Tr>
            );
          })}
        </Table.Tbody>
      </Table>
    </div>
  );
}
