import { Button, Card, Group, Table, TextInput } from "@mantine/core";
import { IconSearch } from "@tabler/icons-react";
import { useInfiniteQuery } from "@tanstack/react-query";
import { useSearchParams } from "react-router";
import { ask } from "@/api/client";
import { Empty, Failed, Loading } from "@/parts/states";
import { useLanguage } from "@/text/text";
import { clock } from "@/text/time";
import { useSettingsText } from "./text";

/** Audit is what was done and by whom, the newest first. */
export function Audit() {
  const t = useSettingsText();
  const { language } = useLanguage();
  const [params, setParams] = useSearchParams();
  const pages = useInfiniteQuery({
    queryKey: ["audit"],
    queryFn: ({ pageParam }) =>
      ask(
        `/api/atoll/v1/audit?${new URLSearchParams({ limit: "200", ...(pageParam === "" ? {} : { before: pageParam }) })}`,
      ),
    initialPageParam: "",
    getNextPageParam: (last) => last.next,
  });
  if (pages.error) return <Failed error={pages.error} retry={() => void pages.refetch()} />;
  if (!pages.data) return <Loading />;
  const words = (params.get("q") ?? "").toLowerCase();
  const entries = pages.data.pages
    .flatMap((p) => p.items)
    .filter((e) => `${e.actor} ${e.action} ${e.subject} ${e.detail ?? ""}`.toLowerCase().includes(words));
  return (
    <>
      <TextInput
        type="search"
        aria-label={t.search}
        placeholder={t.search}
        leftSection={<IconSearch size={16} />}
        value={params.get("q") ?? ""}
        onChange={(e) =>
          setParams(e.currentTarget.value === "" ? {} : { q: e.currentTarget.value }, { replace: true })
        }
      />
      {entries.length === 0 ? (
        <Empty title={t.noAudit} />
      ) : (
        <Card p={0}>
          <Table.ScrollContainer minWidth={640} type="native" tabIndex={0}>
            <Table fz="sm">
              <Table.Thead>
                <Table.Tr>
                  <Table.Th>{t.when}</Table.Th>
                  <Table.Th>{t.who}</Table.Th>
                  <Table.Th>{t.what}</Table.Th>
                  <Table.Th>{t.subject}</Table.Th>
                </Table.Tr>
              </Table.Thead>
              <Table.Tbody>
                {entries.map((e) => (
                  <Table.Tr key={`${e.log}-${e.seq}`}>
                    <Table.Td style={{ whiteSpace: "nowrap" }}>
                      {clock(Date.parse(e.time), language)}
                    </Table.Td>
                    <Table.Td>{e.actor}</Table.Td>
                    <Table.Td>{e.action}</Table.Td>
                    <Table.Td>
                      {e.subject} {e.detail}
                    </Table.Td>
                  </Table.Tr>
                ))}
              </Table.Tbody>
            </Table>
          </Table.ScrollContainer>
        </Card>
      )}
      {pages.hasNextPage && (
        <Group justify="center">
          <Button
            variant="default"
            loading={pages.isFetchingNextPage}
            onClick={() => void pages.fetchNextPage()}
          >
            {t.older}
          </Button>
        </Group>
      )}
    </>
  );
}
