import createFetch, { type Middleware } from "openapi-fetch";
import createQuery from "openapi-react-query";
import type { paths } from "./schema";

/** Refusal is what an island answers when it does not do what was asked. */
export class Refusal extends Error {
  readonly status: number;
  readonly code: string;
  readonly field: string | undefined;
  readonly remedy: string | undefined;

  constructor(status: number, code: string, message: string, field?: string, remedy?: string) {
    super(message);
    this.status = status;
    this.code = code;
    this.field = field;
    this.remedy = remedy;
  }
}

/** refusalOf reads any of the forms an answer may have: Atoll's, Prometheus', Alertmanager's or plain text. */
export async function refusalOf(response: Response): Promise<Refusal> {
  const text = await response.text().catch(() => "");
  try {
    const body: unknown = JSON.parse(text);
    if (typeof body === "string") return new Refusal(response.status, String(response.status), body);
    if (body !== null && typeof body === "object") {
      const fields = body as Record<string, unknown>;
      const word = (name: string) =>
        typeof fields[name] === "string" ? (fields[name] as string) : undefined;
      const message = word("message") ?? word("error") ?? text;
      const code = word("code") ?? word("errorType") ?? String(response.status);
      return new Refusal(response.status, code, message, word("field"), word("remedy"));
    }
  } catch {
    // Not JSON: the text is the message.
  }
  return new Refusal(response.status, String(response.status), text.trim() || response.statusText);
}

let csrf = "";

/** setCSRF keeps the value that changes must carry; it comes with the session. */
export function setCSRF(value: string) {
  csrf = value;
}

const onRefusal = new Set<(refusal: Refusal) => void>();

/** whenRefused calls f for each refusal, until the returned function is called. */
export function whenRefused(f: (refusal: Refusal) => void): () => void {
  onRefusal.add(f);
  return () => onRefusal.delete(f);
}

/** headersFor are those that a request of this method needs besides its own. */
export function headersFor(method: string): Record<string, string> {
  return csrf !== "" && method !== "GET" && method !== "HEAD" ? { "X-Atoll-CSRF": csrf } : {};
}

const manners: Middleware = {
  onRequest({ request }) {
    for (const [name, value] of Object.entries(headersFor(request.method))) request.headers.set(name, value);
    return request;
  },
  async onResponse({ response }) {
    if (response.ok) return response;
    const refusal = await refusalOf(response);
    for (const f of onRefusal) f(refusal);
    throw refusal;
  },
};

/** api asks the island that served the page; it throws a Refusal where that refuses. */
export const api = createFetch<paths>({
  baseUrl: globalThis.location?.origin ?? "",
  credentials: "same-origin",
});
api.use(manners);

/** $api has the same paths as hooks of TanStack Query. */
export const $api = createQuery(api);

type Method = "get" | "post" | "put" | "delete";
type JSONOf<C> = C extends { content: { "application/json": infer T } } ? T : undefined;
/** Filled is a path of the document with any values for its parameters, and any query. */
type Filled<P extends string> = P extends `${infer A}{${string}}${infer B}`
  ? `${A}${string}${Filled<B>}`
  : P | `${P}?${string}`;
type Bare<U extends string> = U extends `${infer P}?${string}` ? P : U;
/** Segments counts the parts of a path, so that a value does not stand for two of them. */
type Segments<P extends string, N extends unknown[] = []> = P extends `${string}/${infer B}`
  ? Segments<B, [...N, unknown]>
  : N["length"];
type Documented<U extends string> = {
  [P in keyof paths]: U extends Filled<P> ? (Segments<Bare<U>> extends Segments<P> ? P : never) : never;
}[keyof paths];
type Operation<U extends string, M extends Method> = paths[Documented<U>][M];
type Good<R> = R extends { 200: infer A }
  ? A
  : R extends { 201: infer A }
    ? A
    : R extends { 204: infer A }
      ? A
      : never;

/** AnswerOf is what the document says that a request is answered with. */
export type AnswerOf<U extends string, M extends Method = "get"> =
  Operation<U, M> extends { responses: infer R } ? JSONOf<Good<R>> : never;
/** BodyOf is what the document wants in a request. */
export type BodyOf<U extends string, M extends Method> =
  Operation<U, M> extends { requestBody?: infer B } ? JSONOf<B> : undefined;

/** ask gets what is at a path, which must be one of the document's. */
export function ask<const U extends string>(
  path: [Documented<U>] extends [never] ? never : U,
  init: RequestInit = {},
): Promise<AnswerOf<U>> {
  return fetched(path, init);
}

/** send puts value as JSON into a request that changes something. */
export function send<const M extends "POST" | "PUT" | "DELETE", const U extends string>(
  method: M,
  path: [Documented<U>] extends [never] ? never : U,
  ...[value, headers]: BodyOf<U, Lowercase<M>> extends undefined
    ? [value?: undefined, headers?: Record<string, string>]
    : [value: BodyOf<U, Lowercase<M>>, headers?: Record<string, string>]
): Promise<AnswerOf<U, Lowercase<M>>> {
  return fetched(path, {
    method,
    headers: { ...(value === undefined ? {} : { "Content-Type": "application/json" }), ...headers },
    body: value === undefined ? null : JSON.stringify(value),
  });
}

/** fetched is a request as the page makes it, whose answer is taken for a T. */
export async function fetched<T>(path: string, init: RequestInit = {}): Promise<T> {
  const method = init.method ?? "GET";
  const response = await fetch(path, {
    credentials: "same-origin",
    ...init,
    headers: { ...headersFor(method), ...(init.headers as Record<string, string> | undefined) },
  });
  if (!response.ok) {
    const refusal = await refusalOf(response);
    for (const f of onRefusal) f(refusal);
    throw refusal;
  }
  const text = await response.text();
  return (text === "" ? undefined : JSON.parse(text)) as T;
}
