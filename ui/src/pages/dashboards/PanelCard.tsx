import { ActionIcon, Anchor, Card, Group, Text, Title, Tooltip } from "@mantine/core";
import {
  IconArrowAutofitHeight,
  IconArrowAutofitWidth,
  IconArrowLeft,
  IconArrowRight,
  IconCopy,
  IconFold,
  IconPencil,
  IconTrash,
  IconViewportNarrow,
} from "@tabler/icons-react";
import { useState } from "react";
import { Link } from "react-router";
import { useSeen } from "@/parts/useSeen";
import { type Scope, writeScope } from "@/prom/scope";
import { writeRange } from "@/range/range";
import type { Timeline } from "@/range/useRange";
import classes from "./dashboards.module.css";
import { clamp, columns, most, type Panel } from "./model";
import { PanelBody } from "./PanelBody";
import { useDashboardText } from "./text";
import { type Chosen, fill } from "./variables";

/** What can be done with a panel while the dashboard is edited. */
export type Edits = {
  index: number;
  count: number;
  /** move takes a panel by its place to another. */
  move: (from: number, to: number) => void;
  change: (panel: Panel) => void;
  open: () => void;
  copy: () => void;
  remove: () => void;
};

type Props = { panel: Panel; chosen: Chosen; scope: Scope; timeline: Timeline; edits: Edits | undefined };

/** One row of the grid in pixels. */
const row = 40;
const dragged = "application/x-atoll-panel";

/** PanelCard is a panel in the grid. */
export function PanelCard({ panel, chosen, scope, timeline, edits }: Props) {
  const t = useDashboardText();
  const { ref, seen } = useSeen();
  const [over, setOver] = useState(false);
  const heading = panel.type === "row";
  const height = panel.height * row;
  const address = writeRange(new URLSearchParams(), timeline.range);
  for (const q of panel.queries ?? []) address.append("expr", fill(q.expr, chosen, timeline.span));
  address.set("scope", writeScope(scope));
  const drop = edits && {
    draggable: true,
    onDragStart: (e: React.DragEvent) => e.dataTransfer.setData(dragged, String(edits.index)),
    onDragOver: (e: React.DragEvent) => {
      if (!e.dataTransfer.types.includes(dragged)) return;
      e.preventDefault();
      setOver(true);
    },
    onDragLeave: () => setOver(false),
    onDrop: (e: React.DragEvent) => {
      e.preventDefault();
      setOver(false);
      edits.move(Number(e.dataTransfer.getData(dragged)), edits.index);
    },
  };
  return (
    <Card
      ref={ref}
      component="section"
      aria-label={panel.title}
      className={classes.panel}
      padding={heading ? "xs" : "sm"}
      withBorder={!heading || edits !== undefined}
      bg={heading ? "transparent" : undefined}
      style={{ "--span": heading ? columns : panel.width } as React.CSSProperties}
      data-over={over || undefined}
      {...drop}
    >
      <Group justify="space-between" wrap="nowrap" gap="xs" mb={heading ? 0 : 4}>
        {heading ? (
          <Title order={2}>{panel.title}</Title>
        ) : (
          <Text fw={600} size="sm" title={panel.description}>
            {panel.title}
          </Text>
        )}
        {!edits && (panel.queries?.length ?? 0) > 0 && (
          <Anchor
            component={Link}
            to={`/explore?${address}`}
            size="xs"
            display="inline-block"
            py={11}
            my={-11}
          >
            {t.explore}
          </Anchor>
        )}
      </Group>
      {edits && <Tools panel={panel} edits={edits} />}
      {!heading && (
        <div className={classes.body} style={{ minHeight: height - 44 }}>
          {panel.type === "text" ? (
            <Text size="sm" className={classes.words}>
              {panel.text}
            </Text>
          ) : (
            <PanelBody
              panel={panel}
              chosen={chosen}
              scope={scope}
              timeline={timeline}
              height={height - 44}
              seen={seen}
            />
          )}
        </div>
      )}
    </Card>
  );
}

function Tools({ panel, edits }: { panel: Panel; edits: Edits }) {
  const t = useDashboardText();
  const size = (part: { width?: number; height?: number }) =>
    edits.change({
      ...panel,
      width: clamp(part.width ?? panel.width, 1, columns),
      height: clamp(part.height ?? panel.height, 1, most.height),
    });
  const tool = (label: string, icon: React.ReactNode, act: () => void, disabled = false, wide = false) => (
    <Tooltip label={label}>
      <ActionIcon
        variant="default"
        size={40}
        aria-label={`${label}: ${panel.title}`}
        disabled={disabled}
        // On a phone every panel has the whole width.
        {...(wide ? { visibleFrom: "sm" } : {})}
        onClick={act}
      >
        {icon}
      </ActionIcon>
    </Tooltip>
  );
  return (
    <Group gap={4} mb={6}>
      {tool(t.editPanel(panel.title), <IconPencil size={16} />, edits.open)}
      {tool(
        t.earlier,
        <IconArrowLeft size={16} />,
        () => edits.move(edits.index, edits.index - 1),
        edits.index === 0,
      )}
      {tool(
        t.later,
        <IconArrowRight size={16} />,
        () => edits.move(edits.index, edits.index + 1),
        edits.index === edits.count - 1,
      )}
      {tool(
        t.narrower,
        <IconViewportNarrow size={16} />,
        () => size({ width: panel.width - 1 }),
        panel.width <= 1,
        true,
      )}
      {tool(
        t.wider,
        <IconArrowAutofitWidth size={16} />,
        () => size({ width: panel.width + 1 }),
        panel.width >= columns,
        true,
      )}
      {tool(t.lower, <IconFold size={16} />, () => size({ height: panel.height - 1 }), panel.height <= 1)}
      {tool(
        t.higher,
        <IconArrowAutofitHeight size={16} />,
        () => size({ height: panel.height + 1 }),
        panel.height >= most.height,
      )}
      {tool(t.duplicate, <IconCopy size={16} />, edits.copy)}
      {tool(t.removePanel, <IconTrash size={16} />, edits.remove)}
    </Group>
  );
}
