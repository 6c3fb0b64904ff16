import {
  ActionIcon,
  Button,
  Checkbox,
  Group,
  Modal,
  NumberInput,
  Select,
  Stack,
  Text,
  Textarea,
  TextInput,
} from "@mantine/core";
import { IconPlus, IconX } from "@tabler/icons-react";
import { lazy, Suspense } from "react";
import { type Unit, units } from "@/chart/units";
import { Loading } from "@/parts/states";
import type { Scope } from "@/prom/scope";
import { columns, most, type Panel, type PanelType, panelTypes, type Threshold } from "./model";
import { useDashboardText } from "./text";

const PromEditor = lazy(() => import("@/prom/PromEditor"));

type Props = {
  panel: Panel;
  scope: Scope;
  onChange: (panel: Panel) => void;
  onClose: () => void;
};

export function useTypeNames(): Record<PanelType, string> {
  const t = useDashboardText();
  return {
    timeseries: t.timeseries,
    stat: t.stat,
    table: t.table,
    bargauge: t.bargauge,
    heatmap: t.heatmap,
    text: t.textType,
    row: t.row,
  };
}

/** PanelEditor changes one panel; the dashboard behind it shows what comes of it. */
export function PanelEditor({ panel, scope, onChange, onClose }: Props) {
  const t = useDashboardText();
  const names = useTypeNames();
  const unitNames: Record<Unit, string> = {
    number: t.unitNumber,
    bytes: t.unitBytes,
    bytesPerSecond: t.unitBytesPerSecond,
    seconds: t.unitSeconds,
    ratio: t.unitRatio,
    perSecond: t.unitPerSecond,
  };
  const change = (part: Partial<Panel>) => onChange({ ...panel, ...part });
  const asks = panel.type !== "text" && panel.type !== "row";
  return (
    <Modal opened onClose={onClose} title={t.panelTitle} size="xl">
      <Stack gap="sm">
        <Group grow align="flex-end">
          <TextInput
            label={t.titleLabel}
            data-autofocus
            maxLength={200}
            value={panel.title}
            onChange={(e) => change({ title: e.currentTarget.value })}
          />
          <Select
            label={t.typeLabel}
            allowDeselect={false}
            value={panel.type}
            onChange={(v) => v && change({ type: v as PanelType })}
            data={panelTypes.map((p) => ({ value: p, label: names[p] }))}
          />
        </Group>
        {asks && <Queries panel={panel} scope={scope} change={change} />}
        {panel.type === "text" && (
          <Textarea
            label={t.textLabel}
            description={t.textHint}
            autosize
            minRows={4}
            maxRows={16}
            maxLength={16_000}
            value={panel.text ?? ""}
            onChange={(e) => change({ text: e.currentTarget.value })}
          />
        )}
        <Group grow align="flex-end">
          <NumberInput
            label={t.widthLabel}
            min={1}
            max={columns}
            value={panel.width}
            onChange={(v) => typeof v === "number" && v >= 1 && change({ width: Math.min(v, columns) })}
          />
          <NumberInput
            label={t.heightLabel}
            min={1}
            max={most.height}
            value={panel.height}
            onChange={(v) => typeof v === "number" && v >= 1 && change({ height: Math.min(v, most.height) })}
          />
          {asks && (
            <Select
              label={t.unitLabel}
              allowDeselect={false}
              value={panel.unit ?? "number"}
              onChange={(v) => v && change({ unit: v as Unit })}
              data={(Object.keys(units) as Unit[]).map((u) => ({ value: u, label: unitNames[u] }))}
            />
          )}
        </Group>
        {panel.type === "timeseries" && (
          <Checkbox
            label={t.stacked}
            checked={panel.stacked ?? false}
            onChange={(e) => change({ stacked: e.currentTarget.checked })}
          />
        )}
        {asks && panel.type !== "table" && <Thresholds panel={panel} change={change} />}
        <Group justify="flex-end">
          <Button onClick={onClose}>{t.apply}</Button>
        </Group>
      </Stack>
    </Modal>
  );
}

type Part = { panel: Panel; change: (part: Partial<Panel>) => void };

function Queries({ panel, scope, change }: Part & { scope: Scope }) {
  const t = useDashboardText();
  const queries = panel.queries ?? [];
  const set = (at: number, part: Partial<{ expr: string; legend: string }>) =>
    change({ queries: queries.map((q, i) => (i === at ? { ...q, ...part } : q)) });
  return (
    <Stack gap="xs">
      {queries.map((q, i) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: its place is what a query is known by
        <Group key={i} gap="xs" align="flex-end">
          <Stack gap={2} flex="1 1 320px" miw={0}>
            <Text size="sm" fw={500}>
              {t.query(i + 1)}
            </Text>
            <Suspense fallback={<Loading height={42} />}>
              <PromEditor
                value={q.expr}
                onChange={(expr) => set(i, { expr })}
                onRun={() => {}}
                scope={scope}
                label={t.query(i + 1)}
              />
            </Suspense>
          </Stack>
          <TextInput
            label={t.legend}
            placeholder={t.legendHint}
            w={200}
            value={q.legend ?? ""}
            onChange={(e) => set(i, { legend: e.currentTarget.value })}
          />
          <ActionIcon
            variant="default"
            size={36}
            aria-label={t.removeQuery}
            onClick={() => change({ queries: queries.filter((_, j) => j !== i) })}
          >
            <IconX size={16} />
          </ActionIcon>
        </Group>
      ))}
      <Group>
        <Button
          variant="default"
          leftSection={<IconPlus size={16} />}
          disabled={queries.length >= most.queries}
          onClick={() => change({ queries: [...queries, { expr: "" }] })}
        >
          {t.addQuery}
        </Button>
      </Group>
    </Stack>
  );
}

function Thresholds({ panel, change }: Part) {
  const t = useDashboardText();
  const thresholds = panel.thresholds ?? [];
  const set = (at: number, part: Partial<Threshold>) =>
    change({ thresholds: thresholds.map((o, i) => (i === at ? { ...o, ...part } : o)) });
  return (
    <Stack gap="xs">
      <Text size="sm" fw={500}>
        {t.thresholds}
      </Text>
      {thresholds.map((o, i) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: its place is what a threshold is known by while it is typed
        <Group key={i} gap="xs">
          <NumberInput
            aria-label={t.threshold}
            w={140}
            value={o.value}
            onChange={(v) => typeof v === "number" && set(i, { value: v })}
          />
          <Select
            aria-label={t.state}
            w={160}
            allowDeselect={false}
            value={o.state}
            onChange={(v) => v && set(i, { state: v as Threshold["state"] })}
            data={[
              { value: "good", label: t.good },
              { value: "info", label: t.info },
              { value: "warn", label: t.warn },
              { value: "bad", label: t.bad },
            ]}
          />
          <ActionIcon
            variant="default"
            size={36}
            aria-label={t.removeThreshold}
            onClick={() => change({ thresholds: thresholds.filter((_, j) => j !== i) })}
          >
            <IconX size={16} />
          </ActionIcon>
        </Group>
      ))}
      <Group>
        <Button
          variant="default"
          leftSection={<IconPlus size={16} />}
          disabled={thresholds.length >= 20}
          onClick={() => change({ thresholds: [...thresholds, { value: 0, state: "warn" }] })}
        >
          {t.addThreshold}
        </Button>
      </Group>
    </Stack>
  );
}
