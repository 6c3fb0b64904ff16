import { Button, Card, Checkbox, Group, Modal, Select, Stack, Textarea, TextInput } from "@mantine/core";
import { IconPlus, IconTrash } from "@tabler/icons-react";
import type { Variable } from "./model";
import { useDashboardText } from "./text";

type Props = {
  opened: boolean;
  onClose: () => void;
  variables: readonly Variable[];
  onChange: (variables: Variable[]) => void;
};

const lines = (text: string) => text.split("\n").filter((l) => l !== "");

/** VariableEditor changes the variables of a dashboard. */
export function VariableEditor({ opened, onClose, variables, onChange }: Props) {
  const t = useDashboardText();
  const change = (at: number, part: Partial<Variable>) =>
    onChange(variables.map((v, i) => (i === at ? { ...v, ...part } : v)));
  return (
    <Modal opened={opened} onClose={onClose} title={t.variables} size="lg">
      <Stack gap="sm">
        {variables.map((v, i) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: its place is what a variable is known by while its name is typed
          <Card key={i} padding="sm">
            <Stack gap="xs">
              <Group grow align="flex-end">
                <TextInput
                  label={t.variableName}
                  value={v.name}
                  onChange={(e) =>
                    change(i, { name: e.currentTarget.value.replace(/\W/g, "_").slice(0, 50) })
                  }
                />
                <Select
                  label={t.variableType}
                  allowDeselect={false}
                  value={v.type}
                  onChange={(type) => type && change(i, { type: type as Variable["type"] })}
                  data={[
                    { value: "label", label: t.typeOfLabel },
                    { value: "custom", label: t.typeOfCustom },
                    { value: "text", label: t.typeOfText },
                  ]}
                />
              </Group>
              {v.type === "label" && (
                <Group grow align="flex-end">
                  <TextInput
                    label={t.valuesOf}
                    value={v.values_of ?? ""}
                    onChange={(e) => change(i, { values_of: e.currentTarget.value })}
                  />
                  <TextInput
                    label={t.match}
                    value={v.match ?? ""}
                    onChange={(e) => change(i, { match: e.currentTarget.value })}
                  />
                </Group>
              )}
              {v.type === "custom" && (
                <Textarea
                  label={t.options}
                  autosize
                  minRows={2}
                  maxRows={8}
                  defaultValue={(v.options ?? []).join("\n")}
                  onChange={(e) => change(i, { options: lines(e.currentTarget.value) })}
                />
              )}
              <Textarea
                label={t.defaults}
                autosize
                maxRows={4}
                defaultValue={(v.default ?? []).join("\n")}
                onChange={(e) => change(i, { default: lines(e.currentTarget.value) })}
              />
              <Group justify="space-between">
                <Group>
                  <Checkbox
                    label={t.multi}
                    checked={v.multi ?? false}
                    onChange={(e) => change(i, { multi: e.currentTarget.checked })}
                  />
                  <Checkbox
                    label={t.includeAll}
                    checked={v.include_all ?? false}
                    onChange={(e) => change(i, { include_all: e.currentTarget.checked })}
                  />
                </Group>
                <Button
                  variant="default"
                  leftSection={<IconTrash size={16} />}
                  onClick={() => onChange(variables.filter((_, j) => j !== i))}
                >
                  {t.removeVariable}
                </Button>
              </Group>
            </Stack>
          </Card>
        ))}
        <Group justify="space-between">
          <Button
            variant="default"
            leftSection={<IconPlus size={16} />}
            disabled={variables.length >= 30}
            onClick={() =>
              onChange([
                ...variables,
                { name: `v${variables.length + 1}`, type: "label", values_of: "instance" },
              ])
            }
          >
            {t.addVariable}
          </Button>
          <Button onClick={onClose}>{t.apply}</Button>
        </Group>
      </Stack>
    </Modal>
  );
}
