// The query box: one expression, as a chart or as a table.

import { now, prometheus } from "./api.js";
import { chart } from "./chart.js";
import { el, number, plural, seriesName } from "./format.js";

const ROWS = 500; // of a table
const RANGES = { "5m": 300, "15m": 900, "1h": 3600, "6h": 21600, "1d": 86400, "7d": 604800, "30d": 2592000 };

let asked = ""; // the expression that is drawn
let only = null; // the name of the line singled out in it

const EXAMPLES = [
  ["up", "which targets answer", "table"],
  ["sort_desc(scrape_duration_seconds)", "the slowest to scrape", "table"],
  ["rate(process_cpu_seconds_total[1m])", "CPU cores used, by process", "chart"],
  ["process_resident_memory_bytes", "memory, by process", "chart"],
  ["topk(10, count by (__name__) ({__name__=~\".+\"}))", "metrics with the most series", "table"],
];

/** The distance of the points of a chart, in seconds. */
function stepOf(state, box) {
  const points = Math.min(400, Math.max(120, Math.floor(box.clientWidth / 3)));
  return Math.max(1, Math.ceil((RANGES[state.range] || 3600) / points));
}

/** How long an answer is as good as new, in ms: a chart, until its next point. */
export function refreshEvery(state, box) {
  return state.as === "table" ? 0 : 1000 * stepOf(state, box);
}

/** Runs the question in state {q, range, as}; resolves when it is shown. */
export async function runQuery(state, box, status, signal) {
  if (!state.q.trim()) {
    status.textContent = "";
    box.replaceChildren(
      el(
        "ul",
        { class: "examples" },
        EXAMPLES.map(([q, what, as]) => el("li", {}, el("a", { href: `?view=query&q=${encodeURIComponent(q)}&as=${as}` }, el("code", {}, q)), el("span", { class: "muted" }, what))),
      ),
    );
    return;
  }
  const began = performance.now();
  box.setAttribute("aria-busy", "true");
  try {
    const answer = state.as === "table" ? await instant(state, box, signal) : await range(state, box, signal);
    const ms = Math.round(performance.now() - began);
    status.replaceChildren(`${answer.summary}, answered in ${number(ms)} ms`, ...notes(answer.body));
  } catch (err) {
    if (signal.aborted) return;
    status.textContent = "";
    box.replaceChildren(el("p", { class: "failure" }, err.type ? `${err.type}: ` : "", err.message));
  } finally {
    box.removeAttribute("aria-busy");
  }
}

function notes(body) {
  return [...(body.warnings || []).map((w) => el("span", { class: "note warn" }, w)), ...(body.infos || []).map((w) => el("span", { class: "note" }, w))];
}

async function range(state, box, signal) {
  const seconds = RANGES[state.range] || 3600;
  const step = stepOf(state, box);
  // Aligned to the step, or lines would wobble at each refresh.
  const end = Math.floor(now() / 1000 / step) * step;
  const start = end - Math.floor(seconds / step) * step;
  const body = await prometheus("query_range", { query: state.q, start, end, step }, signal, 30000);
  const matrix = body.data.result;
  if (asked !== state.q) only = null;
  asked = state.q;
  if (matrix.length) chart(box, matrix, start, end, step, { get: () => only, set: (name) => (only = name) });
  else box.replaceChildren(empty());
  return { body, summary: `${plural(matrix.length, "series", "series")}, a value every ${number(step)} s` };
}

async function instant(state, box, signal) {
  const body = await prometheus("query", { query: state.q, time: (now() / 1000).toFixed(3), limit: ROWS + 1 }, signal, 30000);
  const { resultType, result } = body.data;
  if (resultType === "scalar" || resultType === "string") {
    box.replaceChildren(el("p", { class: "scalar" }, el("code", {}, String(result[1]))));
    return { body, summary: resultType };
  }
  box.replaceChildren(result.length ? table(result, state.q) : empty());
  const more = result.length > ROWS ? `the first ${ROWS} series are shown` : plural(result.length, "series", "series");
  return { body, summary: more };
}

function empty() {
  return el("p", { class: "muted" }, "No data. Check the name and the labels, or choose a longer range.");
}

function table(result, q) {
  const metrics = result.map((s) => s.metric);
  const keys = [...new Set(metrics.flatMap(Object.keys))].filter((k) => k !== "__name__").sort();
  const named = metrics.some((m) => m.__name__);
  // Many different label names make a sparse table that nobody can read.
  const wide = keys.length <= 6;
  const head = wide ? [...(named ? ["metric"] : []), ...keys] : ["series"];
  return el(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": "Result as a table" },
    el(
      "table",
      {},
      el("caption", { class: "hidden" }, q),
      el("thead", {}, el("tr", {}, head.map((h) => el("th", { scope: "col" }, h)), el("th", { scope: "col", class: "num" }, "value"))),
      el(
        "tbody",
        {},
        result.slice(0, ROWS).map((s) => {
          const cells = wide ? [...(named ? [s.metric.__name__ || ""] : []), ...keys.map((k) => s.metric[k] || "")] : [seriesName(s.metric)];
          return el("tr", {}, cells.map((c) => el("td", {}, c)), el("td", { class: "num" }, valueCell(s)));
        }),
      ),
    ),
  );
}

function valueCell(s) {
  if (s.value) return el("span", { title: new Date(s.value[0] * 1000).toLocaleString() }, s.value[1]);
  if (s.histogram) return `count ${number(Number(s.histogram[1].count))}, sum ${number(Number(s.histogram[1].sum))}`;
  const points = [...(s.values || []), ...(s.histograms || [])];
  return el(
    "details",
    {},
    el("summary", {}, plural(points.length, "sample")),
    points.slice(-100).map(([t, v]) => el("div", {}, el("span", { class: "muted" }, new Date(t * 1000).toLocaleTimeString(), " "), typeof v === "object" ? `count ${v.count}, sum ${v.sum}` : v)),
  );
}
