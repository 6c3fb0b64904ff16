// A line chart in plain SVG: axes, gaps where data is missing, a crosshair for
// mouse, touch and arrow keys, a legend that singles out a line.

import { el, number, seriesName } from "./format.js";

const COLOURS = 8; // classes s0…s7 in style.css
const MOST = 40; // lines; more is noise and slow on a phone

/**
 * Draws matrix (the result of query_range) into box.
 * start, end and step are seconds. chosen remembers the line singled out from
 * one drawing to the next.
 */
export function chart(box, matrix, start, end, step, chosen) {
  const shown = matrix.slice(0, MOST).map((s, i) => ({
    metric: s.metric,
    colour: i % COLOURS,
    dash: Math.floor(i / COLOURS) % 3,
    points: (s.values || s.histograms || []).map(([t, v]) => [t, typeof v === "object" ? Number(v.count) : Number(v)]),
  }));
  const common = commonLabels(shown.map((s) => s.metric));
  const state = { only: shown.find((s) => seriesName(s.metric) === chosen.get()) || null, at: null };
  const plot = el("div", { class: "plot" });
  const readout = el("div", { class: "readout", hidden: true });
  const legend = el("ul", { class: "legend", "aria-label": "Series" });
  const notes = [];
  if (matrix.length > MOST) notes.push(`The first ${MOST} of ${matrix.length} series are drawn; narrow the expression or look at the table.`);
  if (matrix.some((s) => s.histograms && !s.values)) notes.push("Native histograms are drawn as their count; use histogram_quantile() and the like.");
  const shared = Object.fromEntries(Object.entries(shown[0].metric).filter(([k]) => common.has(k)));
  box.replaceChildren(
    ...notes.map((n) => el("p", { class: "note" }, n)),
    common.size && shown.length > 1 ? el("p", { class: "muted shared" }, "All: ", el("code", {}, seriesName(shared))) : "",
    el("div", { class: "chart" }, plot, readout),
    legend,
  );

  const label = (s) => seriesName(s.metric, shown.length > 1 ? common : new Set());
  const drawLegend = () =>
    legend.replaceChildren(
      ...shown.map((s) => {
        const last = s.points.at(-1);
        return el(
          "li",
          {},
          el(
            "button",
            {
              type: "button",
              "aria-pressed": String(state.only === s),
              onclick: () => {
                state.only = state.only === s ? null : s;
                chosen.set(state.only && seriesName(s.metric));
                redraw();
              },
            },
            el("span", { class: `swatch s${s.colour} d${s.dash}`, "aria-hidden": "true" }),
            el("code", {}, label(s)),
            el("span", { class: "last" }, last ? number(last[1]) : "–"),
          ),
        );
      }),
    );

  let frame = null; // geometry of the last drawing
  const redraw = () => {
    const focused = document.activeElement && document.activeElement.tagName === "svg" && plot.contains(document.activeElement);
    const pressed = [...legend.querySelectorAll("button")].indexOf(document.activeElement);
    frame = draw(plot, state.only ? [state.only] : shown, start, end, step);
    drawLegend();
    if (pressed >= 0) legend.querySelectorAll("button")[pressed].focus();
    if (focused) frame.svg.focus();
    frame.svg.setAttribute("aria-label", `Line chart of ${shown.length} series from ${clock(start, end)} to ${clock(end, end)}. Arrow keys move a reading line; the table shows the same as text.`);
    frame.svg.addEventListener("pointermove", (e) => point((e.clientX - frame.svg.getBoundingClientRect().left - frame.left) / frame.width));
    frame.svg.addEventListener("pointerleave", () => point(null));
    frame.svg.addEventListener("keydown", (e) => {
      const move = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
      if (e.key === "Escape") point(null);
      if (!move) return;
      e.preventDefault();
      const at = state.at === null ? end : state.at + move * step;
      point((at - start) / (end - start));
    });
  };
  const point = (share) => {
    const line = frame.cross;
    if (share === null || share < -0.02 || share > 1.02) {
      state.at = null;
      readout.hidden = true;
      line.setAttribute("visibility", "hidden");
      return;
    }
    const at = start + Math.round((Math.min(1, Math.max(0, share)) * (end - start)) / step) * step;
    state.at = at;
    const x = frame.x(at);
    line.setAttribute("x1", x);
    line.setAttribute("x2", x);
    line.setAttribute("visibility", "visible");
    const rows = (state.only ? [state.only] : shown)
      .map((s) => ({ s, p: s.points.find(([t]) => Math.abs(t - at) < step / 2) }))
      .filter((r) => r.p)
      .sort((a, b) => b.p[1] - a.p[1]);
    readout.replaceChildren(
      el("strong", {}, new Date(at * 1000).toLocaleString()),
      ...rows.slice(0, 10).map(({ s, p }) =>
        el("div", {}, el("span", { class: `swatch s${s.colour} d${s.dash}` }), el("span", { class: "v" }, number(p[1])), " ", el("code", {}, label(s))),
      ),
      rows.length > 10 ? el("div", { class: "muted" }, `and ${rows.length - 10} more`) : "",
      rows.length ? "" : el("div", { class: "muted" }, "no data here"),
    );
    readout.hidden = false;
    readout.classList.toggle("flip", x > frame.left + frame.width / 2);
  };
  redraw();
  let width = plot.clientWidth;
  const observer = new ResizeObserver(() => {
    if (!plot.isConnected) observer.disconnect();
    else if (plot.clientWidth !== width) {
      width = plot.clientWidth;
      redraw();
    }
  });
  observer.observe(plot);
}

