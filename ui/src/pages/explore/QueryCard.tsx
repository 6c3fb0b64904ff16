import { ActionIcon, Button, Card, Group, Menu, Stack } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import {
  IconBell,
  IconDots,
  IconLayoutDashboard,
  IconPlayerPlay,
  IconTools,
  IconTrash,
} from "@tabler/icons-react";
import { lazy, type ReactNode, Suspense, useEffect, useState } from "react";
import { Link } from "react-router";
import type { Scope } from "@/prom/scope";
import type { Timeline } from "@/range/useRange";
import type { View } from "./address";
import { Builder } from "./Builder";
import { Examples } from "./Examples";
import classes from "./explore.module.css";
import { PanelDialog } from "./PanelDialog";
import { Results } from "./Results";
import { useExploreText } from "./text";

const PromEditor = lazy(() => import("@/prom/PromEditor"));

type Props = {
  index: number;
  /** The expression as it was run last. */
  expr: string;
  view: View;
  scope: Scope;
  ready: boolean;
  timeline: Timeline;
  toolbar: ReactNode;
  onRun: (expr: string) => void;
  onRemove: (() => void) | undefined;
};

/** QueryCard is one question and its answer. */
export function QueryCard({ index, expr, view, scope, ready, timeline, toolbar, onRun, onRemove }: Props) {
  const t = useExploreText();
  const [draft, setDraft] = useState(expr);
  const [building, builder] = useDisclosure(false);
  const [adding, panel] = useDisclosure(false);
  useEffect(() => setDraft(expr), [expr]);
  const run = (e = draft) => onRun(e.trim());
  return (
    <Card component="section" aria-label={t.query(index + 1)} padding="sm">
      <Stack gap="sm">
        <div className={classes.question}>
          <Suspense fallback={<div className={classes.waiting} />}>
            <PromEditor
              value={draft}
              onChange={setDraft}
              onRun={() => run()}
              scope={scope}
              label={t.query(index + 1)}
              hint={t.hint}
            />
          </Suspense>
          <Group gap="xs" wrap="nowrap" className={classes.actions}>
            <Button h={42} leftSection={<IconPlayerPlay size={16} />} onClick={() => run()}>
              {t.run}
            </Button>
            <Button
              h={42}
              px="sm"
              variant={building ? "light" : "default"}
              leftSection={<IconTools size={16} />}
              title={t.builderHint}
              aria-expanded={building}
              onClick={builder.toggle}
            >
              {t.builder}
            </Button>
            <Menu position="bottom-end">
              <Menu.Target>
                <ActionIcon variant="default" size={42} aria-label={t.more}>
                  <IconDots size={18} />
                </ActionIcon>
              </Menu.Target>
              <Menu.Dropdown>
                <Menu.Item
                  component={Link}
                  to={`/alerts/rules/new?expr=${encodeURIComponent(draft)}`}
                  leftSection={<IconBell size={16} />}
                  disabled={draft.trim() === ""}
                >
                  {t.alert}
                </Menu.Item>
                <Menu.Item
                  leftSection={<IconLayoutDashboard size={16} />}
                  disabled={draft.trim() === ""}
                  onClick={panel.open}
                >
                  {t.panel}
                </Menu.Item>
                {onRemove !== undefined && (
                  <Menu.Item leftSection={<IconTrash size={16} />} onClick={onRemove}>
                    {t.remove}
                  </Menu.Item>
                )}
              </Menu.Dropdown>
            </Menu>
          </Group>
        </div>
        {building && <Builder expr={draft} scope={scope} onChange={setDraft} onRun={run} />}
        {toolbar && <Group justify="space-between">{toolbar}</Group>}
        {expr === "" ? (
          index === 0 && <Examples scope={scope} ready={ready} onPick={run} />
        ) : (
          <Results expr={expr} view={view} scope={scope} ready={ready} timeline={timeline} onRun={run} />
        )}
      </Stack>
      <PanelDialog opened={adding} onClose={panel.close} expr={draft} view={view} />
    </Card>
  );
}
