import { useComputedColorScheme } from "@mantine/core";
import { useElementSize } from "@mantine/hooks";
import { useEffect, useMemo, useRef, useState } from "react";
import { useLanguage } from "@/text/text";
import { clock } from "@/text/time";
import classes from "./HeatChart.module.css";
import type { Heat } from "./heat";
import { type Unit, units } from "./units";

type Props = {
  heat: Heat;
  from: number;
  to: number;
  /** The step of the columns in seconds. */
  step: number;
  unit?: Unit;
  height?: number;
  label: string;
  onZoom?: (from: number, to: number) => void;
};

const left = 70;
const bottom = 22;

/** HeatChart draws how observations spread over time: the darker a cell, the more fell into it. */
export function HeatChart({ heat, from, to, step, unit = "number", height = 260, label, onZoom }: Props) {
  const dark = useComputedColorScheme("light") === "dark";
  const { language } = useLanguage();
  const { ref, width } = useElementSize();
  const canvas = useRef<HTMLCanvasElement>(null);
  const [at, setAt] = useState<{ x: number; y: number }>();
  const [drag, setDrag] = useState<{ a: number; b: number }>();
  const place = useMemo(
    () => placing(heat, from, to, step, width, height),
    [heat, from, to, step, width, height],
  );

  useEffect(() => {
    const c = canvas.current;
    if (c === null || width === 0) return;
    const ratio = devicePixelRatio || 1;
    c.width = width * ratio;
    c.height = height * ratio;
    const ctx = c.getContext("2d");
    if (ctx === null) return;
    ctx.scale(ratio, ratio);
    draw(ctx, heat, place, { width, height, dark, unit });
  }, [heat, place, width, height, dark, unit]);

  const cell = at && place.find(at.x, at.y);
  const write = units[unit];
  const x = (e: React.PointerEvent) => e.clientX - e.currentTarget.getBoundingClientRect().left;
  return (
    <figure className={classes.figure} aria-label={label}>
      <div
        ref={ref}
        className={classes.plot}
        style={{ height }}
        onPointerMove={(e) => {
          const box = e.currentTarget.getBoundingClientRect();
          setAt({ x: e.clientX - box.left, y: e.clientY - box.top });
          if (drag) setDrag({ ...drag, b: x(e) });
        }}
        onPointerLeave={() => {
          setAt(undefined);
          setDrag(undefined);
        }}
        onPointerDown={(e) => e.pointerType === "mouse" && onZoom && setDrag({ a: x(e), b: x(e) })}
        onPointerUp={() => {
          if (drag && Math.abs(drag.a - drag.b) > 6)
            onZoom?.(place.time(Math.min(drag.a, drag.b)), place.time(Math.max(drag.a, drag.b)));
          setDrag(undefined);
        }}
      >
        <canvas ref={canvas} style={{ width, height }} role="img" aria-label={label} />
        {drag && (
          <span
            className={classes.select}
            style={{
              left: Math.min(drag.a, drag.b),
              width: Math.abs(drag.a - drag.b),
              height: height - bottom,
            }}
          />
        )}
        {cell && at && !drag && (
          <div
            className={classes.tooltip}
            style={{
              top: Math.min(at.y, height - 70),
              ...(at.x > width / 2 ? { right: width - at.x + 12 } : { left: at.x + 12 }),
            }}
          >
            <div>{clock(cell.time, language)}</div>
            <div>
              {write(cell.lower)} – {write(cell.upper)}
            </div>
            <b>{units.number(cell.count)}</b>
          </div>
        )}
      </div>
    </figure>
  );
}

type Placing = ReturnType<typeof placing>;

function placing(heat: Heat, from: number, to: number, step: number, width: number, height: number) {
  const rows = heat.edges.length - 1;
  const inner = Math.max(width - left - 8, 1);
  const x = (ms: number) => left + ((ms - from) / Math.max(to - from, 1)) * inner;
  const rowHeight = (height - bottom) / rows;
  const y = (row: number) => height - bottom - row * rowHeight;
  const time = (px: number) => from + ((px - left) / inner) * (to - from);
  const find = (px: number, py: number) => {
    const row = Math.floor((height - bottom - py) / rowHeight);
    const ms = time(px);
    // A column is what came in the step before its time.
    const i = heat.times.findIndex((t) => t >= ms && t - step * 1000 < ms);
    const column = heat.counts[i];
    if (column === undefined || row < 0 || row >= rows || px < left) return undefined;
    return {
      time: heat.times[i] as number,
      lower: heat.edges[row] as number,
      upper: heat.edges[row + 1] as number,
      count: column[row] as number,
    };
  };
  return { x, y, rowHeight, rows, time, find, step, from, to };
}

type Look = { width: number; height: number; dark: boolean; unit: Unit };

function draw(ctx: CanvasRenderingContext2D, heat: Heat, place: Placing, look: Look) {
  ctx.clearRect(0, 0, look.width, look.height);
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, 0, look.width - left, look.height - bottom);
  ctx.clip();
  // Lines between cells help as long as those are larger than the lines; whole
  // pixels keep them from shimmering.
  const gap = place.rowHeight >= 8 ? 1 : 0;
  heat.times.forEach((ms, i) => {
    const x1 = place.x(ms);
    const x0 = place.x(ms - place.step * 1000);
    heat.counts[i]?.forEach((v, row) => {
      if (v <= 0) return;
      ctx.fillStyle = heatColour(Math.sqrt(v / heat.max), look.dark);
      ctx.fillRect(x0, place.y(row + 1), Math.max(x1 - x0 - gap, 1), Math.max(place.rowHeight - gap, 1));
    });
  });
  ctx.restore();
  ctx.fillStyle = look.dark ? "#a3adb8" : "#5c6670";
  ctx.font = "12px Inter, sans-serif";
  ctx.textAlign = "right";
  ctx.textBaseline = "middle";
  const every = Math.max(1, Math.ceil(18 / place.rowHeight));
  for (let row = 0; row <= place.rows; row += every)
    ctx.fillText(units[look.unit](heat.edges[row] as number), left - 6, Math.max(place.y(row), 7));
  ctx.textAlign = "center";
  const ticks = Math.max(2, Math.floor((look.width - left) / 110));
  for (let i = 0; i <= ticks; i++) {
    const ms = place.from + ((place.to - place.from) * i) / ticks;
    const d = new Date(ms);
    const text = `${String(d.getHours()).padStart(2, "0")}:${String(d.getMinutes()).padStart(2, "0")}`;
    ctx.fillText(text, Math.min(Math.max(place.x(ms), left + 16), look.width - 18), look.height - bottom / 2);
  }
}

/** heatColour goes from what hardly differs from the ground to what stands out on it. */
function heatColour(share: number, dark: boolean): string {
  const [from, to] = dark
    ? [
        [31, 66, 74],
        [255, 214, 110],
      ]
    : [
        [205, 235, 234],
        [120, 35, 60],
      ];
  const mix = (i: number) => Math.round((from?.[i] ?? 0) + ((to?.[i] ?? 0) - (from?.[i] ?? 0)) * share);
  return `rgb(${mix(0)} ${mix(1)} ${mix(2)})`;
}
