// What fires or is about to, and the rules behind it.

import { duration, el, number, plural, safeHref, since, tags } from "./format.js";

/** Every active alert with its rule, firing first, then the newest. */
export function allAlerts(rules) {
  const list = [];
  for (const group of rules.groups || []) {
    for (const rule of group.rules) {
      for (const alert of rule.alerts || []) list.push({ ...alert, rule, group });
    }
  }
  const rank = { firing: 0, pending: 1 };
  return list.sort((a, b) => (rank[a.state] ?? 2) - (rank[b.state] ?? 2) || (a.activeAt < b.activeAt ? 1 : -1));
}

export function alertRow(a) {
  const notes = a.annotations || {};
  const severity = a.labels.severity || "";
  const runbook = notes.runbook_url || notes.runbook;
  return el(
    "li",
    { class: `row alert ${a.state}` },
    el(
      "div",
      { class: "head" },
      el("span", { class: `state ${a.state === "firing" ? "crit" : "warn"}` }, a.state),
      el("strong", {}, a.labels.alertname || a.rule.name),
      severity ? el("span", { class: "tag" }, severity) : "",
      el("span", { class: "when" }, since(a.activeAt)),
    ),
    notes.summary || notes.description || notes.message ? el("p", { class: "text" }, notes.summary || notes.description || notes.message) : "",
    notes.summary && notes.description ? el("p", { class: "text muted" }, notes.description) : "",
    el(
      "p",
      { class: "evidence" },
      tags(a.labels, ["alertname", "severity"]),
      el("span", { class: "value" }, "value ", el("code", {}, number(Number(a.value)))),
      el("a", { href: `?view=query&q=${encodeURIComponent(a.rule.query)}` }, "see the query"),
      runbook && safeHref(runbook) ? el("a", { href: runbook, rel: "noreferrer" }, "runbook") : "",
    ),
  );
}

export function alertsView(rules) {
  const list = allAlerts(rules);
  const firing = list.filter((a) => a.state === "firing").length;
  if (!list.length) return el("p", { class: "muted" }, "No alert fires and none is pending.");
  return el("div", {}, el("p", { class: "muted" }, `${number(firing)} firing, ${number(list.length - firing)} pending`), el("ul", { class: "rows" }, list.slice(0, 300).map(alertRow)), list.length > 300 ? el("p", { class: "note" }, `The first 300 of ${number(list.length)} are shown.`) : "");
}

export function rulesView(rules, open) {
  const groups = rules.groups || [];
  if (!groups.length) return el("p", { class: "muted" }, "No rules. Name rule files under ", el("code", {}, "prometheus.rule_files"), " and reload.");
  return el(
    "div",
    {},
    groups.map((g) => {
      const key = g.file + "\n" + g.name;
      const bad = g.rules.filter((r) => r.health === "err").length;
      const isOpen = open.has(key) ? open.get(key) : bad > 0 || groups.length <= 6;
      return el(
        "details",
        { class: "job", open: isOpen, ontoggle: (e) => open.set(key, e.target.open) },
        el(
          "summary",
          {},
          el("h3", {}, g.name),
          el("span", { class: "muted" }, `${plural(g.rules.length, "rule")} every ${duration(g.interval)}, took ${duration(g.evaluationTime)}`),
          bad ? el("span", { class: "state crit" }, `${number(bad)} failing`) : "",
        ),
        el("ul", { class: "rows" }, g.rules.map(ruleRow)),
        el("p", { class: "muted file" }, g.file),
      );
    }),
  );
}

function ruleRow(r) {
  const states = { firing: "crit", pending: "warn", inactive: "ok" };
  const state = r.health === "err" ? ["failing", "crit"] : r.type === "alerting" ? [r.state, states[r.state] || "warn"] : ["records", "plain"];
  return el(
    "li",
    { class: "row rule" },
    el("span", { class: `state ${state[1]}` }, state[0]),
    el(
      "span",
      { class: "what" },
      el("strong", {}, r.name),
      r.type === "alerting" && r.duration ? el("span", { class: "muted" }, ` for ${duration(r.duration)}`) : "",
      el("a", { class: "expr", href: `?view=query&q=${encodeURIComponent(r.query)}`, title: "Run this expression" }, el("code", {}, r.query)),
    ),
    el("span", { class: "when muted" }, since(r.lastEvaluation)),
    r.lastError ? el("p", { class: "text error" }, r.lastError) : "",
  );
}
