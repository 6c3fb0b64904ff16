import { Button, Group, Menu, Text } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { IconBellOff } from "@tabler/icons-react";
import { Link } from "react-router";
import { useLanguage } from "@/text/text";
import { clock } from "@/text/time";
import { useExpire, useSilence } from "./api";
import { May } from "./May";
import { endOf, type Matcher, type Span, spans } from "./model";
import { useAlertsText } from "./text";

type Props = { what: string; matchers: Matcher[]; compact?: boolean };

/** SilenceMenu silences in two taps: this button, then for how long. */
export function SilenceMenu({ what, matchers, compact = false }: Props) {
  const t = useAlertsText();
  const { language } = useLanguage();
  const silence = useSilence();
  const expire = useExpire();
  const names: Record<Span, string> = {
    "30m": t.span30m,
    "2h": t.span2h,
    "8h": t.span8h,
    tomorrow: t.spanTomorrow,
  };
  const choose = async (span: Span) => {
    const now = Date.now();
    const to = endOf(span, now);
    try {
      const { silenceID } = await silence.mutateAsync({
        matchers,
        from: now,
        to,
        comment: `${what} (${span})`,
      });
      const id = `silence-${silenceID}`;
      notifications.show({
        id,
        autoClose: 15_000,
        message: (
          <Group justify="space-between" wrap="nowrap">
            <Text size="sm">{t.silenced(what, clock(to, language))}</Text>
            <Button
              size="compact-md"
              variant="default"
              onClick={() => {
                notifications.hide(id);
                expire.mutate(silenceID, { onSuccess: () => notifications.show({ message: t.undone }) });
              }}
            >
              {t.undo}
            </Button>
          </Group>
        ),
      });
    } catch (e) {
      notifications.show({ color: "red", message: e instanceof Error ? e.message : String(e) });
    }
  };
  return (
    <May action="silence">
      {(disabled) => (
        <Menu position="bottom-start" width={220} disabled={disabled}>
          <Menu.Target>
            <Button
              variant="default"
              h={40}
              px={compact ? "sm" : "md"}
              leftSection={<IconBellOff size={16} />}
              loading={silence.isPending}
              disabled={disabled}
            >
              {t.silence}
            </Button>
          </Menu.Target>
          <Menu.Dropdown>
            <Menu.Label>{t.silenceFor}</Menu.Label>
            {spans.map((span) => (
              <Menu.Item key={span} py={10} onClick={() => void choose(span)}>
                {names[span]}
              </Menu.Item>
            ))}
            <Menu.Divider />
            <Menu.Item
              py={10}
              component={Link}
              to={`/alerts/silences/new?matchers=${encodeURIComponent(JSON.stringify(matchers))}`}
            >
              {t.silenceOther}
            </Menu.Item>
          </Menu.Dropdown>
        </Menu>
      )}
    </May>
  );
}
