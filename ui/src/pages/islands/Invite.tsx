import {
  Button,
  Code,
  CopyButton,
  Group,
  Modal,
  NumberInput,
  Select,
  Stack,
  Text,
  TextInput,
} from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { encode } from "uqr";
import { send } from "@/api/client";
import { Failed } from "@/parts/states";
import { useLanguage } from "@/text/text";
import { clock } from "@/text/time";
import { useIslandsText } from "./text";

const lifetimes = [1, 24, 24 * 7];

/** Invite makes a token and shows it once, as a command and as a QR code. */
export function Invite({ opened, onClose }: { opened: boolean; onClose: () => void }) {
  const t = useIslandsText();
  const { language } = useLanguage();
  const [role, setRole] = useState("island");
  const [region, setRegion] = useState("");
  const [uses, setUses] = useState(1);
  const [hours, setHours] = useState(24);
  const make = useMutation({
    mutationFn: () =>
      send("POST", "/api/atoll/v1/mesh/invite", {
        role,
        labels: region === "" ? {} : { region },
        uses,
        expires_seconds: hours * 3600,
      }),
  });
  const close = () => {
    // The token is shown once: closing forgets it.
    make.reset();
    onClose();
  };
  const command = make.data ? `atoll join ${make.data.token}` : "";
  return (
    <Modal
      opened={opened}
      onClose={close}
      title={t.inviteTitle}
      size="lg"
      closeButtonProps={{ "aria-label": t.close }}
    >
      {make.data ? (
        <Stack>
          <Text size="sm">{t.run}</Text>
          <Code block data-testid="token">
            {command}
          </Code>
          <Group justify="space-between" align="flex-end">
            <QR text={command} label={t.qr} />
            <Stack gap="xs" align="flex-end">
              <Text size="sm" c="dimmed">
                {t.expires}: {clock(Date.parse(make.data.expires), language)}
              </Text>
              <CopyButton value={command}>
                {({ copied, copy }) => <Button onClick={copy}>{copied ? t.copied : t.copy}</Button>}
              </CopyButton>
            </Stack>
          </Group>
        </Stack>
      ) : (
        <form
          onSubmit={(e) => {
            e.preventDefault();
            make.mutate();
          }}
        >
          <Stack>
            <Text size="sm">{t.inviteHint}</Text>
            <Select
              label={t.role}
              data={["island", "vantage", "observer", "admin"]}
              value={role}
              allowDeselect={false}
              onChange={(v) => setRole(v ?? "island")}
            />
            <TextInput
              label={t.region}
              placeholder="eu-west"
              value={region}
              onChange={(e) => setRegion(e.currentTarget.value.trim())}
            />
            <NumberInput
              label={t.uses}
              min={1}
              max={1000}
              allowDecimal={false}
              value={uses}
              onChange={(v) => setUses(Number(v) || 1)}
            />
            <Select
              label={t.expires}
              data={lifetimes.map((h) => ({ value: String(h), label: t.hours(h) }))}
              value={String(hours)}
              allowDeselect={false}
              onChange={(v) => setHours(Number(v))}
            />
            {make.error && <Failed error={make.error} />}
            <Button type="submit" loading={make.isPending}>
              {t.make}
            </Button>
          </Stack>
        </form>
      )}
    </Modal>
  );
}

function QR({ text, label }: { text: string; label: string }) {
  const { data, size } = encode(text, { border: 2 });
  const path = data.flatMap((row, y) => row.flatMap((on, x) => (on ? [`M${x} ${y}h1v1h-1z`] : []))).join("");
  return (
    <svg role="img" aria-label={label} viewBox={`0 0 ${size} ${size}`} width={220} height={220}>
      <rect width={size} height={size} fill="#fff" />
      <path d={path} fill="#000" shapeRendering="crispEdges" />
    </svg>
  );
}
