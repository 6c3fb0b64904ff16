// The other islands of the network: how each is reached, and why not directly.

import { now } from "./api.js";
import { ago, amount, duration, el, number, plural, since, tags, time } from "./format.js";

const STATES = { connected: "ok", idle: "plain", connecting: "warn", suspect: "warn", quarantined: "warn", unreachable: "crit", refused: "crit" };
const RANK = { unreachable: 0, refused: 1, suspect: 2, quarantined: 3, connecting: 4, connected: 5, idle: 6 };

/** Islands that something is wrong with. */
export function troubled(peers) {
  return (peers || []).filter((p) => ["unreachable", "refused", "suspect", "quarantined"].includes(p.state));
}

/**
 * The parts of the view; what cannot be said yet is empty. open remembers whose
 * attempts the reader has opened.
 */
export function islands(network, peers, open) {
  if (!network) return { lead: "", figures: "", list: "", self: "" };
  if (!network.joined) return { lead: "This island belongs to no network yet. It works alone; in a network it sees the others and tells a lost site from a lost line.", figures: "", list: beginning(), self: "" };
  const list = peers || [];
  const connected = list.filter((p) => p.state === "connected");
  const relayed = connected.filter((p) => p.path === "relayed").length;
  const wrong = troubled(list);
  return {
    lead: `${network.network}, as ${network.island} sees it`,
    figures: peers
      ? [
          ["Islands", number(list.length + 1)],
          ["Connected", `${number(connected.length)} / ${number(list.length)}`, wrong.length ? "warn" : ""],
          ["Direct", number(connected.length - relayed)],
          ["Relayed", number(relayed)],
          ["Furthest", furthest(connected)],
        ].map(([k, v, c]) => el("div", { class: c }, el("dt", {}, k), el("dd", {}, v)))
      : "",
    list: !peers ? "" : list.length ? table(list, open) : alone(),
    self: self(network, list),
  };
}

function furthest(connected) {
  const rtts = connected.map((p) => p.rtt_seconds || 0).filter((s) => s > 0);
  return rtts.length ? duration(Math.max(...rtts)) : "–";
}

const COLUMNS = ["State", "Island", "Path", "Over", "Round trip", "Loss", "Received", "Sent", "Since"];
const NUMBERS = COLUMNS.slice(4);

/** Roles are written out: on a phone the rows are laid out as cards. */
function table(list, open) {
  const named = (text) => list.reduce((t, p) => t.replaceAll(p.key, p.name), text);
  const rows = [...list].sort((a, b) => (RANK[a.state] ?? 0) - (RANK[b.state] ?? 0) || a.name.localeCompare(b.name));
  return el(
    "div",
    { class: "scroll" },
    el(
      "table",
      { class: "islands", role: "table" },
      el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, COLUMNS.map((c) => el("th", { role: "columnheader", scope: "col", class: NUMBERS.includes(c) ? "num" : "" }, c)))),
      el("tbody", { role: "rowgroup" }, rows.map((p) => row(p, named, open))),
    ),
  );
}

function row(p, named, open) {
  const on = Boolean(p.path);
  const cells = {
    State: el("span", { class: `state ${STATES[p.state] || "warn"}` }, p.state),
    Island: [
      el("strong", {}, p.name),
      el("span", { class: "note" }, [p.region, p.role].filter(Boolean).join(" · ")),
      tags(p.labels, ["region"]) || "",
    ],
    Path: path(p, named, open),
    Over: on ? el("span", { title: p.security ? `secured by ${p.security}` : null }, p.transport || "–") : "–",
    "Round trip": on && p.rtt_seconds ? el("span", { title: p.jitter_seconds ? `± ${duration(p.jitter_seconds)}` : null }, duration(Number(p.rtt_seconds.toPrecision(3)))) : "–",
    Loss: on ? `${number(Number(((p.loss || 0) * 100).toPrecision(2)))} %` : "–",
    Received: amount(p.bytes_in || 0, "bytes"),
    Sent: amount(p.bytes_out || 0, "bytes"),
    Since: p.since ? since(p.since) : p.last_seen && time(p.last_seen) ? el("span", { class: "muted" }, `seen ${ago(p.last_seen)}`) : "–",
  };
  return el(
    "tr",
    { role: "row" },
    COLUMNS.map((c) => el("td", { role: "cell", "data-name": c, class: `${NUMBERS.includes(c) ? "num" : ""} c-${c.toLowerCase().replace(" ", "-")}` }, cells[c])),
  );
}

