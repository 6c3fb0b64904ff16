import { Group, MultiSelect, Select, TextInput } from "@mantine/core";
import { useQueries } from "@tanstack/react-query";
import { useMemo } from "react";
import { useSearchParams } from "react-router";
import { askLabelValues } from "@/prom/ask";
import { type Scope, writeScope } from "@/prom/scope";
import type { Variable } from "./model";
import { useDashboardText } from "./text";
import { all, type Chosen, fill, readChosen, writeChosen } from "./variables";

/** A list longer than this is searched, not scrolled. */
const mostValues = 1000;

/**
 * useChosen is what the variables stand for. A variable may be used in the selector
 * of one after it; each knows only those before.
 */
export function useChosen(variables: readonly Variable[], scope: Scope, ready: boolean) {
  const [params] = useSearchParams();
  // What the address says is known at once; defaults that come from values follow.
  const given = readChosen(params, variables, {});
  const moment = { from: 0, to: 3_600_000, step: 15 };
  const listed = useQueries({
    queries: variables.map((v) => {
      const match = v.match ? fill(v.match, given, moment) : "";
      return {
        queryKey: ["prom", "values", v.values_of ?? "", match, writeScope(scope)],
        queryFn: ({ signal }: { signal: AbortSignal }) =>
          askLabelValues(v.values_of ?? "", scope, match === "" ? [] : [match], undefined, signal),
        enabled: ready && v.type === "label" && v.values_of !== undefined,
        staleTime: 60_000,
      };
    }),
  });
  const stamp = listed.map((l) => l.dataUpdatedAt).join(" ");
  const values = useMemo(
    () => Object.fromEntries(variables.map((v, i) => [v.name, v.options ?? listed[i]?.data ?? []])),
    [variables, stamp],
  );
  const chosen = readChosen(params, variables, values);
  // A question with an empty variable would ask for something else.
  const pending = variables.some((v, i) => (chosen[v.name]?.length ?? 0) === 0 && listed[i]?.isFetching);
  return { values, chosen, pending };
}

/** VariableBar lets readers choose. */
export function VariableBar({
  variables,
  values,
  chosen,
}: {
  variables: readonly Variable[];
  values: Readonly<Record<string, readonly string[]>>;
  chosen: Chosen;
}) {
  const t = useDashboardText();
  const [, setParams] = useSearchParams();
  const choose = (v: Variable, picked: readonly string[]) =>
    setParams((p) => writeChosen(p, v.name, picked), { replace: true });
  return (
    <Group gap="sm" align="flex-end">
      {variables.map((v) => {
        const label = v.label ?? v.name;
        const own = chosen[v.name] ?? [];
        if (v.type === "text")
          return (
            <TextInput
              key={v.name}
              label={label}
              defaultValue={own[0] ?? ""}
              onBlur={(e) => choose(v, [e.currentTarget.value])}
              onKeyDown={(e) => e.key === "Enter" && choose(v, [e.currentTarget.value])}
            />
          );
        const known = [
          ...new Set([...(values[v.name] ?? []).slice(0, mostValues), ...own.filter((o) => o !== all)]),
        ];
        const data = [
          ...(v.include_all ? [{ value: all, label: t.allValues }] : []),
          ...known.map((o) => ({ value: o, label: o })),
        ];
        return v.multi ? (
          <MultiSelect
            key={v.name}
            label={label}
            miw={180}
            maw={360}
            searchable
            limit={100}
            data={data}
            value={[...own]}
            onChange={(picked) => {
              // All and single values exclude each other; the one chosen last counts.
              const last = picked.at(-1);
              choose(v, last === all ? [all] : picked.filter((p) => p !== all));
            }}
          />
        ) : (
          <Select
            key={v.name}
            label={label}
            miw={160}
            searchable
            limit={100}
            allowDeselect={false}
            data={data}
            value={own[0] ?? null}
            onChange={(picked) => picked !== null && choose(v, [picked])}
          />
        );
      })}
    </Group>
  );
}
