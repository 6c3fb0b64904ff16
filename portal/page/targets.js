// What the island scrapes, by job.

import { ago, duration, el, number, plural, safeHref, tags } from "./format.js";

const MOST = 200; // rows per job; more is not read but slows a phone

const STATES = {
  up: { word: "up", cls: "ok" },
  down: { word: "down", cls: "crit" },
  unknown: { word: "waiting", cls: "warn" },
};

/** Pairs of job and targets; jobs with something down come first. */
export function jobsOf(targets) {
  const jobs = new Map();
  for (const t of (targets && targets.activeTargets) || []) {
    const job = t.scrapePool || t.labels.job || "?";
    if (!jobs.has(job)) jobs.set(job, []);
    jobs.get(job).push(t);
  }
  const down = (list) => list.some((t) => t.health === "down");
  return [...jobs].sort(([a, la], [b, lb]) => down(lb) - down(la) || a.localeCompare(b));
}

/** One line per job for the overview. */
export function jobSummary(targets) {
  const jobs = jobsOf(targets);
  if (!jobs.length) return el("p", { class: "muted" }, "No target yet. Name some under ", el("code", {}, "prometheus.scrape_configs"), " and reload.");
  return el(
    "ul",
    { class: "jobs" },
    jobs.map(([job, list]) => {
      const up = list.filter((t) => t.health === "up").length;
      const cls = list.some((t) => t.health === "down") ? "crit" : up === list.length ? "ok" : "warn";
      return el("li", {}, el("a", { href: `?view=targets&find=${encodeURIComponent(job)}` }, job), el("span", { class: `state ${cls}` }, `${number(up)} / ${number(list.length)} up`));
    }),
  );
}

/** The view; open remembers which jobs the reader has closed or opened. */
export function targetsView(targets, find, state, open) {
  const jobs = jobsOf(targets);
  if (!jobs.length) return jobSummary(targets);
  const words = find.toLowerCase().split(/\s+/).filter(Boolean);
  const matches = (t) => {
    if (state && t.health !== state) return false;
    const text = [t.scrapePool, t.scrapeUrl, t.lastError, ...Object.entries(t.labels).map(([k, v]) => `${k}=${v}`)].join(" ").toLowerCase();
    return words.every((w) => text.includes(w));
  };
  const sections = jobs
    .map(([job, list]) => [job, list, list.filter(matches)])
    .filter(([, , hits]) => hits.length)
    .map(([job, list, hits]) => jobSection(job, list, hits, open));
  return sections.length ? el("div", {}, sections) : el("p", { class: "muted" }, `None of ${plural(targets.activeTargets.length, "target")} matches.`);
}

function jobSection(job, list, hits, open) {
  const up = list.filter((t) => t.health === "up").length;
  const down = list.filter((t) => t.health === "down").length;
  const order = { down: 0, unknown: 1, up: 2 };
  const rows = [...hits].sort((a, b) => order[a.health] - order[b.health] || a.scrapeUrl.localeCompare(b.scrapeUrl));
  const isOpen = open.has(job) ? open.get(job) : down > 0 || list.length <= 20;
  return el(
    "details",
    { class: "job", open: isOpen, ontoggle: (e) => open.set(job, e.target.open) },
    el(
      "summary",
      {},
      el("h2", {}, job),
      el("span", { class: `state ${down ? "crit" : up === list.length ? "ok" : "warn"}` }, `${number(up)} / ${number(list.length)} up`),
      hits.length < list.length ? el("span", { class: "muted" }, `${number(hits.length)} shown`) : "",
    ),
    el("ul", { class: "rows" }, rows.slice(0, MOST).map(row)),
    rows.length > MOST ? el("p", { class: "note" }, `${number(rows.length - MOST)} more; narrow the list with Find.`) : "",
  );
}

/** The island's own metrics have names under http://island/, which is no host. */
function isReachable(url) {
  return safeHref(url) && !url.startsWith("http://island/");
}

function row(t) {
  const state = STATES[t.health] || STATES.unknown;
  const scraped = t.health === "unknown" ? "not scraped yet" : `${ago(t.lastScrape)} in ${duration(t.lastScrapeDuration)}`;
  return el(
    "li",
    { class: "row target" },
    el("span", { class: `state ${state.cls}` }, state.word),
    el("span", { class: "what" }, isReachable(t.scrapeUrl) ? el("a", { href: t.scrapeUrl, rel: "noreferrer" }, t.scrapeUrl) : t.scrapeUrl, " ", tags(t.labels, ["job", "instance"])),
    el("span", { class: "when" }, scraped, el("span", { class: "muted" }, ` every ${t.scrapeInterval}`)),
    t.lastError ? el("p", { class: "text error" }, t.lastError) : "",
  );
}
