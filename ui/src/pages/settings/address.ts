/** addressOf is where a document is shown. */
export function addressOf(key: string): string {
  const [kind = "", ...rest] = key.split("/");
  return `/settings/documents/${encodeURIComponent(kind)}/${encodeURIComponent(rest.join("/"))}`;
}
