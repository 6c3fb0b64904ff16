import type { PrometheusClient } from "@prometheus-io/codemirror-promql";
import { labelMatchersToString } from "@prometheus-io/codemirror-promql/dist/esm/parser";
import { askLabelNames, askLabelValues, askMetadata } from "./ask";
import { selector } from "./names";
import type { Scope } from "./scope";

const age = 30_000;
const most = 200;

/** remember keeps promises for a while: completion asks at every letter. */
function remember<T>(f: (key: string) => Promise<T>): (key: string) => Promise<T> {
  const kept = new Map<string, { at: number; value: Promise<T> }>();
  return (key) => {
    const held = kept.get(key);
    if (held && Date.now() - held.at < age) return held.value;
    const value = f(key);
    if (kept.size >= most) kept.clear();
    kept.set(key, { at: Date.now(), value });
    value.catch(() => kept.delete(key));
    return value;
  };
}

const named = (metric: string | undefined) => (metric ? [selector({ __name__: metric })] : []);

/** completions tells the editor what there is: metrics, labels and values of the islands in scope. */
export function completions(scope: () => Scope): PrometheusClient {
  const names = remember((metric) => askLabelNames(scope(), named(metric)));
  const values = remember((key) => {
    const [label, ...match] = JSON.parse(key) as string[];
    return askLabelValues(label as string, scope(), match);
  });
  const metadata = remember(() => askMetadata());
  // A completion that cannot be had is no error of what is being written.
  const quietly = <T>(p: Promise<T>, otherwise: T) => p.catch(() => otherwise);
  return {
    labelNames: (metric) => quietly(names(metric ?? ""), []),
    labelValues: (label, metric, matchers) => {
      const match = metric ? [labelMatchersToString(metric, matchers, label)] : [];
      return quietly(values(JSON.stringify([label, ...match])), []);
    },
    metricMetadata: () => quietly(metadata(""), {}),
    metricNames: () => quietly(values(JSON.stringify(["__name__"])), []),
    series: () => Promise.resolve([]),
    flags: () => Promise.resolve({}),
  };
}
