import { useCallback, useMemo } from "react";
import { useSearchParams } from "react-router";
import { useIslands } from "./hooks";
import { readScope, type Scope, writeScope } from "./scope";

/**
 * useScope is whose data a view is about. An address that says nothing means every
 * island where there are several; ready is false until that is known.
 */
export function useScope(): { scope: Scope; ready: boolean; setScope: (s: Scope) => void } {
  const [params, setParams] = useSearchParams();
  const { data, isPending } = useIslands();
  const text = params.get("scope");
  const fallback: Scope = data?.joined ? "all" : "local";
  const scope = useMemo(() => readScope(text) ?? fallback, [text, fallback]);
  const setScope = useCallback(
    (s: Scope) =>
      setParams(
        (p) => {
          const next = new URLSearchParams(p);
          next.set("scope", writeScope(s));
          return next;
        },
        { replace: true },
      ),
    [setParams],
  );
  return { scope, ready: readScope(text) !== undefined || !isPending, setScope };
}