function draw(plot, series, start, end, step) {
  const total = Math.max(280, plot.clientWidth);
  const height = total < 600 ? 260 : 340;
  let lo = Infinity;
  let hi = -Infinity;
  for (const s of series) {
    for (const [, v] of s.points) {
      if (!Number.isFinite(v)) continue;
      lo = Math.min(lo, v);
      hi = Math.max(hi, v);
    }
  }
  if (lo > hi) [lo, hi] = [0, 1];
  if (lo >= 0 && lo < hi * 0.6) lo = 0; // a zero line keeps proportions honest
  if (lo === hi) [lo, hi] = lo === 0 ? [0, 1] : [Math.min(0, lo), Math.max(0, hi)];
  const ticks = niceTicks(lo, hi, height < 300 ? 4 : 6);
  lo = Math.min(lo, ticks[0]);
  hi = Math.max(hi, ticks.at(-1));
  const labels = ticks.map(tickText(ticks));
  const left = 14 + 7 * Math.max(...labels.map((l) => l.length));
  const top = 10;
  const bottom = height - 26;
  const width = total - left - 12;
  const x = (t) => left + ((t - start) / (end - start)) * width;
  const y = (v) => bottom - ((v - lo) / (hi - lo)) * (bottom - top);
  const cross = el("line", { class: "cross", y1: top, y2: bottom, visibility: "hidden" });
  const svg = el(
    "svg",
    { viewBox: `0 0 ${total} ${height}`, width: total, height, role: "img", tabindex: 0 },
    ticks.map((t, i) => [
      el("line", { class: "grid", x1: left, x2: left + width, y1: y(t), y2: y(t) }),
      el("text", { class: "axis", x: left - 6, y: y(t) + 4, "text-anchor": "end" }, labels[i]),
    ]),
    timeTicks(start, end, Math.max(2, Math.floor(width / 90))).map((t) => el("text", { class: "axis", x: x(t), y: height - 8, "text-anchor": "middle" }, clock(t, end, start))),
    series.map((s) => el("path", { class: `line s${s.colour} d${s.dash}`, d: path(s.points, x, y, step) })),
    cross,
  );
  plot.replaceChildren(svg);
  return { svg, cross, x, left, width };
}

/** Breaks the line where a step is missing: a gap is information. */
function path(points, x, y, step) {
  let d = "";
  let before = null;
  points.forEach(([t, v], i) => {
    if (!Number.isFinite(v)) {
      before = null;
      return;
    }
    const joined = before !== null && t - before < step * 1.5;
    const next = points[i + 1];
    const alone = !joined && !(next && next[0] - t < step * 1.5 && Number.isFinite(next[1]));
    d += `${joined ? "L" : "M"}${x(t).toFixed(1)} ${y(v).toFixed(1)}`;
    if (alone) d += "h0.01"; // round caps make a dot of it
    before = t;
  });
  return d;
}

function niceTicks(lo, hi, most) {
  const raw = (hi - lo) / most;
  const mag = 10 ** Math.floor(Math.log10(raw));
  const unit = [1, 2, 2.5, 5, 10].find((m) => m * mag >= raw) * mag;
  const ticks = [];
  for (let i = Math.floor(lo / unit + 1e-9); i * unit <= hi + unit * (1 - 1e-9); i++) ticks.push(i * unit);
  return ticks;
}

function tickText(ticks) {
  const unit = ticks[1] - ticks[0];
  const biggest = Math.max(Math.abs(ticks[0]), Math.abs(ticks.at(-1)));
  if (biggest >= 1e6 || biggest < 1e-3) return (t) => (t === 0 ? "0" : number(Number(t.toPrecision(4))));
  const digits = Math.max(0, -Math.floor(Math.log10(unit) + 1e-9) + (unit / 10 ** Math.floor(Math.log10(unit) + 1e-9) === 2.5 ? 1 : 0));
  return (t) => t.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

function timeTicks(start, end, most) {
  const units = [15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 432000, 864000];
  const unit = units.find((u) => (end - start) / u <= most) || units.at(-1);
  const offset = new Date(start * 1000).getTimezoneOffset() * 60; // round hours of the reader's clock
  const ticks = [];
  for (let t = Math.ceil((start - offset) / unit) * unit + offset; t <= end; t += unit) ticks.push(t);
  return ticks.filter((t) => (t - start) / (end - start) > 0.03 && (t - start) / (end - start) < 0.97);
}

function clock(t, end, start = end - 3600) {
  const d = new Date(t * 1000);
  const two = (n) => String(n).padStart(2, "0");
  const hm = `${two(d.getHours())}:${two(d.getMinutes())}`;
  if (end - start <= 600) return `${hm}:${two(d.getSeconds())}`;
  if (end - start <= 86400) return hm;
  const day = `${d.toLocaleString("en", { month: "short" })} ${d.getDate()}`;
  return end - start <= 3 * 86400 ? `${day} ${hm}` : day;
}

function commonLabels(metrics) {
  const keys = new Set(Object.keys(metrics[0] || {}));
  return new Set([...keys].filter((k) => metrics.every((m) => m[k] === metrics[0][k])));
}
