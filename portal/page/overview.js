// The first view: is anything wrong, and what is to be done about it?

import { ago, amount, duration, el, number, plural, since, time } from "./format.js";
import { alertRow, allAlerts } from "./alerts.js";
import { jobSummary, jobsOf } from "./targets.js";

const RANK = { critical: 0, warning: 1, info: 2 };

/** Everything wrong that a person can act on, the worst first. */
export function troubles(data) {
  const list = [];
  const status = data.status;
  for (const w of (data.health && data.health.active) || []) {
    list.push({ severity: w.severity, title: w.title.charAt(0).toUpperCase() + w.title.slice(1), text: w.text, remedy: w.remedy, since: w.since, key: w.code });
  }
  const reload = status && status.config.last_reload;
  // The island has a warning of its own for this; without one, say it here.
  if (reload && !reload.ok && !list.some((t) => t.key === "config-reload-refused")) {
    list.push({
      severity: "warning",
      title: "The last reload was refused",
      text: reload.error,
      remedy: "Correct the file and reload again; the configuration from before runs on.",
      since: reload.at,
    });
  }
  for (const room of (status && status.rooms) || []) {
    if (room.state === "failed") {
      list.push({ severity: "critical", title: `Room ${room.name} has failed`, text: room.error, remedy: "See the island's log; restart it when the cause is gone.", since: room.since });
    }
  }
  for (const [job, targets] of jobsOf(data.targets)) {
    const down = targets.filter((t) => t.health === "down");
    if (!down.length) continue;
    list.push({
      severity: "warning",
      title: `${job}: ${number(down.length)} of ${plural(targets.length, "target")} down`,
      text: `${down[0].scrapeUrl}: ${down[0].lastError}`,
      remedy: "See whether the service runs and the island reaches its address.",
      href: `?view=targets&state=down&find=${encodeURIComponent(job)}`,
    });
  }
  for (const group of (data.rules && data.rules.groups) || []) {
    for (const rule of group.rules) {
      if (rule.health !== "err") continue;
      list.push({
        severity: "warning",
        title: `Rule ${rule.name} cannot be evaluated`,
        text: rule.lastError,
        remedy: `Correct it in ${group.file}, group ${group.name}.`,
        href: `?view=query&q=${encodeURIComponent(rule.query)}`,
      });
    }
  }
  return list.sort((a, b) => (RANK[a.severity] ?? 3) - (RANK[b.severity] ?? 3));
}

export function overview(data, errors) {
  const status = data.status;
  const list = troubles(data);
  const alerts = data.rules ? allAlerts(data.rules) : [];
  const firing = alerts.filter((a) => a.state === "firing");
  const targets = (data.targets && data.targets.activeTargets) || [];
  const up = targets.filter((t) => t.health === "up").length;
  return {
    verdict: verdict(status, list, firing),
    identity: status ? identity(status) : "",
    figures: [
      ["Targets up", data.targets ? `${number(up)} / ${number(targets.length)}` : "–", targets.some((t) => t.health === "down") ? "warn" : ""],
      ["Alerts firing", data.rules ? number(firing.length) : "–", firing.length ? "crit" : ""],
      ["Series", status ? number(status.head_series) : "–"],
      ["Samples a second", status ? number(Math.round(status.samples_per_second)) : "–"],
      ["Up for", status ? duration(Math.round(status.uptime_seconds)) : "–"],
    ].map(([k, v, c]) => el("div", { class: c }, el("dt", {}, k), el("dd", {}, v))),
    attention: [...failures(errors, ["health", "status"]), list.length ? el("ul", { class: "rows" }, list.map(trouble)) : status ? quiet(targets) : ""],
    firing: [...failures(errors, ["rules"]), firing.length ? el("ul", { class: "rows" }, firing.map((a) => alertRow(a))) : data.rules ? el("p", { class: "muted" }, "None.") : ""],
    jobs: [...failures(errors, ["targets"]), data.targets ? jobSummary(data.targets) : ""],
    facts: status ? facts(status) : [],
    rooms: status ? rooms(status.rooms || []) : "",
    budgets: status ? budgets(status.budgets || []) : "",
    bad: list.some((t) => t.severity === "critical") || firing.length ? "crit" : list.length ? "warn" : status ? "ok" : "",
  };
}

