import { Button, Menu } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { IconLink, IconShare } from "@tabler/icons-react";
import { useSearchParams } from "react-router";
import { shareable } from "./address";
import { useExploreText } from "./text";

/** Share copies the address of what is seen. */
export function Share({ span }: { span: { from: number; to: number } }) {
  const t = useExploreText();
  const [params] = useSearchParams();
  const copy = async (pin: boolean) => {
    const url = `${location.origin}${location.pathname}?${shareable(params, span, pin)}`;
    try {
      await navigator.clipboard.writeText(url);
      notifications.show({ message: t.copied });
    } catch {
      notifications.show({ message: t.notCopied, color: "yellow" });
    }
  };
  return (
    <Menu position="bottom-end">
      <Menu.Target>
        <Button variant="default" px="sm" leftSection={<IconShare size={16} />}>
          {t.share}
        </Button>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Item leftSection={<IconLink size={16} />} onClick={() => void copy(false)}>
          {t.copyLink}
        </Menu.Item>
        <Menu.Item leftSection={<IconLink size={16} />} onClick={() => void copy(true)}>
          {t.copyPinned}
        </Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}
