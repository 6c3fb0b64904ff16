import {
  ActionIcon,
  Alert,
  Autocomplete,
  Button,
  Code,
  Group,
  MultiSelect,
  NumberInput,
  Select,
  Stack,
  Text,
} from "@mantine/core";
import { IconPlus, IconX } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { askLabelNames, askLabelValues } from "@/prom/ask";
import { useMetadata, useMetricNames } from "@/prom/hooks";
import { type Scope, writeScope } from "@/prom/scope";
import { type Built, build, empty, type Filter, parse, suggest } from "./builder";
import { useExploreText } from "./text";

type Props = {
  expr: string;
  scope: Scope;
  onChange: (expr: string) => void;
  onRun: (expr: string) => void;
};

/** More names than these are not scrolled through. */
const mostChoices = 60;

/** Builder puts an expression together from what there is. */
export function Builder({ expr, scope, onChange, onRun }: Props) {
  const t = useExploreText();
  const parsed = useMemo(() => parse(expr), [expr]);
  const [held, setHeld] = useState<Built>(parsed ?? empty);
  // What is typed in the editor shows here as well, as far as it can.
  const b = parsed ?? held;
  const names = useMetricNames(scope).data ?? [];
  const { data: metadata } = useMetadata();
  const labels = useQuery({
    queryKey: ["prom", "labels", b.metric, writeScope(scope)],
    queryFn: () => askLabelNames(scope, [b.metric]),
    enabled: names.includes(b.metric),
    staleTime: 60_000,
  });
  const about = (metric: string) =>
    (metadata?.[metric] ?? metadata?.[metric.replace(/_(bucket|sum|count)$/, "")])?.[0];
  const change = (part: Partial<Built>) => {
    const next = { ...b, ...part };
    setHeld(next);
    onChange(build(next));
  };
  const choose = (metric: string) => {
    const known = names.includes(metric);
    change({
      ...(known ? { ...empty, ...suggest(metric, about(metric)?.type), window: b.window } : {}),
      metric,
    });
  };
  const words = b.metric.toLowerCase().split(/[\s_]+/);
  const matching = names.filter((n) => words.every((w) => n.toLowerCase().includes(w))).slice(0, mostChoices);
  const own = (labels.data ?? []).filter((l) => l !== "__name__");
  const help = about(b.metric)?.help;
  return (
    <Stack gap="sm" role="group" aria-label={t.builder}>
      {parsed === undefined && (
        <Alert variant="light" color="blue" p="xs">
          {t.notBuilt}
        </Alert>
      )}
      <Autocomplete
        label={t.metric}
        placeholder={t.metricHint}
        description={help}
        data={matching}
        filter={({ options }) => options}
        value={b.metric}
        onChange={choose}
      />
      {b.filters.length > 0 && (
        <Stack gap="xs">
          <Text size="sm" fw={500}>
            {t.filters}
          </Text>
          {b.filters.map((f, i) => (
            <FilterRow
              // biome-ignore lint/suspicious/noArrayIndexKey: its place is what a condition is known by
              key={i}
              filter={f}
              metric={b.metric}
              labels={own}
              scope={scope}
              onChange={(next) => change({ filters: b.filters.map((o, j) => (j === i ? next : o)) })}
              onRemove={() => change({ filters: b.filters.filter((_, j) => j !== i) })}
            />
          ))}
        </Stack>
      )}
      <Group>
        <Button
          variant="default"
          leftSection={<IconPlus size={16} />}
          disabled={b.metric === ""}
          onClick={() => change({ filters: [...b.filters, { label: own[0] ?? "job", op: "=", value: "" }] })}
        >
          {t.addFilter}
        </Button>
      </Group>
      <How b={b} labels={own} change={change} />
      <Group gap="sm">
        <Button disabled={b.metric === ""} onClick={() => onRun(build(b))}>
          {t.use}
        </Button>
        <Code>{build(b)}</Code>
      </Group>
    </Stack>
  );
}

