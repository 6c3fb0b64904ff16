import { Button, Card, Group, Table, Text } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { useMutation, useQuery } from "@tanstack/react-query";
import { ask, headersFor, refusalOf } from "@/api/client";
import { useAccess } from "@/api/session";
import { Failed, Labels, Loading, Mark } from "@/parts/states";
import { useLanguage } from "@/text/text";
import { ago, clock } from "@/text/time";
import { useSettingsText } from "./text";

/** About says which island this is, what it runs on and how its parts are. */
export function About() {
  const t = useSettingsText();
  const { language } = useLanguage();
  const { may } = useAccess();
  const status = useQuery({ queryKey: ["status"], queryFn: () => ask("/api/atoll/v1/status") });
  const reload = useMutation({
    mutationFn: async () => {
      const r = await fetch("/-/reload", { method: "POST", headers: headersFor("POST") });
      if (!r.ok) throw await refusalOf(r);
    },
    onSuccess: async () => {
      notifications.show({ message: t.reloaded });
      await status.refetch();
    },
  });
  if (status.error) return <Failed error={status.error} retry={() => void status.refetch()} />;
  if (!status.data) return <Loading />;
  const s = status.data;
  return (
    <Card>
      <Table>
        <Table.Tbody>
          <Row name={t.name} value={s.name} />
          <Row
            name={t.version}
            value={[s.version.version, s.version.revision, s.version.go_version].filter(Boolean).join(" · ")}
          />
          <Row
            name={t.started}
            value={`${clock(Date.parse(s.started_at), language)}, ${ago(Date.parse(s.started_at), language)}`}
          />
          <Row
            name={t.config}
            value={`${s.config.file || t.defaults}, ${clock(Date.parse(s.config.loaded_at), language)}`}
          />
          <Row name={t.dataDir} value={s.data_dir} />
        </Table.Tbody>
      </Table>
      <Labels of={s.labels} />
      {s.config.last_reload && !s.config.last_reload.ok && (
        <Failed error={new Error(s.config.last_reload.error)} />
      )}
      <Group mt="md" gap={6}>
        <Text size="sm" fw={600}>
          {t.rooms}
        </Text>
        {s.rooms.map((r) => (
          <Mark key={r.name} state={r.state === "running" ? "good" : r.state === "failed" ? "bad" : "warn"}>
            {r.name}: {r.state}
          </Mark>
        ))}
      </Group>
      {may("administer") && (
        <Button mt="md" variant="default" loading={reload.isPending} onClick={() => reload.mutate()}>
          {t.reload}
        </Button>
      )}
      {reload.error && <Failed error={reload.error} />}
    </Card>
  );
}

function Row({ name, value }: { name: string; value: string }) {
  return (
    <Table.Tr>
      <Table.Th w={150}>{name}</Table.Th>
      <Table.Td>{value}</Table.Td>
    </Table.Tr>
  );
}
