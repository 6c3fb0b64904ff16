import {
  Button,
  Card,
  Code,
  CopyButton,
  Group,
  Modal,
  MultiSelect,
  Select,
  Stack,
  Table,
  Text,
  TextInput,
} from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { ask, send } from "@/api/client";
import { Empty, Failed, Loading, Mark } from "@/parts/states";
import { useLanguage } from "@/text/text";
import { clock } from "@/text/time";
import { Sure } from "./Sure";
import { useSettingsText } from "./text";

const scopes = ["read", "ingest", "silence", "acknowledge", "probe", "write", "administer"] as const;
type Scope = (typeof scopes)[number];
const lifetimes = [7, 30, 90, 365];

type Token = {
  id: string;
  name: string;
  user?: string;
  roles?: string[];
  scopes: string[];
  expires: string;
  expired: boolean;
  token?: string;
};

/** Tokens let programs in: one's own, or those of a service. */
export function Tokens() {
  const t = useSettingsText();
  const { language } = useLanguage();
  const [making, make] = useDisclosure(false);
  const tokens = useQuery({
    queryKey: ["tokens"],
    queryFn: () => ask("/api/atoll/v1/tokens"),
  });
  if (tokens.error) return <Failed error={tokens.error} retry={() => void tokens.refetch()} />;
  if (!tokens.data) return <Loading />;
  return (
    <Stack>
      <Group justify="flex-end">
        <Button onClick={make.open}>{t.createToken}</Button>
      </Group>
      {tokens.data.items.length === 0 ? (
        <Empty title={t.noTokens}>{t.noTokensHint}</Empty>
      ) : (
        <Card p={0}>
          <Table.ScrollContainer minWidth={560} type="native" tabIndex={0}>
            <Table>
              <Table.Thead>
                <Table.Tr>
                  <Table.Th>{t.name}</Table.Th>
                  <Table.Th>{t.scopes}</Table.Th>
                  <Table.Th>{t.expires}</Table.Th>
                  <Table.Th />
                </Table.Tr>
              </Table.Thead>
              <Table.Tbody>
                {tokens.data.items.map((one) => (
                  <Table.Tr key={one.id}>
                    <Table.Td>
                      <Text fw={600}>{one.name}</Text>
                      <Text size="xs" c="dimmed">
                        {one.user ?? one.roles?.join(", ")} · {one.id}
                      </Text>
                    </Table.Td>
                    <Table.Td>{one.scopes.join(", ")}</Table.Td>
                    <Table.Td>
                      {one.expired ? (
                        <Mark state="warn">{t.expired}</Mark>
                      ) : (
                        clock(Date.parse(one.expires), language)
                      )}
                    </Table.Td>
                    <Table.Td>
                      <Revoke token={one} />
                    </Table.Td>
                  </Table.Tr>
                ))}
              </Table.Tbody>
            </Table>
          </Table.ScrollContainer>
        </Card>
      )}
      <Make opened={making} onClose={make.close} />
    </Stack>
  );
}

function Revoke({ token }: { token: Token }) {
  const t = useSettingsText();
  const queries = useQueryClient();
  const [asking, sure] = useDisclosure(false);
  const act = useMutation({
    mutationFn: () => send("DELETE", `/api/atoll/v1/tokens/${encodeURIComponent(token.id)}`),
    onSuccess: async () => {
      sure.close();
      await queries.invalidateQueries({ queryKey: ["tokens"] });
    },
  });
  return (
    <>
      <Button variant="subtle" color="red" onClick={sure.open}>
        {t.revoke}
      </Button>
      <Sure
        title={t.revokeToken(token.name)}
        consequence={t.revokeTokenHint}
        deed={t.revoke}
        opened={asking}
        onClose={sure.close}
        act={act}
      />
    </>
  );
}

function Make({ opened, onClose }: { opened: boolean; onClose: () => void }) {
  const t = useSettingsText();
  const queries = useQueryClient();
  const [chosen, setChosen] = useState<Scope[]>(["read"]);
  const [days, setDays] = useState("90");
  const act = useMutation({
    mutationFn: (form: FormData) =>
      send("POST", "/api/atoll/v1/tokens", {
        name: String(form.get("name")),
        scopes: chosen,
        expires_seconds: Number(days) * 86_400,
      }),
    onSuccess: () => queries.invalidateQueries({ queryKey: ["tokens"] }),
  });
  const close = () => {
    act.reset();
    onClose();
  };
  return (
    <Modal opened={opened} onClose={close} title={t.createToken} closeButtonProps={{ "aria-label": t.close }}>
      {act.data?.token ? (
        <Stack>
          <Text size="sm">{t.tokenOnce}</Text>
          <Code block>{act.data.token}</Code>
          <CopyButton value={act.data.token}>
            {({ copied, copy }) => <Button onClick={copy}>{copied ? t.copied : t.copy}</Button>}
          </CopyButton>
        </Stack>
      ) : (
        <form
          onSubmit={(e) => {
            e.preventDefault();
            act.mutate(new FormData(e.currentTarget));
          }}
        >
          <Stack>
            <TextInput name="name" label={t.name} required autoComplete="off" />
            <MultiSelect
              label={t.scopes}
              data={scopes}
              value={chosen}
              onChange={(chosen) => setChosen(scopes.filter((s) => chosen.includes(s)))}
              required
            />
            <Select
              label={t.lifetime}
              data={lifetimes.map((d) => ({ value: String(d), label: t.days(d) }))}
              value={days}
              onChange={(v) => setDays(v ?? "90")}
              allowDeselect={false}
            />
            {act.error && <Failed error={act.error} />}
            <Button type="submit" loading={act.isPending} disabled={chosen.length === 0}>
              {t.createToken}
            </Button>
          </Stack>
        </form>
      )}
    </Modal>
  );
}
