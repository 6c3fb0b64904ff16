/** Scope is whose data a question is about: this island's, all islands', or those of the named. */
export type Scope = "local" | "all" | readonly string[];

/** readScope reads it as an address has it. */
export function readScope(text: string | null): Scope | undefined {
  if (text === null || text === "") return undefined;
  if (text === "local" || text === "all") return text;
  const names = text.split(",").filter((n) => n !== "");
  return names.length === 0 ? undefined : names;
}

export const writeScope = (scope: Scope) => (typeof scope === "string" ? scope : scope.join(","));

/** apiScope is what the API knows: chosen islands are all islands under a matcher. */
export const apiScope = (scope: Scope) => (scope === "local" ? "local" : "all");
