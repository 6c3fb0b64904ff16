import { Button, Group, Popover, Stack, Text, TextInput } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { notifications } from "@mantine/notifications";
import { IconHandStop } from "@tabler/icons-react";
import { useState } from "react";
import { useAcknowledge } from "./api";
import { May } from "./May";
import { useAlertsText } from "./text";

/** AckButton takes what fires, or gives it back. */
export function AckButton({ target, what, acked }: { target: string; what: string; acked: boolean }) {
  const t = useAlertsText();
  const act = useAcknowledge();
  const [opened, dialog] = useDisclosure(false);
  const [comment, setComment] = useState("");
  return (
    <May action="acknowledge">
      {(disabled) =>
        acked ? (
          <Button
            variant="default"
            h={40}
            disabled={disabled}
            loading={act.isPending}
            onClick={() => act.mutate({ target, back: true })}
          >
            {t.unacknowledge}
          </Button>
        ) : (
          <Popover opened={opened} onClose={dialog.close} width={300} trapFocus withinPortal>
            <Popover.Target>
              <Button
                h={40}
                leftSection={<IconHandStop size={16} />}
                disabled={disabled}
                loading={act.isPending}
                onClick={dialog.toggle}
                aria-expanded={opened}
              >
                {t.acknowledge}
              </Button>
            </Popover.Target>
            <Popover.Dropdown>
              <form
                onSubmit={(e) => {
                  e.preventDefault();
                  act.mutate(
                    { target, comment },
                    {
                      onSuccess: () => {
                        notifications.show({ message: t.acked(what) });
                        dialog.close();
                      },
                    },
                  );
                }}
              >
                <Stack gap="xs">
                  <Text size="sm" c="dimmed">
                    {t.ackHint}
                  </Text>
                  <TextInput
                    label={t.comment}
                    value={comment}
                    maxLength={1000}
                    onChange={(e) => setComment(e.currentTarget.value)}
                  />
                  <Group justify="flex-end">
                    <Button type="submit" h={40} loading={act.isPending}>
                      {t.acknowledge}
                    </Button>
                  </Group>
                </Stack>
              </form>
            </Popover.Dropdown>
          </Popover>
        )
      }
    </May>
  );
}