function path(p, named, open) {
  const words = p.path ? (p.via ? `${p.path} via ${p.via}` : p.path) : "none";
  // A connected island says why the path is not direct, another what is wrong.
  const why = named((p.state === "connected" ? p.why_not_direct : p.last_error) || "");
  const [first, ...attempts] = why.split("\n").filter((line) => line.trim());
  return [
    el("span", {}, words),
    first ? el("span", { class: "note why" }, first) : "",
    attempts.length
      ? el(
          "details",
          { open: open.get(p.key), ontoggle: (e) => open.set(p.key, e.target.open) },
          el("summary", {}, plural(attempts.length, "attempt")),
          el("ul", {}, attempts.map((a) => el("li", { class: "note why" }, a.replace(/^[\s*]+/, "")))),
        )
      : "",
    p.breaker && p.breaker !== "closed" ? el("span", { class: "note warn" }, `Calls are held back: its circuit breaker is ${p.breaker}.`) : "",
  ];
}

function self(n, peers) {
  const rows = [
    ["Name", n.island],
    ["Role", role(n)],
    ["Certificate", n.certificate_expires ? certificate(n.certificate_expires) : ""],
    ["Reached at", reached(n.addresses || [], peers)],
    ["Key", el("code", {}, n.key || "")],
    ["Network", el("code", {}, n.network_id || "")],
  ];
  return [
    el("h2", {}, "This island"),
    el("dl", { class: "facts" }, rows.filter(([, v]) => v && v.length !== 0).map(([k, v]) => el("div", {}, el("dt", {}, k), el("dd", {}, v)))),
  ];
}

/** Addresses; those through a relay are told by the relay's name. */
function reached(addresses, peers) {
  const relays = new Set();
  const own = [];
  for (const a of addresses) {
    const relay = a.match(/\/p2p\/([^/]+)\/p2p-circuit/);
    if (relay) relays.add(peers.find((p) => p.key === relay[1])?.name || relay[1]);
    else own.push(el("code", { class: "block" }, a));
  }
  return relays.size ? [...own, el("span", { class: "block" }, `by relay: ${[...relays].join(", ")}`)] : own;
}

function role(n) {
  if (!n.role) return "none: this island is no member any more";
  const keys = [n.signer ? "a signer key" : "", n.root ? "the root key" : ""].filter(Boolean);
  return keys.length ? `${n.role}, holds ${keys.join(" and ")}` : n.role;
}

function certificate(expires) {
  const t = time(expires);
  if (t === null) return "";
  const left = (t - now()) / 1000;
  const text = left > 0 ? `good for ${duration(Math.round(left))}, renewed by itself` : "has expired: only trust can be renewed until it is";
  return el("time", { datetime: new Date(t).toISOString(), title: new Date(t).toLocaleString(), class: left > 0 ? null : "bad" }, text);
}

function step(words, command, note) {
  return el("li", { class: "row" }, el("p", {}, words), el("pre", {}, el("code", {}, command)), note ? el("p", { class: "note" }, note) : "");
}

const INVITE = () => step("On an island that holds a signer key, print a token. It is good for one island and 24 hours.", "atoll invite --label region=eu-west");
const JOIN = () => step("On the new site, join with it. The island runs from then on and finds the others by itself.", "atoll join atoll1…", "UDP or TCP port 59443 of one island must be reachable; the others may sit behind NAT.");

function beginning() {
  return [
    el("h2", {}, "Make a network"),
    el("ol", { class: "rows steps" }, step("Here, on the first site. It prints a recovery key once: keep it away from this machine.", "atoll init acme"), INVITE(), JOIN()),
    el("h2", {}, "Or join one"),
    el("p", { class: "muted" }, "With a token from somebody else's island, the third step is all there is to do here."),
  ];
}

function alone() {
  return [el("p", { class: "muted" }, "No other island yet. Bring in the next site:"), el("ol", { class: "rows steps" }, INVITE(), JOIN())];
}
