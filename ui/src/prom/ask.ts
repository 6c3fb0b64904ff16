import { fetched } from "@/api/client";
import { type Answer, read, type Wire } from "./answer";
import { apiScope, type Scope } from "./scope";

/** Longer questions go in a body: servers and proxies bound addresses. */
const longest = 4000;

type Params = Record<string, string | string[]>;

/** askAPI asks Prometheus' API of the island that served the page. */
export function askAPI<T>(path: string, params: Params, signal?: AbortSignal): Promise<T> {
  const form = new URLSearchParams();
  for (const [name, value] of Object.entries(params))
    for (const v of typeof value === "string" ? [value] : value) form.append(name, v);
  const init = signal === undefined ? {} : { signal };
  const text = form.toString();
  return text.length > longest
    ? fetched<T>(path, {
        ...init,
        method: "POST",
        headers: { "Content-Type": "application/x-www-form-urlencoded" },
        body: text,
      })
    : fetched<T>(`${path}?${text}`, init);
}

/** Span is what a range question covers: ms since 1970, the step in seconds. */
export type Span = { from: number; to: number; step: number };

async function narrowed(expr: string, scope: Scope): Promise<string> {
  if (typeof scope === "string") return expr;
  const { restrict } = await import("./restrict");
  return restrict(expr, scope);
}

async function question(path: string, expr: string, scope: Scope, params: Params, signal?: AbortSignal) {
  const query = await narrowed(expr, scope);
  const began = performance.now();
  const wire = await askAPI<Wire>(path, { query, scope: apiScope(scope), ...params }, signal);
  return read(wire, performance.now() - began);
}

/** RangeAnswer is an answer with the span that it is about. */
export type RangeAnswer = Answer & { span: Span };

/** askRange asks for an expression's values over a span. */
export async function askRange(
  expr: string,
  span: Span,
  scope: Scope,
  signal?: AbortSignal,
): Promise<RangeAnswer> {
  const params = {
    start: String(span.from / 1000),
    end: String(span.to / 1000),
    step: String(span.step),
  };
  return { ...(await question("/api/v1/query_range", expr, scope, params, signal)), span };
}

/** askInstant asks for an expression's value at a moment (ms since 1970). */
export function askInstant(expr: string, at: number, scope: Scope, signal?: AbortSignal): Promise<Answer> {
  return question("/api/v1/query", expr, scope, { time: String(at / 1000) }, signal);
}

type Listed<T> = { data: T };

/** askLabelValues lists the values of a label, of series that match where a selector is given. */
export async function askLabelValues(
  label: string,
  scope: Scope,
  match: readonly string[] = [],
  since?: number,
  signal?: AbortSignal,
): Promise<string[]> {
  const { data } = await askAPI<Listed<string[]>>(
    `/api/v1/label/${encodeURIComponent(label)}/values`,
    {
      scope: apiScope(scope),
      ...(match.length > 0 ? { "match[]": [...match] } : {}),
      ...(since === undefined ? {} : { start: String(since / 1000) }),
    },
    signal,
  );
  return data;
}

/** askLabelNames lists the names of labels. */
export async function askLabelNames(scope: Scope, match: readonly string[] = []): Promise<string[]> {
  const { data } = await askAPI<Listed<string[]>>("/api/v1/labels", {
    scope: apiScope(scope),
    ...(match.length > 0 ? { "match[]": [...match] } : {}),
  });
  return data;
}

export type Metadata = Record<string, { type: string; help: string; unit?: string }[]>;

/** askMetadata tells what metrics are about. */
export async function askMetadata(): Promise<Metadata> {
  return (await askAPI<Listed<Metadata>>("/api/v1/metadata", { limit_per_metric: "1" })).data;
}
