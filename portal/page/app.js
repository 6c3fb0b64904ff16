// Routing, refreshing, and saying so when nobody answers. The URL is the state:
// ?view=targets&find=…&state=…, ?view=query&q=…&range=…&as=…

import { now, own, prometheus } from "./api.js";
import { alertsView, allAlerts, rulesView } from "./alerts.js";
import { el, number } from "./format.js";
import { islands, troubled } from "./islands.js";
import { failures, overview } from "./overview.js";
import { refreshEvery, runQuery } from "./query.js";
import { targetsView } from "./targets.js";

const EVERY = 5000; // ms between refreshes, while the page is seen
const VIEWS = ["overview", "targets", "alerts", "islands", "query"];
const $ = (id) => document.getElementById(id);

const data = { status: null, health: null, targets: null, rules: null, network: null, peers: null };
const errors = {};
const drawn = new Map(); // element id → what it shows, so that nothing is redrawn for nothing
const openJobs = new Map();
const openGroups = new Map();
const openAttempts = new Map();
let lastAnswer = null; // ms, this device's clock
let timer = null;
let running = null; // AbortController of the query under way
let askedAt = 0; // ms, when it was sent

function readURL() {
  const p = new URLSearchParams(location.search);
  const view = VIEWS.includes(p.get("view")) ? p.get("view") : p.has("q") ? "query" : "overview";
  return { view, q: p.get("q") || "", range: p.get("range") || "1h", as: p.get("as") === "table" ? "table" : "chart", find: p.get("find") || "", state: p.get("state") || "" };
}

function writeURL(changes, replace) {
  const p = new URLSearchParams(location.search);
  for (const [k, v] of Object.entries(changes)) {
    if (v) p.set(k, v);
    else p.delete(k);
  }
  const url = "?" + p;
  if (url === location.search || (url === "?" && !location.search)) return;
  if (replace) history.replaceState(null, "", url);
  else history.pushState(null, "", url);
}

async function refresh() {
  clearTimeout(timer);
  const began = performance.now();
  const asked = {
    status: own("status"),
    health: own("health"),
    targets: prometheus("targets", { state: "active" }).then((b) => b.data),
    rules: prometheus("rules").then((b) => b.data),
    network: own("mesh/network"),
  };
  // An island that belongs to no network has no peers to tell of.
  asked.peers = asked.network.then((n) => (n.joined ? own("mesh/peers") : null));
  const names = Object.keys(asked);
  const results = await Promise.allSettled(Object.values(asked));
  results.forEach((r, i) => {
    if (r.status === "fulfilled") {
      data[names[i]] = r.value;
      delete errors[names[i]];
    } else errors[names[i]] = r.reason;
  });
  const lost = results.every((r) => r.status === "rejected" && r.reason.unreachable);
  if (!lost) lastAnswer = Date.now();
  showReach(lost, errors.status);
  render();
  const state = readURL();
  if (!lost && state.view === "query" && state.q) await ask(state, true);
  // A slow island is asked less often, and an unseen page asks nothing.
  schedule(Math.max(EVERY, 4 * (performance.now() - began)));
}

function schedule(ms) {
  clearTimeout(timer);
  if ($("auto").checked && !document.hidden) timer = setTimeout(refresh, ms);
}

function showReach(lost, err) {
  const box = $("unreachable");
  const clock = (ms) => new Date(ms).toLocaleTimeString();
  document.body.classList.toggle("stale", lost);
  box.hidden = !lost;
  if (lost) {
    const text = lastAnswer === null ? `The island does not answer (${err.message}).` : `The island has not answered since ${clock(lastAnswer)} (${err.message}). What is shown below is from then.`;
    if (box.firstChild?.textContent !== text) box.replaceChildren(el("span", {}, text), " ", el("button", { type: "button", onclick: refresh }, "Ask again"));
  }
  $("fresh").textContent = lost ? "" : `as of ${clock(now())}`;
}

/**
 * Replaces what an element shows, unless it would show the same or the reader
 * has marked text in it. The keyboard's place is kept.
 */
function show(id, content) {
  const box = $(id);
  const nodes = [content].flat().filter((n) => n !== "" && n !== null && n !== undefined);
  const probe = el("div", {}, nodes);
  const text = probe.innerHTML; // only compared, never parsed
  if (drawn.get(id) === text || isMarked(box)) return;
  drawn.set(id, text);
  const places = () => [...box.querySelectorAll("a[href], summary, button")];
  const at = places().indexOf(document.activeElement);
  box.replaceChildren(...probe.childNodes);
  if (at >= 0) places()[at]?.focus({ preventScroll: true });
}

function isMarked(box) {
  const marked = getSelection();
  return !marked.isCollapsed && box.contains(marked.anchorNode);
}

