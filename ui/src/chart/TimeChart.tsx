import "uplot/dist/uPlot.min.css";
import { useComputedColorScheme } from "@mantine/core";
import { useElementSize } from "@mantine/hooks";
import { useEffect, useEffectEvent, useMemo, useRef, useState } from "react";
import uPlot from "uplot";
import { align, type Series } from "./align";
import { Legend } from "./Legend";
import { colour } from "./palette";
import classes from "./TimeChart.module.css";
import { type Unit, units } from "./units";

export type { Series } from "./align";

/** Band shades a span of time (ms since 1970), as that in which an alert fired. */
export type Band = { from: number; to: number; state: "bad" | "warn" | "info" };

type Props = {
  series: readonly Series[];
  /** The axis spans this, whether or not there is data at its ends (ms since 1970). */
  from: number;
  to: number;
  unit?: Unit;
  height?: number;
  stacked?: boolean;
  /** A horizontal line, as an alert's threshold. */
  threshold?: number;
  bands?: readonly Band[];
  legend?: "none" | "below";
  /** Charts of one group show the cursor at the same moment. */
  group?: string;
  /** Called with the span (ms since 1970) that was dragged over. */
  onZoom?: (from: number, to: number) => void;
  label: string;
};

/** TimeChart draws series over time. */
export function TimeChart(props: Props) {
  const {
    series,
    from,
    to,
    unit = "number",
    height = 240,
    stacked = false,
    threshold,
    bands,
    legend = "below",
    group,
    label,
  } = props;
  const dark = useComputedColorScheme("light") === "dark";
  const { ref: measured, width } = useElementSize();
  const mount = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const [hidden, setHidden] = useState<ReadonlySet<string>>(new Set());
  const data = useMemo(() => align(series), [series]);
  const drawn = useMemo(() => stack(data.columns, stacked), [data, stacked]);
  const names = series.map((s) => s.name).join("\n");
  const zoom = useEffectEvent((a: number, b: number) => props.onZoom?.(a, b));
  const shades = useEffectEvent((u: uPlot) => drawBands(u, bands ?? [], threshold, dark));

  useEffect(() => {
    if (mount.current === null || width === 0) return;
    const u = new uPlot(
      options({
        names: names === "" ? [] : names.split("\n"),
        unit,
        width,
        height,
        dark,
        stacked,
        group,
        shades,
        zoom,
      }),
      [data.times, ...drawn] as uPlot.AlignedData,
      mount.current,
    );
    u.setScale("x", { min: from / 1000, max: to / 1000 });
    plot.current = u;
    return () => {
      u.destroy();
      plot.current = null;
    };
    // Data, span and size change without a new plot, below.
  }, [names, unit, dark, stacked, group, width === 0]);

  useEffect(() => plot.current?.setSize({ width: Math.max(width, 1), height }), [width, height]);
  useEffect(() => {
    const u = plot.current;
    if (u === null) return;
    u.batch(() => {
      u.setData([data.times, ...drawn] as uPlot.AlignedData, false);
      u.setScale("x", { min: from / 1000, max: to / 1000 });
    });
  }, [data, drawn, from, to]);
  useEffect(() => plot.current?.redraw(false), [bands, threshold]);
  useEffect(() => {
    const u = plot.current;
    series.forEach((s, i) => {
      if (u?.series[i + 1]) u.setSeries(i + 1, { show: !hidden.has(s.name) });
    });
  }, [hidden, series]);

  return (
    <figure className={classes.figure} aria-label={label} data-points={data.times.length}>
      <div ref={measured}>
        <div ref={mount} className={classes.plot} style={{ height }} />
      </div>
      {legend === "below" && (
        <Legend
          series={series}
          columns={data.columns}
          unit={unit}
          dark={dark}
          hidden={hidden}
          onChange={setHidden}
        />
      )}
    </figure>
  );
}

type Look = {
  names: string[];
  unit: Unit;
  width: number;
  height: number;
  dark: boolean;
  stacked: boolean;
  group: string | undefined;
  shades: (u: uPlot) => void;
  zoom: (from: number, to: number) => void;
};

function options(look: Look): uPlot.Options {
  const ink = look.dark ? "#a3adb8" : "#5c6670";
  const grid = { stroke: look.dark ? "#2a333a" : "#e7ebee", width: 1 };
  const write = units[look.unit];
  const axis = { stroke: ink, grid, ticks: { ...grid, size: 4 }, font: "12px Inter, sans-serif" };
  return {
    width: look.width,
    height: look.height,
    legend: { show: false },
    padding: [8, 22, 0, 0],
    cursor: {
      drag: { x: true, y: false, setScale: false },
      points: { size: 7 },
      ...(look.group === undefined ? {} : { sync: { key: look.group } }),
    },
    scales: { x: { time: true, auto: false }, y: { range: (_u, min, max) => span(min, max, look.stacked) } },
    axes: [
      { ...axis, values: (_u, splits, _a, space) => splits.map((s) => tick(s, space > 0 ? splits : [])) },
      { ...axis, size: 66, values: (_u, splits) => splits.map(write) },
    ],
    series: [
      {},
      ...look.names.map((name, i) => ({
        label: name,
        stroke: colour(i, look.dark),
        width: 1.6,
        points: { show: false },
        ...(look.stacked
          ? { fill: `${colour(i, look.dark)}55` }
          : look.names.length === 1
            ? { fill: `${colour(i, look.dark)}22` }
            : {}),
      })),
    ],
    hooks: {
      drawClear: [look.shades],
      setSelect: [
        (u) => {
          if (u.select.width < 6) return;
          look.zoom(
            u.posToVal(u.select.left, "x") * 1000,
            u.posToVal(u.select.left + u.select.width, "x") * 1000,
          );
          u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        },
      ],
    },
    plugins: [tooltip(write)],
  };
}

