import type { components } from "@/api/schema";
import type { State } from "@/parts/states";

export type Group = components["schemas"]["FiringGroup"];
export type Instance = components["schemas"]["FiringInstance"];
export type AlertEvent = components["schemas"]["AlertEvent"];
export type Preview = components["schemas"]["RulePreview"];

/** Matcher compares a label, as silences do. */
export type Matcher = { name: string; value: string; isRegex: boolean; isEqual: boolean };

/** markOf is the colour of a severity: the words people use differ, what they mean seldom does. */
export function markOf(severity: string): State {
  if (/^(critical|page|emergency|fatal|disaster|error|high|major|p[0-2])$/i.test(severity)) return "bad";
  if (/^(warn|warning|medium|minor|p3)$/i.test(severity)) return "warn";
  return /^(info|information|low|notice|none|p4)$/i.test(severity) ? "info" : "idle";
}

/** The spans for which people silence at night; tomorrow ends when they are at work again. */
export const spans = ["30m", "2h", "8h", "tomorrow"] as const;
export type Span = (typeof spans)[number];

/** endOf is when a span that begins now ends (ms since 1970). */
export function endOf(span: Span, now: number): number {
  const hour = 3_600_000;
  if (span !== "tomorrow") return now + { "30m": hour / 2, "2h": 2 * hour, "8h": 8 * hour }[span];
  const end = new Date(now);
  end.setDate(end.getDate() + 1);
  end.setHours(9, 0, 0, 0);
  return end.getTime();
}

/** safeLink lets nothing through but web addresses: annotations are anybody's. */
export function safeLink(url: string): string | undefined {
  try {
    const u = new URL(url);
    return u.protocol === "http:" || u.protocol === "https:" ? u.href : undefined;
  } catch {
    return undefined;
  }
}

/** exploreOf leads to the page's own answer for the query that a rule names as its origin. */
export function exploreOf(generator: string): string | undefined {
  const link = safeLink(generator);
  const query = link === undefined ? null : new URL(link).searchParams;
  const expr = query?.get("g0.expr") ?? query?.get("expr");
  if (!expr) return undefined;
  const scope = query?.get("scope");
  return `/explore?${new URLSearchParams({ expr, ...(scope ? { scope } : {}) })}`;
}

/** evidenceOf leads to the page of what was gathered, which alerts link as the API has it. */
export function evidenceOf(url: string): string | undefined {
  const link = safeLink(url);
  if (link === undefined) return undefined;
  const { pathname, searchParams } = new URL(link);
  const at = pathname.match(/\/api\/v1\/probes\/evidence(?:\/([^/]+))?$/);
  if (!at) return undefined;
  if (at[1] !== undefined) return `/probes/evidence/${at[1]}`;
  return `/probes/evidence${searchParams.size > 0 ? `?${searchParams}` : ""}`;
}

/** withFingerprint is the group that has this alert, as links from elsewhere name it. */
export function withFingerprint<G extends Pick<Group, "instances">>(
  groups: readonly G[],
  fingerprint: string,
): G | undefined {
  return groups.find((g) => g.instances.some((i) => i.fingerprint === fingerprint));
}

/** groupMatchers match what a group is about, also what joins it later. */
export function groupMatchers(g: Pick<Group, "alertname" | "labels">): Matcher[] {
  return equal({ alertname: g.alertname, ...g.labels });
}

/** equal matches all of some labels. */
export function equal(labels: Record<string, string>): Matcher[] {
  return Object.entries(labels)
    .filter(([, value]) => value !== "")
    .map(([name, value]) => ({ name, value, isRegex: false, isEqual: true }));
}

export const operators = ["=", "!=", "=~", "!~"] as const;
export type Operator = (typeof operators)[number];

export const operatorOf = (m: Matcher): Operator =>
  m.isRegex ? (m.isEqual ? "=~" : "!~") : m.isEqual ? "=" : "!=";

export const withOperator = (m: Matcher, op: Operator): Matcher => ({
  ...m,
  isRegex: op.endsWith("~"),
  isEqual: !op.startsWith("!"),
});

export const writeMatcher = (m: Matcher) => `${m.name}${operatorOf(m)}${JSON.stringify(m.value)}`;

/** readMatchers reads what an address says: a JSON list; anything else is none. */
export function readMatchers(text: string | null): Matcher[] {
  if (text === null) return [];
  try {
    const all: unknown = JSON.parse(text);
    if (!Array.isArray(all)) return [];
    return all
      .slice(0, 50)
      .flatMap((m: Partial<Matcher> | null) =>
        m !== null && typeof m === "object" && typeof m.name === "string" && typeof m.value === "string"
          ? [{ name: m.name, value: m.value, isRegex: m.isRegex === true, isEqual: m.isEqual !== false }]
          : [],
      );
  } catch {
    return [];
  }
}

/** matches judges labels as Alertmanager does: a label that is not there is empty. undefined is a broken expression. */
export function matches(matchers: readonly Matcher[], labels: Record<string, string>): boolean | undefined {
  for (const m of matchers) {
    const value = labels[m.name] ?? "";
    let same = value === m.value;
    if (m.isRegex) {
      try {
        same = new RegExp(`^(?:${m.value})$`, "s").test(value);
      } catch {
        return undefined;
      }
    }
    if (same !== m.isEqual) return false;
  }
  return true;
}

/** mentions finds the words of q anywhere in a group. */
export function mentions(g: Group, q: string): boolean {
  const words = q.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return true;
  const text = [
    g.alertname,
    g.severity,
    g.owner ?? "",
    g.summary ?? "",
    g.verdict ?? "",
    ...g.receivers,
    ...g.instances.flatMap((i) => [...Object.values(i.labels), i.summary ?? ""]),
  ]
    .join("\n")
    .toLowerCase();
  return words.every((w) => text.includes(w));
}

/** place writes the labels that tell an instance from the others of its group. */
export function place(i: Instance, g: Group): string {
  const own = Object.entries(i.labels).filter(([name]) => name !== "alertname" && !(name in g.common_labels));
  return own.map(([name, value]) => `${name}=${value}`).join(" ");
}

/** portion is where a moment stands between two others, in percent. */
export function portion(at: number, from: number, to: number): number {
  return Math.min(Math.max(((at - from) / (to - from)) * 100, 0), 100);
}
