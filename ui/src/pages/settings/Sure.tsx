import { Button, Group, Modal, Stack, Text } from "@mantine/core";
import type { UseMutationResult } from "@tanstack/react-query";
import { Failed } from "@/parts/states";
import { useSettingsText } from "./text";

type Props = {
  title: string;
  /** consequence is what follows, in words. */
  consequence: string;
  deed: string;
  opened: boolean;
  onClose: () => void;
  act: Pick<UseMutationResult<unknown, Error, void>, "mutate" | "error" | "isPending">;
};

/** Sure asks before what cannot be taken back. */
export function Sure({ title, consequence, deed, opened, onClose, act }: Props) {
  const t = useSettingsText();
  return (
    <Modal opened={opened} onClose={onClose} title={title} closeButtonProps={{ "aria-label": t.close }}>
      <Stack>
        <Text size="sm">{consequence}</Text>
        {act.error && <Failed error={act.error} />}
        <Group justify="flex-end">
          <Button variant="default" onClick={onClose}>
            {t.cancel}
          </Button>
          <Button color="red" loading={act.isPending} onClick={() => act.mutate()}>
            {deed}
          </Button>
        </Group>
      </Stack>
    </Modal>
  );
}
