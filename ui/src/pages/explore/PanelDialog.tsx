import { Button, Modal, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import { ask } from "@/api/client";
import { Failed } from "@/parts/states";
import type { View } from "./address";
import { useExploreText } from "./text";

const panelOf: Record<View, string> = { chart: "timeseries", table: "table", heatmap: "heatmap" };

/** PanelDialog asks which dashboard an expression is to be added to. */
export function PanelDialog({
  opened,
  onClose,
  expr,
  view,
}: {
  opened: boolean;
  onClose: () => void;
  expr: string;
  view: View;
}) {
  const t = useExploreText();
  const { data, error } = useQuery({
    queryKey: ["documents", "dashboard"],
    queryFn: ({ signal }) => ask("/api/atoll/v1/documents?prefix=dashboard/", { signal }),
    enabled: opened,
  });
  const names = (data?.documents ?? []).map((d) => d.key.replace(/^dashboard\//, ""));
  const to = (name: string) =>
    `/dashboards/${encodeURIComponent(name)}?${new URLSearchParams({ add: expr, type: panelOf[view] })}`;
  return (
    <Modal opened={opened} onClose={onClose} title={t.panelTitle}>
      <Stack gap="xs">
        {error && <Failed error={error} />}
        {names.map((name) => (
          <Button key={name} variant="default" component={Link} to={to(name)}>
            {name}
          </Button>
        ))}
        {data && names.length === 0 && (
          <Text size="sm" c="dimmed">
            {t.panelNone}
          </Text>
        )}
        <Button component={Link} to={to("new")}>
          {t.panelNew}
        </Button>
      </Stack>
    </Modal>
  );
}
