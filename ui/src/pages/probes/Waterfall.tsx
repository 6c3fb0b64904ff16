import { Group, Text, Tooltip } from "@mantine/core";
import { seconds } from "@/text/time";
import { type Phases, phases, waterfall } from "./model";
import classes from "./probes.module.css";
import { useProbesText } from "./text";

/** Waterfall draws the phases of one probe on a scale of its own or one shared by several. */
export function Waterfall({ of, took, scale }: { of: Phases | undefined; took: number; scale?: number }) {
  const t = useProbesText();
  const bars = waterfall(of);
  const whole = Math.max(scale ?? 0, took, ...bars.map((b) => b.from + b.took)) || 1;
  const words = bars.map((b) => `${t.phases[b.phase]} ${seconds(b.took)}`).join(", ");
  return (
    <Tooltip label={words} disabled={words === ""}>
      <div className={classes.fall} role="img" aria-label={words || seconds(took)}>
        <span className={classes.rest} style={{ width: `${(took / whole) * 100}%` }} />
        {bars.map((b) => (
          <span
            key={b.phase}
            className={classes.bar}
            data-phase={b.phase}
            style={{ left: `${(b.from / whole) * 100}%`, width: `max(2px, ${(b.took / whole) * 100}%)` }}
          />
        ))}
      </div>
    </Tooltip>
  );
}

/** PhaseKey says which colour is which phase. */
export function PhaseKey() {
  const t = useProbesText();
  return (
    <Group gap="md">
      {phases.map((p) => (
        <Text key={p} size="xs" c="dimmed" className={classes.key}>
          <i className={classes.swatch} data-phase={p} />
          {t.phases[p]}
        </Text>
      ))}
    </Group>
  );
}