function render() {
  const state = readURL();
  for (const v of VIEWS) $("view-" + v).hidden = v !== state.view;
  for (const a of document.querySelectorAll("nav a")) {
    if (a.dataset.view === state.view) a.setAttribute("aria-current", "page");
    else a.removeAttribute("aria-current");
  }
  const name = data.status?.name || "Atoll";
  $("island-name").textContent = name;
  badges(name, state);
  if (state.view === "overview") {
    const parts = overview(data, errors);
    $("view-overview").dataset.bad = parts.bad;
    if ($("verdict").textContent !== parts.verdict) $("verdict").textContent = parts.verdict;
    $("identity").textContent = parts.identity;
    for (const id of ["figures", "attention", "firing", "jobs", "facts", "rooms", "budgets"]) show(id, parts[id]);
  } else if (state.view === "targets") {
    if (document.activeElement !== $("find")) $("find").value = state.find;
    $("state").value = state.state;
    show("targets", [...failures(errors, ["targets"]), data.targets ? targetsView(data.targets, state.find, state.state, openJobs) : ""]);
  } else if (state.view === "islands") {
    const parts = islands(data.network, data.peers, openAttempts);
    if ($("network").textContent !== parts.lead) $("network").textContent = parts.lead;
    show("reached", parts.figures);
    show("islands", [...failures(errors, errors.network ? ["network"] : ["peers"]), parts.list]);
    show("self", parts.self);
  } else if (state.view === "alerts") {
    show("alerts", [...failures(errors, ["rules"]), data.rules ? alertsView(data.rules) : ""]);
    show("rules", data.rules ? rulesView(data.rules, openGroups) : "");
  }
}

function badges(name, state) {
  const down = (data.targets?.activeTargets || []).filter((t) => t.health === "down").length;
  const firing = data.rules ? allAlerts(data.rules).filter((a) => a.state === "firing").length : 0;
  for (const [id, n, what] of [
    ["nav-targets", down, "down"],
    ["nav-alerts", firing, "firing"],
    ["nav-islands", troubled(data.peers).length, "not well connected"],
  ]) {
    $(id).hidden = n === 0;
    $(id).textContent = number(n);
    $(id).setAttribute("aria-label", `${n} ${what}`);
  }
  document.title = `${firing ? `(${firing}) ` : ""}${state.view === "query" && state.q ? state.q.slice(0, 40) : state.view} – ${name}`;
}

async function ask(state, quietly) {
  const box = $("query-result");
  if (quietly && (running || inUse(box) || Date.now() - askedAt < refreshEvery(state, box))) return;
  askedAt = Date.now();
  running?.abort();
  const mine = new AbortController();
  running = mine;
  if (!quietly && state.q) $("query-status").textContent = "Asking…";
  await runQuery(state, box, $("query-status"), mine.signal);
  if (running === mine) running = null;
}

/** A result must not be pulled from under the reader. */
function inUse(box) {
  return isMarked(box) || box.querySelector(".readout:not([hidden]), details[open]") !== null || (box.querySelector(".scroll")?.scrollLeft || 0) > 0;
}

/** Called when the URL has changed: the form follows it, then the view. */
function navigate() {
  const state = readURL();
  render();
  if (state.view !== "query") {
    running?.abort();
    running = null;
    return;
  }
  $("q").value = state.q;
  $("range").value = state.range;
  if (!$("range").value) $("range").value = "1h";
  document.querySelector(`input[name=as][value=${state.as}]`).checked = true;
  $("range").disabled = state.as === "table"; // a table shows one moment
  grow();
  ask(state, false);
}

function grow() {
  const q = $("q");
  q.style.height = "auto";
  q.style.height = `${Math.min(q.scrollHeight + 2, 300)}px`;
}

function submitQuery() {
  const q = $("q").value.trim();
  const as = document.querySelector("input[name=as]:checked").value;
  writeURL({ view: "query", q, range: $("range").value === "1h" ? "" : $("range").value, as: as === "chart" ? "" : as }, false);
  navigate();
}

document.addEventListener("click", (e) => {
  const a = e.target.closest("a[href^='?']");
  if (!a || e.metaKey || e.ctrlKey || e.shiftKey || e.button !== 0) return;
  e.preventDefault();
  const href = a.getAttribute("href");
  history.pushState(null, "", href === "?" ? location.pathname : href);
  navigate();
  scrollTo(0, 0);
});
addEventListener("popstate", navigate);
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : refresh()));
$("auto").addEventListener("change", () => ($("auto").checked ? refresh() : clearTimeout(timer)));
$("query-form").addEventListener("submit", (e) => {
  e.preventDefault();
  submitQuery();
});
$("q").addEventListener("input", grow);
$("q").addEventListener("keydown", (e) => {
  if (e.key !== "Enter" || e.shiftKey || e.isComposing) return;
  e.preventDefault();
  submitQuery();
});
$("range").addEventListener("change", submitQuery);
for (const radio of document.querySelectorAll("input[name=as]")) radio.addEventListener("change", submitQuery);
$("targets-form").addEventListener("submit", (e) => e.preventDefault());
$("find").addEventListener("input", () => {
  writeURL({ find: $("find").value }, true);
  render();
});
$("state").addEventListener("change", () => {
  writeURL({ state: $("state").value }, true);
  render();
});

navigate();
refresh();
