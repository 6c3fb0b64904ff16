import { ActionIcon, Button, Group, Popover, SimpleGrid, Stack, Text, TextInput } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconArrowBackUp, IconChevronDown, IconClock, IconRefresh, IconZoomOut } from "@tabler/icons-react";
import { useState } from "react";
import { useLanguage } from "@/text/text";
import { clock } from "@/text/time";
import { presets, refreshes } from "./range";
import { useRangeText } from "./text";
import type { Timeline } from "./useRange";

const two = (n: number) => String(n).padStart(2, "0");
/** local writes a moment as inputs of the kind datetime-local want it. */
function local(ms: number): string {
  const d = new Date(ms);
  const day = `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`;
  return `${day}T${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
}

/** RangePicker chooses the time range of a view, and how often it renews itself. */
export function RangePicker({ timeline }: { timeline: Timeline }) {
  const t = useRangeText();
  const { language } = useLanguage();
  const [opened, popover] = useDisclosure(false);
  const { range, span } = timeline;
  const label =
    "last" in range ? t.last(range.last) : `${clock(range.from, language)} – ${clock(range.to, language)}`;
  const wider = () => {
    const half = (span.to - span.from) / 2;
    timeline.zoom(span.from - half, Math.min(span.to + half, Date.now()));
  };
  return (
    <Group gap={4} wrap="nowrap">
      {timeline.back !== undefined && (
        <ActionIcon variant="default" size={36} aria-label={t.back} title={t.back} onClick={timeline.back}>
          <IconArrowBackUp size={18} />
        </ActionIcon>
      )}
      <Popover opened={opened} onChange={popover.toggle} position="bottom-end" trapFocus returnFocus>
        <Popover.Target>
          <Button
            variant="default"
            px="sm"
            leftSection={<IconClock size={16} />}
            rightSection={<IconChevronDown size={14} />}
            aria-label={`${t.range}: ${label}`}
            onClick={popover.toggle}
          >
            {label}
          </Button>
        </Popover.Target>
        <Popover.Dropdown>
          <Choices timeline={timeline} close={popover.close} />
        </Popover.Dropdown>
      </Popover>
      <ActionIcon variant="default" size={36} aria-label={t.out} title={t.out} onClick={wider}>
        <IconZoomOut size={18} />
      </ActionIcon>
      <Refresh timeline={timeline} />
    </Group>
  );
}

function Choices({ timeline, close }: { timeline: Timeline; close: () => void }) {
  const t = useRangeText();
  const [from, setFrom] = useState(local(timeline.span.from));
  const [to, setTo] = useState(local(timeline.span.to));
  const a = Date.parse(from);
  const b = Date.parse(to);
  const valid = a < b;
  return (
    <Stack gap="sm" w={290}>
      <SimpleGrid cols={5} spacing={4}>
        {presets.map((p) => (
          <Button
            key={p}
            size="xs"
            h={36}
            px={4}
            variant={"last" in timeline.range && timeline.range.last === p ? "filled" : "default"}
            aria-label={t.last(p)}
            onClick={() => {
              timeline.choose({ last: p });
              close();
            }}
          >
            {p}
          </Button>
        ))}
      </SimpleGrid>
      <TextInput
        type="datetime-local"
        step={1}
        label={t.from}
        value={from}
        onChange={(e) => setFrom(e.currentTarget.value)}
      />
      <TextInput
        type="datetime-local"
        step={1}
        label={t.to}
        value={to}
        error={valid ? undefined : t.invalid}
        onChange={(e) => setTo(e.currentTarget.value)}
      />
      <Button
        disabled={!valid}
        onClick={() => {
          timeline.choose({ from: a, to: b });
          close();
        }}
      >
        {t.apply}
      </Button>
    </Stack>
  );
}

function Refresh({ timeline }: { timeline: Timeline }) {
  const t = useRangeText();
  const [opened, popover] = useDisclosure(false);
  const pick = (r: string) => {
    timeline.every(r);
    popover.close();
  };
  return (
    <Group gap={0} wrap="nowrap">
      <ActionIcon
        variant="default"
        size={36}
        aria-label={t.refresh}
        title={t.refresh}
        onClick={timeline.renew}
      >
        <IconRefresh size={18} />
      </ActionIcon>
      <Popover opened={opened} onChange={popover.toggle} position="bottom-end" trapFocus returnFocus>
        <Popover.Target>
          <Button
            variant="default"
            px={6}
            aria-label={timeline.refresh === "" ? t.auto : `${t.auto}: ${t.every(timeline.refresh)}`}
            title={t.auto}
            onClick={popover.toggle}
          >
            <Text size="xs">{timeline.refresh}</Text>
            <IconChevronDown size={14} />
          </Button>
        </Popover.Target>
        <Popover.Dropdown>
          <Stack gap={4}>
            {["", ...refreshes].map((r) => (
              <Button
                key={r}
                size="xs"
                h={36}
                variant={r === timeline.refresh ? "filled" : "default"}
                onClick={() => pick(r)}
              >
                {r === "" ? t.off : t.every(r)}
              </Button>
            ))}
          </Stack>
        </Popover.Dropdown>
      </Popover>
    </Group>
  );
}
