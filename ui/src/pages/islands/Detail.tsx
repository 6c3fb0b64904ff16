import { Button, Code, Drawer, Group, Modal, Stack, Table, Text, TextInput, Tooltip } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { send } from "@/api/client";
import { useAccess } from "@/api/session";
import { Failed, Labels, Mark } from "@/parts/states";
import { useLanguage } from "@/text/text";
import { clock, seconds } from "@/text/time";
import { type Peer, stateOf } from "./peers";
import { useIslandsText } from "./text";

/** Detail tells all that is known of one island, and what can be done with it. */
export function Detail({ peer, onClose }: { peer: Peer | undefined; onClose: () => void }) {
  const t = useIslandsText();
  return (
    <Drawer
      opened={peer !== undefined}
      onClose={onClose}
      position="right"
      size="lg"
      title={peer?.name}
      closeButtonProps={{ "aria-label": t.close }}
    >
      {peer && (
        <Stack>
          <Facts peer={peer} />
          <Deeds peer={peer} onGone={onClose} />
        </Stack>
      )}
    </Drawer>
  );
}

function Facts({ peer: p }: { peer: Peer }) {
  const t = useIslandsText();
  const { language } = useLanguage();
  const when = (at: string | undefined) => (at === undefined ? undefined : clock(Date.parse(at), language));
  const rows: [string, ReactNode][] = [
    [
      t.state,
      <Mark key="s" state={stateOf(p)}>
        {t.states(p.state)}
      </Mark>,
    ],
    [
      t.path,
      p.path === "relayed" ? t.relayed(p.via ?? t.unknownRelay) : p.path === "direct" ? t.direct : undefined,
    ],
    [t.why, p.why_not_direct],
    [t.verdict, p.verdict],
    [t.lastError, p.last_error],
    [t.transport, [p.transport, p.security, p.congestion_control].filter(Boolean).join(" · ")],
    [
      t.rtt,
      p.rtt_seconds === undefined
        ? undefined
        : `${seconds(p.rtt_seconds)} ± ${seconds(p.jitter_seconds ?? 0)}`,
    ],
    [t.since, when(p.since)],
    [t.version, [p.software, p.version].filter(Boolean).join(" · ")],
    [t.clock, seconds(p.clock_skew_seconds)],
    [t.breaker, p.breaker],
    [t.certificate, when(p.certificate_expires)],
    [t.labels, <Labels key="l" of={p.labels} />],
    [
      t.addresses,
      p.addresses?.map((a) => (
        <Code key={a} block>
          {a}
        </Code>
      )),
    ],
    [
      t.key,
      <Code key="k" block>
        {p.key}
      </Code>,
    ],
  ];
  return (
    <Table>
      <Table.Tbody>
        {rows
          .filter(([, value]) => value !== undefined && value !== "")
          .map(([name, value]) => (
            <Table.Tr key={name}>
              <Table.Th w={130}>{name}</Table.Th>
              <Table.Td>{value}</Table.Td>
            </Table.Tr>
          ))}
      </Table.Tbody>
    </Table>
  );
}

function Deeds({ peer, onGone }: { peer: Peer; onGone: () => void }) {
  const t = useIslandsText();
  const { may } = useAccess();
  const [asking, setAsking] = useState<"revoke" | "promote" | undefined>();
  const ping = useMutation({
    mutationFn: () => send("POST", "/api/atoll/v1/mesh/ping", { name: peer.name }),
  });
  return (
    <Stack gap="xs">
      <Group>
        <Button variant="default" loading={ping.isPending} onClick={() => ping.mutate()}>
          {t.ping}
        </Button>
        <Tooltip label={t.signIn} disabled={may("administer")}>
          <Button variant="default" disabled={!may("administer")} onClick={() => setAsking("promote")}>
            {peer.primary ? t.demote : t.promote}
          </Button>
        </Tooltip>
        <Tooltip label={t.signIn} disabled={may("administer")}>
          <Button
            color="red"
            variant="light"
            disabled={!may("administer")}
            onClick={() => setAsking("revoke")}
          >
            {t.revoke}
          </Button>
        </Tooltip>
      </Group>
      {ping.data && <Text size="sm">{t.pinged(ping.data.rtt_ms, ping.data.path)}</Text>}
      {ping.error && <Failed error={ping.error} />}
      <Revoke peer={peer} opened={asking === "revoke"} onClose={() => setAsking(undefined)} onDone={onGone} />
      <Promote peer={peer} opened={asking === "promote"} onClose={() => setAsking(undefined)} />
    </Stack>
  );
}

type AskProps = { peer: Peer; opened: boolean; onClose: () => void };

function Revoke({ peer, opened, onClose, onDone }: AskProps & { onDone: () => void }) {
  const t = useIslandsText();
  const queries = useQueryClient();
  const [reason, setReason] = useState("");
  const act = useMutation({
    mutationFn: () => send("POST", "/api/atoll/v1/mesh/revoke", { name: peer.name, reason }),
    onSuccess: async (done) => {
      notifications.show({ message: t.revoked(done.name, done.told) });
      onClose();
      onDone();
      await queries.invalidateQueries({ queryKey: ["mesh"] });
    },
  });
  return (
    <Modal
      opened={opened}
      onClose={onClose}
      title={t.revokeTitle(peer.name)}
      closeButtonProps={{ "aria-label": t.close }}
    >
      <Stack>
        <Text size="sm">{t.revokeHint(peer.name)}</Text>
        <TextInput label={t.reason} value={reason} onChange={(e) => setReason(e.currentTarget.value)} />
        {act.error && <Failed error={act.error} />}
        <Group justify="flex-end">
          <Button variant="default" onClick={onClose}>
            {t.cancel}
          </Button>
          <Button color="red" loading={act.isPending} onClick={() => act.mutate()}>
            {t.confirmRevoke}
          </Button>
        </Group>
      </Stack>
    </Modal>
  );
}

function Promote({ peer, opened, onClose }: AskProps) {
  const t = useIslandsText();
  const queries = useQueryClient();
  const demote = peer.primary === true;
  const act = useMutation({
    mutationFn: () => send("POST", "/api/atoll/v1/mesh/promote", { names: [peer.name], demote }),
    onSuccess: async (done) => {
      notifications.show({ message: done.note ?? t.done });
      onClose();
      await queries.invalidateQueries({ queryKey: ["mesh"] });
    },
  });
  return (
    <Modal
      opened={opened}
      onClose={onClose}
      title={demote ? t.demoteTitle(peer.name) : t.promoteTitle(peer.name)}
      closeButtonProps={{ "aria-label": t.close }}
    >
      <Stack>
        <Text size="sm">{demote ? t.demoteHint : t.promoteHint}</Text>
        {act.error && <Failed error={act.error} />}
        <Group justify="flex-end">
          <Button variant="default" onClick={onClose}>
            {t.cancel}
          </Button>
          <Button loading={act.isPending} onClick={() => act.mutate()}>
            {t.confirm}
          </Button>
        </Group>
      </Stack>
    </Modal>
  );
}
