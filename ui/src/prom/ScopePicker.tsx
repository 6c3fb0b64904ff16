import { Button, Checkbox, Popover, Radio, Stack, Text } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconChevronDown, IconTopologyStar3 } from "@tabler/icons-react";
import { useIslands } from "./hooks";
import type { Scope } from "./scope";
import { usePromText } from "./text";

/** ScopePicker chooses whose data is asked for. */
export function ScopePicker({ scope, onChange }: { scope: Scope; onChange: (s: Scope) => void }) {
  const t = usePromText();
  const { data } = useIslands();
  const [opened, popover] = useDisclosure(false);
  const chosen = typeof scope === "string" ? [] : scope;
  const label =
    scope === "local"
      ? t.local(data?.self ?? "")
      : scope === "all"
        ? t.all
        : chosen.length > 2
          ? t.chosen(chosen.length)
          : chosen.join(", ");
  // A name that no longer exists stays to be seen, and to be taken away.
  const known = data?.islands ?? [];
  const islands = [
    ...known,
    ...chosen.filter((n) => !known.some((i) => i.name === n)).map((name) => ({ name, reachable: false })),
  ];
  const toggle = (name: string, on: boolean) => {
    const next = on ? [...chosen, name].sort() : chosen.filter((n) => n !== name);
    onChange(next.length === 0 ? "all" : next);
  };
  return (
    <Popover opened={opened} onChange={popover.toggle} position="bottom-start" trapFocus returnFocus>
      <Popover.Target>
        <Button
          variant="default"
          px="sm"
          maw={260}
          leftSection={<IconTopologyStar3 size={16} />}
          rightSection={<IconChevronDown size={14} />}
          aria-label={`${t.scope}: ${label}`}
          onClick={popover.toggle}
        >
          {label}
        </Button>
      </Popover.Target>
      <Popover.Dropdown>
        <Stack gap="sm" maw={280}>
          <Radio.Group
            label={t.scope}
            value={typeof scope === "string" ? scope : "chosen"}
            onChange={(v) => onChange(v === "local" ? "local" : "all")}
          >
            <Stack gap="xs" mt="xs">
              <Radio value="local" label={t.local(data?.self ?? "")} />
              <Radio value="all" label={t.all} disabled={data !== undefined && !data.joined} />
            </Stack>
          </Radio.Group>
          {islands.length > 0 && (
            <Stack gap="xs" mah={300} style={{ overflowY: "auto" }} role="group" aria-label={t.choose}>
              <Text size="sm" fw={500}>
                {t.choose}
              </Text>
              {islands.map((i) => (
                <Checkbox
                  key={i.name}
                  label={i.name}
                  description={i.reachable ? undefined : t.unreachable}
                  checked={chosen.includes(i.name)}
                  onChange={(e) => toggle(i.name, e.currentTarget.checked)}
                />
              ))}
            </Stack>
          )}
          {data !== undefined && !data.joined && (
            <Text size="sm" c="dimmed">
              {t.alone}
            </Text>
          )}
        </Stack>
      </Popover.Dropdown>
    </Popover>
  );
}