function quiet(targets) {
  const waiting = targets.filter((t) => t.health === "unknown").length;
  let text = "Nothing: every target answers and no warning is active.";
  if (!targets.length) text = "Nothing, but no target is configured yet.";
  else if (waiting) text = `Nothing so far: ${plural(waiting, "target")} not scraped yet.`;
  return el("p", { class: "muted" }, text);
}

/** What could not be asked, in place of what would be shown. */
export function failures(errors, parts) {
  return parts.filter((p) => errors[p] && !errors[p].unreachable).map((p) => el("p", { class: "failure" }, `${p}: ${errors[p].status ? errors[p].status + " " : ""}${errors[p].message}`));
}

function verdict(status, list, firing) {
  if (!status) return "Asking the island…";
  const parts = [];
  if (list.length) parts.push(list.length === 1 ? "one thing needs attention" : `${number(list.length)} things need attention`);
  if (firing.length) parts.push(firing.length === 1 ? "one alert fires" : `${number(firing.length)} alerts fire`);
  if (!status.ready) parts.unshift("the island is still starting");
  if (!parts.length) return "All is well";
  const text = parts.join(", ");
  return text[0].toUpperCase() + text.slice(1);
}

function identity(s) {
  const labels = Object.entries(s.labels || {}).map(([k, v]) => `${k}=${v}`);
  return [s.name, ...labels, `atoll ${s.version.version}`].filter(Boolean).join("  ·  ");
}

function trouble(t) {
  return el(
    "li",
    { class: `row trouble ${t.severity}` },
    el("div", { class: "head" }, el("span", { class: `sev ${t.severity}` }, t.severity), el("strong", {}, t.href ? el("a", { href: t.href }, t.title) : t.title), t.since ? el("span", { class: "when" }, since(t.since)) : ""),
    t.text ? el("p", { class: "text" }, t.text) : "",
    t.remedy ? el("p", { class: "remedy" }, el("span", { class: "do" }, "Do "), t.remedy) : "",
  );
}

function facts(s) {
  const reload = s.config.last_reload;
  const rows = [
    ["Configuration", s.config.file ? el("code", {}, s.config.file) : "defaults"],
    ["Loaded", since(s.config.loaded_at)],
    ["Last reload", reload ? [reload.ok ? "done " : el("span", { class: "bad" }, "refused "), since(reload.at)] : "none since the start"],
    ["Listens on", (s.addresses || []).map((a) => el("code", { class: "block" }, a))],
    ["Network", el("a", { href: "?view=islands" }, s.network ? `${s.network.name}: ${number(s.network.connected)} of ${plural(s.network.members - 1, "other island")} connected` : "none; how to make or join one")],
    ["Data", s.data_dir ? el("code", {}, s.data_dir) : ""],
    ["Started", time(s.started_at) ? el("span", { title: ago(s.started_at) }, new Date(time(s.started_at)).toLocaleString()) : ""],
    ["Version", [s.version.version, s.version.revision ? ` (${s.version.revision.slice(0, 10)})` : "", s.version.go_version ? `, ${s.version.go_version}` : ""]],
  ];
  return rows.filter(([, v]) => v && v.length !== 0).map(([k, v]) => el("div", {}, el("dt", {}, k), el("dd", {}, v)));
}

function rooms(list) {
  const cls = { running: "ok", failed: "crit" };
  return el(
    "ul",
    { class: "rooms" },
    list.map((r) => el("li", {}, el("span", { class: "name" }, r.name), el("span", { class: `state ${cls[r.state] || "warn"}` }, r.state), r.error ? el("p", { class: "text" }, r.error) : "")),
  );
}

function budgets(list) {
  if (!list.length) return el("p", { class: "muted" }, "None set.");
  return el(
    "ul",
    { class: "budgets" },
    list.map((b) => {
      const share = b.limit > 0 ? b.used / b.limit : null;
      const words = b.limit > 0 ? `${amount(b.used, b.unit)} of ${amount(b.limit, b.unit)}` : `${amount(b.used, b.unit)}, no limit`;
      return el(
        "li",
        {},
        el("span", { class: "name" }, b.name.replaceAll("_", " ")),
        el("span", { class: "used" }, words),
        share === null ? "" : el("meter", { min: 0, max: 1, high: 0.8, low: 0.8, optimum: 0, value: Math.min(1, share), "aria-label": `${b.name}: ${words}` }),
      );
    }),
  );
}
