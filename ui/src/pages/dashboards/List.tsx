import { Button, Card, Group, SimpleGrid, Stack, Text, TextInput } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconFileImport, IconPlus } from "@tabler/icons-react";
import { Link, useSearchParams } from "react-router";
import { Empty, Failed, Loading, Mark, PageTitle } from "@/parts/states";
import { useLanguage } from "@/text/text";
import { ago } from "@/text/time";
import { useDashboards } from "./api";
import { Import } from "./Import";
import { useDashboardText } from "./text";

/** List shows the dashboards there are, by title. */
export function List() {
  const t = useDashboardText();
  const { language } = useLanguage();
  const [params, setParams] = useSearchParams();
  const [importing, dialog] = useDisclosure(false);
  const { data, error, isPending, refetch } = useDashboards();
  const words = (params.get("q") ?? "").toLowerCase();
  const rows = (data ?? [])
    .filter((d) => `${d.title} ${d.name}`.toLowerCase().includes(words))
    .sort((a, b) => a.title.localeCompare(b.title));
  const actions = (
    <>
      <Button variant="default" leftSection={<IconFileImport size={16} />} onClick={dialog.open}>
        {t.import}
      </Button>
      <Button component={Link} to="/dashboards/new" leftSection={<IconPlus size={16} />}>
        {t.create}
      </Button>
    </>
  );
  return (
    <Stack gap="md">
      <PageTitle note={data && data.length > 0 ? t.count(data.length) : undefined} actions={actions}>
        {t.title}
      </PageTitle>
      {error && <Failed error={error} retry={() => void refetch()} />}
      {isPending && <Loading height={240} />}
      {data && data.length > 0 && (
        <TextInput
          type="search"
          maw={420}
          aria-label={t.filter}
          placeholder={t.filter}
          defaultValue={params.get("q") ?? ""}
          onChange={(e) => {
            const q = e.currentTarget.value;
            setParams(q === "" ? {} : { q }, { replace: true });
          }}
        />
      )}
      {data?.length === 0 && <Empty title={t.emptyTitle}>{t.emptyText}</Empty>}
      {data && data.length > 0 && rows.length === 0 && <Empty title={t.noMatch}>{t.noMatchText}</Empty>}
      <SimpleGrid cols={{ base: 1, sm: 2, lg: 3 }} spacing="sm">
        {rows.map((d) => (
          <Card
            key={`${d.place} ${d.name}`}
            component={Link}
            to={`/dashboards/${encodeURIComponent(d.name)}`}
            c="inherit"
          >
            <Group justify="space-between" gap="xs" wrap="nowrap" align="flex-start">
              <Text fw={600}>{d.title}</Text>
              {d.place === "browser" && <Mark state="warn">{t.onlyHere}</Mark>}
            </Group>
            <Text size="xs" c="dimmed">
              {[
                d.name,
                t.panels(d.panels),
                d.modified ? t.changed(ago(Date.parse(d.modified), language)) : "",
              ]
                .filter((w) => w !== "")
                .join(" · ")}
            </Text>
          </Card>
        ))}
      </SimpleGrid>
      <Import opened={importing} onClose={dialog.close} />
    </Stack>
  );
}
