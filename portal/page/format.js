// Values as people read them, and DOM nodes that can only hold text.

import { now } from "./api.js";

/**
 * A DOM node. Strings become text nodes and never markup, so that whatever a
 * label or an error holds is shown, not run.
 */
export function el(tag, props, ...children) {
  const svg = ["svg", "path", "line", "text", "g", "rect", "circle"].includes(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [key, value] of Object.entries(props || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "href" && !safeHref(value)) continue;
    else node.setAttribute(key, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false));
  return node;
}

/** Only web links and links inside the page: a label may hold javascript:… */
export function safeHref(href) {
  return /^https?:\/\//i.test(href) || /^[?#]/.test(href) || /^(api\/|metrics$)/.test(href);
}

export function number(x) {
  if (!Number.isFinite(x)) return Number.isNaN(x) ? "NaN" : x > 0 ? "+Inf" : "−Inf";
  const abs = Math.abs(x);
  if (abs >= 1e6) return new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 4 }).format(x);
  if (abs !== 0 && abs < 1e-4) return x.toExponential(2);
  return new Intl.NumberFormat("en", { maximumSignificantDigits: abs >= 1000 ? 7 : 4, maximumFractionDigits: abs >= 1000 ? 0 : 6 }).format(x);
}

export function amount(x, unit) {
  if (unit !== "bytes") return `${number(x)} ${unit}`;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  while (x >= 1024 && i < units.length - 1) {
    x /= 1024;
    i++;
  }
  return `${number(Number(x.toPrecision(3)))} ${units[i]}`;
}

export function duration(seconds) {
  if (!(seconds >= 0)) return "–";
  if (seconds < 0.001) return `${Math.round(seconds * 1e6)} µs`;
  if (seconds < 1) return `${Math.round(seconds * 1e3)} ms`;
  if (seconds < 100) return `${Number(seconds.toPrecision(seconds < 10 ? 2 : 3))} s`;
  const m = Math.floor(seconds / 60);
  if (m < 100) return `${m} min`;
  const h = Math.floor(m / 60);
  return h < 48 ? `${h} h ${m % 60} min` : `${Math.floor(h / 24)} d ${h % 24} h`;
}

/** null for the zero time that Go writes when something never happened. */
export function time(text) {
  const t = Date.parse(text || "");
  return Number.isNaN(t) || t <= 0 ? null : t;
}

export function ago(text) {
  const t = time(text);
  if (t === null) return "never";
  const seconds = Math.round((now() - t) / 1000);
  return seconds < 1 ? "just now" : `${duration(seconds)} ago`;
}

/** A <time> with the age as text and the exact local time to hover. */
export function since(text, prefix = "") {
  const t = time(text);
  if (t === null) return el("span", {}, prefix, "never");
  return el("time", { datetime: new Date(t).toISOString(), title: new Date(t).toLocaleString() }, prefix, ago(text));
}

export function plural(n, one, many = one + "s") {
  return `${number(n)} ${n === 1 ? one : many}`;
}

/** name{a="b"} without the labels named in skip. */
export function seriesName(metric, skip = new Set()) {
  const labels = Object.entries(metric)
    .filter(([k]) => k !== "__name__" && !skip.has(k))
    .map(([k, v]) => `${k}=${JSON.stringify(v)}`);
  const name = skip.has("__name__") ? "" : metric.__name__ || "";
  return labels.length || !name ? `${name}{${labels.join(", ")}}` : name;
}

/** Labels as a row of small tags. */
export function tags(labels, skip = []) {
  const entries = Object.entries(labels || {}).filter(([k]) => !skip.includes(k));
  if (!entries.length) return null;
  return el("span", { class: "tags" }, entries.map(([k, v]) => el("span", { class: "tag" }, el("span", { class: "k" }, k, "="), v)));
}
