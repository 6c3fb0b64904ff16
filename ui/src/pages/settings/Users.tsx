import {
  Button,
  Card,
  Group,
  Modal,
  MultiSelect,
  PasswordInput,
  Stack,
  Table,
  Text,
  TextInput,
} from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { ask, send } from "@/api/client";
import { Failed, Loading } from "@/parts/states";
import { useLanguage } from "@/text/text";
import { clock } from "@/text/time";
import { Sure } from "./Sure";
import { useSettingsText } from "./text";

export const roles = ["admin", "operator", "viewer"];

type User = { name: string; roles: string[]; place: string; disabled: boolean; changed: string; by?: string };

/** Users are the people that may sign in. */
export function Users() {
  const t = useSettingsText();
  const { language } = useLanguage();
  const [adding, add] = useDisclosure(false);
  const users = useQuery({
    queryKey: ["users"],
    queryFn: () => ask("/api/atoll/v1/users"),
  });
  if (users.error) return <Failed error={users.error} retry={() => void users.refetch()} />;
  if (!users.data) return <Loading />;
  return (
    <Stack>
      <Group justify="flex-end">
        <Button onClick={add.open}>{t.addUser}</Button>
      </Group>
      <Card p={0}>
        <Table.ScrollContainer minWidth={560} type="native" tabIndex={0}>
          <Table>
            <Table.Thead>
              <Table.Tr>
                <Table.Th>{t.name}</Table.Th>
                <Table.Th>{t.roles}</Table.Th>
                <Table.Th>{t.place}</Table.Th>
                <Table.Th>{t.changed}</Table.Th>
                <Table.Th />
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {users.data.items.map((u) => (
                <Table.Tr key={u.name}>
                  <Table.Td fw={600}>{u.name}</Table.Td>
                  <Table.Td>
                    <Roles user={u} />
                  </Table.Td>
                  <Table.Td>{t.places[u.place] ?? u.place}</Table.Td>
                  <Table.Td>
                    {clock(Date.parse(u.changed), language)}
                    <Text size="xs" c="dimmed">
                      {u.by ? `${t.by} ${u.by}` : ""}
                    </Text>
                  </Table.Td>
                  <Table.Td>
                    <Remove user={u} />
                  </Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        </Table.ScrollContainer>
      </Card>
      <Add opened={adding} onClose={add.close} />
    </Stack>
  );
}

function useChanged() {
  const queries = useQueryClient();
  return () => queries.invalidateQueries({ queryKey: ["users"] });
}

function Roles({ user }: { user: User }) {
  const t = useSettingsText();
  const changed = useChanged();
  const act = useMutation({
    mutationFn: (wanted: string[]) =>
      send("PUT", `/api/atoll/v1/users/${encodeURIComponent(user.name)}`, { roles: wanted }),
    onSuccess: changed,
  });
  return (
    <>
      <MultiSelect
        aria-label={t.changeRoles}
        data={roles}
        value={user.roles}
        onChange={(v) => v.length > 0 && act.mutate(v)}
        disabled={act.isPending}
      />
      {act.error && <Failed error={act.error} />}
    </>
  );
}

function Remove({ user }: { user: User }) {
  const t = useSettingsText();
  const [asking, sure] = useDisclosure(false);
  const changed = useChanged();
  const act = useMutation({
    mutationFn: () => send("DELETE", `/api/atoll/v1/users/${encodeURIComponent(user.name)}`),
    onSuccess: async () => {
      sure.close();
      await changed();
    },
  });
  return (
    <>
      <Button variant="subtle" color="red" onClick={sure.open}>
        {t.remove}
      </Button>
      <Sure
        title={t.removeUser(user.name)}
        consequence={t.removeUserHint(user.name)}
        deed={t.remove}
        opened={asking}
        onClose={sure.close}
        act={act}
      />
    </>
  );
}

function Add({ opened, onClose }: { opened: boolean; onClose: () => void }) {
  const t = useSettingsText();
  const changed = useChanged();
  const [chosen, setChosen] = useState(["viewer"]);
  const act = useMutation({
    mutationFn: (form: FormData) =>
      send("POST", "/api/atoll/v1/users", {
        name: String(form.get("name")),
        password: String(form.get("password")),
        roles: chosen,
      }),
    onSuccess: async () => {
      onClose();
      await changed();
    },
  });
  return (
    <Modal opened={opened} onClose={onClose} title={t.addUser} closeButtonProps={{ "aria-label": t.close }}>
      <form
        onSubmit={(e) => {
          e.preventDefault();
          act.mutate(new FormData(e.currentTarget));
        }}
      >
        <Stack>
          <TextInput name="name" label={t.name} required autoComplete="off" />
          <PasswordInput
            name="password"
            label={t.password}
            description={t.passwordHint}
            minLength={8}
            required
            autoComplete="new-password"
          />
          <MultiSelect label={t.roles} data={roles} value={chosen} onChange={setChosen} required />
          {act.error && <Failed error={act.error} />}
          <Button type="submit" loading={act.isPending} disabled={chosen.length === 0}>
            {t.addUser}
          </Button>
        </Stack>
      </form>
    </Modal>
  );
}
