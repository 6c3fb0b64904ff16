import { labelName, quoted } from "@/prom/names";
import { type Rule, rules } from "./rules";

/** Found is a metric that counts requests, with what else is known about them. */
export type Found = {
  rule: Rule;
  /** The metric that counts requests. */
  requests: string;
  /** How long they took: the histogram's name, without _bucket. */
  duration?: { metric: string; classic: boolean; millis: boolean };
};

/** Source is a Found whose labels are known: enough to ask questions. */
export type Source = Found & {
  id: string;
  service: string;
  errors: string | undefined;
  split: string[];
  only: string | undefined;
};

/** More metrics that count requests than these are not looked through. */
const most = 40;

/** discover finds the metrics that count requests among all there are. */
export function discover(all: readonly string[]): Found[] {
  const names = new Set(all);
  const taken = new Set<string>();
  const found: Found[] = [];
  for (const rule of rules)
    for (const requests of all) {
      const m = rule.requests.exec(requests);
      if (m === null) continue;
      const duration = durationOf(rule, m[1] ?? "", names);
      // A counter and the count of its own histogram are the same requests.
      const key = duration?.metric ?? requests;
      if (taken.has(key)) continue;
      taken.add(key);
      found.push({ rule, requests, ...(duration ? { duration } : {}) });
    }
  return found.slice(0, most);
}

function durationOf(rule: Rule, prefix: string, names: ReadonlySet<string>): Found["duration"] {
  for (const template of rule.durations) {
    const metric = template.replace("$1", prefix);
    const classic = names.has(`${metric}_bucket`);
    // Counts without buckets and without a histogram of the plain name are a summary's.
    if (classic || names.has(metric))
      // OpenTelemetry's durations without a unit in the name are of when it counted milliseconds.
      return { metric, classic, millis: /_(milliseconds|duration)$/.test(metric) };
  }
  return undefined;
}

/** sourceOf decides by the labels that the metric has; undefined where none names a service. */
export function sourceOf(found: Found, labels: readonly string[]): Source | undefined {
  const has = new Set(labels);
  const service = found.rule.service.find((l) => has.has(l));
  if (service === undefined) return undefined;
  const { only } = found.rule;
  return {
    ...found,
    id: found.requests,
    service,
    errors: found.rule.errors.find((e) => has.has(e.label))?.matcher,
    split: found.rule.split.filter((l) => has.has(l)),
    only: only && has.has(only.label) ? only.matcher : undefined,
  };
}

const matchers = (...all: (string | undefined)[]) => {
  const given = all.filter((m) => m !== undefined && m !== "");
  return given.length === 0 ? "" : `{${given.join(",")}}`;
};

/** Red are the three questions about a service: rate, errors, duration. */
export type Red = { rate: string; errors?: string; latency?: (quantile: number) => string };

/** red asks about all services of a source, or one; by is what the answer is split by. */
export function red(s: Source, window: string, by: readonly string[], name?: string): Red {
  const own = name === undefined ? undefined : `${labelName(s.service)}=${quoted(name)}`;
  const group = (extra: readonly string[] = []) => {
    const all = [...by, ...extra].map(labelName);
    return all.length === 0 ? "" : ` by (${all.join(", ")}) `;
  };
  const rate = `sum${group()}(rate(${s.requests}${matchers(s.only, own)}[${window}]))`;
  const failed =
    s.errors && `sum${group()}(rate(${s.requests}${matchers(s.only, own, s.errors)}[${window}]))`;
  const d = s.duration;
  return {
    rate,
    // Where nothing failed there is no series: then none failed of those that came.
    ...(failed ? { errors: `(${failed} or 0 * ${rate}) / (${rate} > 0)` } : {}),
    ...(d
      ? {
          latency: (q: number) => {
            const metric = d.classic ? `${d.metric}_bucket` : d.metric;
            const spread = `sum${group(d.classic ? ["le"] : [])}(rate(${metric}${matchers(s.only, own)}[${window}]))`;
            return `histogram_quantile(${q}, ${spread})${d.millis ? " / 1000" : ""}`;
          },
        }
      : {}),
  };
}
