import { Button, Group, SegmentedControl, Stack } from "@mantine/core";
import { IconPlus } from "@tabler/icons-react";
import { useSearchParams } from "react-router";
import { PageTitle } from "@/parts/states";
import { ScopePicker } from "@/prom/ScopePicker";
import { writeScope } from "@/prom/scope";
import { useScope } from "@/prom/useScope";
import { RangePicker } from "@/range/RangePicker";
import { useRange } from "@/range/useRange";
import { mostQueries, readQueries, readView, type View, writeQueries } from "./address";
import { QueryCard } from "./QueryCard";
import { Share } from "./Share";
import { useExploreText } from "./text";

/** Explore asks in PromQL and shows the answers; its address holds all of it. */
export default function Explore() {
  const t = useExploreText();
  const [params, setParams] = useSearchParams();
  const timeline = useRange();
  const { scope, ready, setScope } = useScope();
  const queries = readQueries(params);
  const view = readView(params);
  const change = (next: readonly string[]) =>
    setParams((p) => {
      const q = writeQueries(p, next);
      // Who opens the address elsewhere asks the same islands.
      q.set("scope", writeScope(scope));
      if (!q.has("from") && !q.has("range")) q.set("range", "1h");
      return q;
    });
  const show = (v: string) =>
    setParams(
      (p) => {
        const next = new URLSearchParams(p);
        next.set("tab", v as View);
        return next;
      },
      { replace: true },
    );
  return (
    <Stack gap="md">
      <PageTitle
        actions={
          <>
            <ScopePicker scope={scope} onChange={setScope} />
            <RangePicker timeline={timeline} />
            <Share span={timeline.span} />
          </>
        }
      >
        {t.title}
      </PageTitle>
      {queries.map((expr, i) => (
        <QueryCard
          // biome-ignore lint/suspicious/noArrayIndexKey: its place is what a query is known by
          key={i}
          index={i}
          expr={expr}
          view={view}
          scope={scope}
          ready={ready}
          timeline={timeline}
          onRun={(e) => {
            change(queries.map((q, j) => (j === i ? e : q)));
            timeline.renew();
          }}
          onRemove={queries.length > 1 ? () => change(queries.filter((_, j) => j !== i)) : undefined}
          toolbar={
            i === 0 && (
              <SegmentedControl
                aria-label={t.view}
                value={view}
                onChange={show}
                data={[
                  { value: "chart", label: t.chart },
                  { value: "table", label: t.table },
                  { value: "heatmap", label: t.heatmap },
                ]}
              />
            )
          }
        />
      ))}
      {queries.length < mostQueries && (
        <Group>
          <Button
            variant="default"
            leftSection={<IconPlus size={16} />}
            onClick={() => change([...queries, ""])}
          >
            {t.add}
          </Button>
        </Group>
      )}
    </Stack>
  );
}