/** span leaves air above the highest point and starts at zero where that is near. */
function span(min: number, max: number, stacked: boolean): [number, number] {
  if (min === null || max === null || !Number.isFinite(min) || !Number.isFinite(max)) return [0, 1];
  const low = stacked || (min >= 0 && min < max * 0.6) ? 0 : min;
  const air = (max - low) * 0.08 || Math.abs(max) * 0.1 || 1;
  return [low === 0 ? 0 : low - air, max + air];
}

const two = (n: number) => String(n).padStart(2, "0");

/** tick writes a time, and the day where midnight is on the axis or it is all there is. */
function tick(s: number, splits: number[]): string {
  const d = new Date(s * 1000);
  const step = splits.length > 1 ? (splits[1] as number) - (splits[0] as number) : 60;
  if (step >= 86_400 || (d.getHours() === 0 && d.getMinutes() === 0 && d.getSeconds() === 0))
    return `${d.getMonth() + 1}/${d.getDate()}`;
  return step < 60
    ? `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`
    : `${two(d.getHours())}:${two(d.getMinutes())}`;
}

function stack(columns: (number | null)[][], stacked: boolean): (number | null)[][] {
  if (!stacked) return columns;
  const sum: number[] = [];
  const out = columns.map((c) =>
    c.map((v, i) => {
      sum[i] = (sum[i] ?? 0) + (v ?? 0);
      return v === null ? null : (sum[i] as number);
    }),
  );
  return out;
}

function drawBands(u: uPlot, bands: readonly Band[], threshold: number | undefined, dark: boolean) {
  const tint = {
    bad: dark ? "#ff7b7b33" : "#c0262622",
    warn: dark ? "#f0b42933" : "#8a5a0022",
    info: dark ? "#74b8f233" : "#1c66a822",
  };
  const { ctx } = u;
  ctx.save();
  for (const b of bands) {
    const left = Math.max(u.valToPos(b.from / 1000, "x", true), u.bbox.left);
    const right = Math.min(u.valToPos(b.to / 1000, "x", true), u.bbox.left + u.bbox.width);
    if (right <= left) continue;
    ctx.fillStyle = tint[b.state];
    ctx.fillRect(left, u.bbox.top, Math.max(right - left, 2), u.bbox.height);
  }
  if (threshold !== undefined) {
    const y = u.valToPos(threshold, "y", true);
    if (y >= u.bbox.top && y <= u.bbox.top + u.bbox.height) {
      ctx.strokeStyle = dark ? "#ff7b7b" : "#c02626";
      ctx.setLineDash([6, 4]);
      ctx.beginPath();
      ctx.moveTo(u.bbox.left, y);
      ctx.lineTo(u.bbox.left + u.bbox.width, y);
      ctx.stroke();
    }
  }
  ctx.restore();
}

/** tooltip tells the values under the cursor, the nearest line first. */
function tooltip(write: (v: number) => string): uPlot.Plugin {
  let box: HTMLDivElement;
  // Charts of one group share the cursor; only the one under the pointer tells values,
  // for twenty boxes laid out at each move are what makes a page stutter.
  let here = false;
  return {
    hooks: {
      init: [
        (u) => {
          box = document.createElement("div");
          box.className = classes.tooltip as string;
          box.hidden = true;
          u.over.append(box);
          u.over.addEventListener("mouseenter", () => {
            here = true;
          });
          u.over.addEventListener("mouseleave", () => {
            here = false;
            box.hidden = true;
          });
        },
      ],
      setCursor: [
        (u) => {
          const { idx, left = -1, top = -1 } = u.cursor;
          if (!here || idx === null || idx === undefined || left < 0) {
            box.hidden = true;
            return;
          }
          const lines = u.series
            .map((s, i) => ({ s, v: i === 0 ? null : u.data[i]?.[idx] }))
            .filter(
              (l): l is { s: uPlot.Series; v: number } =>
                l.s.show !== false && l.v !== null && l.v !== undefined,
            )
            .sort((a, b) => Math.abs(u.valToPos(a.v, "y") - top) - Math.abs(u.valToPos(b.v, "y") - top))
            .slice(0, 8);
          box.hidden = lines.length === 0;
          const rows = lines.map(({ s, v }) => {
            const row = document.createElement("div");
            const swatch = document.createElement("i");
            swatch.style.background = String(typeof s.stroke === "function" ? s.stroke(u, 1) : s.stroke);
            // Names come from labels of any origin: text, never markup.
            row.append(
              swatch,
              `${s.label} `,
              Object.assign(document.createElement("b"), { textContent: write(v) }),
            );
            return row;
          });
          const when = Object.assign(document.createElement("div"), {
            textContent: new Date((u.data[0][idx] as number) * 1000).toLocaleString(),
          });
          box.replaceChildren(when, ...rows);
          const right = left > u.over.clientWidth / 2;
          box.style.left = right ? "" : `${left + 14}px`;
          box.style.right = right ? `${u.over.clientWidth - left + 14}px` : "";
          box.style.top = `${Math.min(top, Math.max(u.over.clientHeight - box.clientHeight, 0))}px`;
        },
      ],
    },
  };
}
