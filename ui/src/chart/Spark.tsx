import { useComputedColorScheme } from "@mantine/core";
import { colour } from "./palette";

type Props = {
  points: readonly (readonly [number, number])[];
  from: number;
  to: number;
  label: string;
  tone?: number;
};

const width = 120;
const height = 30;

/** Spark is a line without axes: how a number went, beside the number. */
export function Spark({ points, from, to, label, tone = 0 }: Props) {
  const dark = useComputedColorScheme("light") === "dark";
  const known = points.filter(([, v]) => Number.isFinite(v));
  const max = Math.max(...known.map(([, v]) => v), 0) || 1;
  const at = known.map(([ms, v]) => {
    const x = ((ms - from) / Math.max(to - from, 1)) * width;
    const y = height - 2 - (v / max) * (height - 4);
    return `${x.toFixed(1)},${y.toFixed(1)}`;
  });
  return (
    <svg width={width} height={height} viewBox={`0 0 ${width} ${height}`} role="img" aria-label={label}>
      <polyline points={at.join(" ")} fill="none" stroke={colour(tone, dark)} strokeWidth={1.5} />
    </svg>
  );
}
