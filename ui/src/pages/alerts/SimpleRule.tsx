import { Autocomplete, NativeSelect, SimpleGrid, Stack, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { ask } from "@/api/client";
import { conditions, durations, type Simple, severities } from "./rule";
import { useAlertsText } from "./text";

/** SimpleRule is the form for those who do not write YAML. */
export function SimpleRule({ value: s, onChange }: { value: Simple; onChange: (s: Simple) => void }) {
  const t = useAlertsText();
  const { data: names = [] } = useQuery({
    queryKey: ["prom", "values", "__name__"],
    queryFn: async () => (await ask("/api/v1/label/__name__/values")).data,
    staleTime: 60_000,
  });
  const put = (part: Partial<Simple>) => onChange({ ...s, ...part });
  const choices = (known: readonly string[], now: string) =>
    known.includes(now) ? [...known] : [...known, now];
  const fields = { size: "md" } as const;
  return (
    <Stack>
      <TextInput
        {...fields}
        label={t.ruleName}
        value={s.name}
        required
        maxLength={200}
        onChange={(e) => put({ name: e.currentTarget.value })}
      />
      <Autocomplete
        {...fields}
        label={t.metric}
        description={t.metricHint}
        value={s.metric}
        required
        limit={50}
        data={names}
        onChange={(metric) => put({ metric })}
        styles={{ input: { fontFamily: "var(--mantine-font-family-monospace)" } }}
      />
      <SimpleGrid cols={{ base: 2, sm: 4 }}>
        <NativeSelect
          {...fields}
          label={t.condition}
          data={[...conditions]}
          value={s.condition}
          onChange={(e) => put({ condition: e.currentTarget.value as Simple["condition"] })}
        />
        <TextInput
          {...fields}
          label={t.threshold}
          inputMode="decimal"
          required
          value={s.threshold}
          error={s.threshold.trim() !== "" && !Number.isFinite(Number(s.threshold))}
          onChange={(e) => put({ threshold: e.currentTarget.value })}
        />
        <NativeSelect
          {...fields}
          label={t.forField}
          data={choices(durations, s.for).map((d) => ({ value: d, label: d === "0s" ? t.forNone : d }))}
          value={s.for}
          onChange={(e) => put({ for: e.currentTarget.value })}
        />
        <NativeSelect
          {...fields}
          label={t.severity}
          data={choices(severities, s.severity)}
          value={s.severity}
          onChange={(e) => put({ severity: e.currentTarget.value })}
        />
      </SimpleGrid>
      <SimpleGrid cols={{ base: 1, sm: 2 }}>
        <TextInput
          {...fields}
          label={t.ownerLabel}
          description={t.ownerHint}
          value={s.owner}
          onChange={(e) => put({ owner: e.currentTarget.value })}
        />
        <TextInput
          {...fields}
          label={t.summary}
          description={t.summaryHint}
          value={s.summary}
          onChange={(e) => put({ summary: e.currentTarget.value })}
        />
      </SimpleGrid>
    </Stack>
  );
}