/** How is what is done with the series: each by itself, then together. */
function How({ b, labels, change }: { b: Built; labels: string[]; change: (part: Partial<Built>) => void }) {
  const t = useExploreText();
  return (
    <Group gap="sm" align="flex-end">
      <Select
        label={t.apply}
        allowDeselect={false}
        value={b.apply}
        onChange={(v) => v && change({ apply: v as Built["apply"] })}
        data={[
          { value: "none", label: t.applyNone },
          { value: "rate", label: t.applyRate },
          { value: "increase", label: t.applyIncrease },
          { value: "avg_over_time", label: t.applyAvg },
          { value: "max_over_time", label: t.applyMax },
          { value: "quantile", label: t.applyQuantile },
        ]}
      />
      {b.apply !== "none" && (
        <Select
          label={t.window}
          w={110}
          allowDeselect={false}
          value={b.window}
          onChange={(v) => v && change({ window: v })}
          data={[...new Set(["1m", "5m", "15m", "1h", "6h", "1d", b.window])]}
        />
      )}
      {b.apply === "quantile" && (
        <NumberInput
          label={t.quantile}
          w={190}
          min={0}
          max={1}
          step={0.05}
          value={b.quantile}
          onChange={(v) => typeof v === "number" && change({ quantile: v })}
        />
      )}
      <Select
        label={t.aggregate}
        allowDeselect={false}
        value={b.aggregate}
        onChange={(v) => v && change({ aggregate: v as Built["aggregate"] })}
        data={[
          { value: "none", label: t.aggNone },
          { value: "sum", label: t.aggSum },
          { value: "avg", label: t.aggAvg },
          { value: "max", label: t.aggMax },
          { value: "min", label: t.aggMin },
          { value: "count", label: t.aggCount },
          { value: "topk", label: t.aggTopk },
        ]}
      />
      {b.aggregate !== "none" && (
        <MultiSelect
          label={t.by}
          placeholder={b.by.length === 0 ? t.byHint : undefined}
          miw={220}
          searchable
          data={[...new Set([...labels.filter((l) => l !== "le"), ...b.by])]}
          value={b.by}
          onChange={(by) => change({ by })}
        />
      )}
    </Group>
  );
}

function FilterRow({
  filter,
  metric,
  labels,
  scope,
  onChange,
  onRemove,
}: {
  filter: Filter;
  metric: string;
  labels: string[];
  scope: Scope;
  onChange: (f: Filter) => void;
  onRemove: () => void;
}) {
  const t = useExploreText();
  const { data } = useQuery({
    queryKey: ["prom", "values", metric, filter.label, writeScope(scope)],
    queryFn: ({ signal }) => askLabelValues(filter.label, scope, [metric], undefined, signal),
    enabled: metric !== "" && filter.label !== "",
    staleTime: 60_000,
  });
  return (
    <Group gap="xs" align="flex-end">
      <Select
        aria-label={t.label}
        w={160}
        searchable
        allowDeselect={false}
        data={[...new Set([...labels, filter.label])]}
        value={filter.label}
        onChange={(v) => v && onChange({ ...filter, label: v, value: "" })}
      />
      <Select
        aria-label={t.op}
        w={140}
        allowDeselect={false}
        value={filter.op}
        onChange={(v) => v && onChange({ ...filter, op: v as Filter["op"] })}
        data={[
          { value: "=", label: t.opIs },
          { value: "!=", label: t.opIsNot },
          { value: "=~", label: t.opMatches },
          { value: "!~", label: t.opMatchesNot },
        ]}
      />
      <Autocomplete
        aria-label={t.labelValue}
        w={220}
        limit={mostChoices}
        data={data ?? []}
        value={filter.value}
        onChange={(value) => onChange({ ...filter, value })}
      />
      <ActionIcon variant="default" size={36} aria-label={t.removeFilter} onClick={onRemove}>
        <IconX size={16} />
      </ActionIcon>
    </Group>
  );
}
