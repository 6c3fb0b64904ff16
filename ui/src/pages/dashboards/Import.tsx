import {
  Alert,
  Button,
  FileButton,
  Group,
  List as Lines,
  Modal,
  Stack,
  Text,
  Textarea,
  Title,
} from "@mantine/core";
import { useMemo, useState } from "react";
import { useNavigate } from "react-router";
import { convert, type Imported, type Note } from "./grafana";
import { most, readDashboard, writeDashboard } from "./model";
import { useDashboardText } from "./text";

/** A file larger than this is not read. */
const largest = 8 << 20;

/** read takes a dashboard of either kind. */
function read(text: string): Imported | undefined {
  try {
    const own = readDashboard(text);
    const value: unknown = JSON.parse(text);
    // Both have title and panels; what is only Grafana's tells them apart.
    const theirs = /"(schemaVersion|gridPos|fieldConfig|datasource|targets|dashboard|rows)"\s*:/.test(text);
    if (own !== undefined && !theirs) return { dashboard: own, notes: [] };
    return convert(value);
  } catch {
    return undefined;
  }
}

/** Import takes a dashboard from JSON and says what of it did not come over. */
export function Import({ opened, onClose }: { opened: boolean; onClose: () => void }) {
  const t = useDashboardText();
  const navigate = useNavigate();
  const [text, setText] = useState("");
  const imported = useMemo(() => (text.trim() === "" ? undefined : read(text)), [text]);
  const large = imported !== undefined && writeDashboard(imported.dashboard).length > most.bytes;
  const open = () => {
    if (imported) void navigate("/dashboards/new", { state: { dashboard: imported.dashboard } });
  };
  return (
    <Modal opened={opened} onClose={onClose} title={t.importTitle} size="lg">
      <Stack gap="sm">
        <Group>
          <FileButton
            accept="application/json,.json"
            onChange={(f) => {
              if (f && f.size <= largest) void f.text().then(setText);
              else if (f) setText("-");
            }}
          >
            {(props) => <Button {...props}>{t.importFile}</Button>}
          </FileButton>
          <Text size="sm" c="dimmed">
            {t.importText}
          </Text>
        </Group>
        <Textarea
          label={t.importPaste}
          autosize
          minRows={3}
          maxRows={8}
          value={text.length > 20_000 ? `${text.slice(0, 20_000)}…` : text}
          onChange={(e) => setText(e.currentTarget.value)}
        />
        {text.trim() !== "" && imported === undefined && (
          <Alert color="red" variant="light" role="alert">
            {t.importNot}
          </Alert>
        )}
        {large && (
          <Alert color="red" variant="light" role="alert">
            {t.importTooLarge}
          </Alert>
        )}
        {imported && <Outcome imported={imported} />}
        <Group justify="flex-end">
          <Button disabled={imported === undefined || large} onClick={open}>
            {t.importGo}
          </Button>
        </Group>
      </Stack>
    </Modal>
  );
}

function Outcome({ imported }: { imported: Imported }) {
  const t = useDashboardText();
  const groups: [string, Note[]][] = [
    [t.lost, imported.notes.filter((n) => n.lost)],
    [t.differs, imported.notes.filter((n) => !n.lost)],
  ];
  return (
    <Stack gap="xs" mah={320} style={{ overflowY: "auto" }} role="status">
      <Text size="sm" fw={600}>
        {imported.dashboard.title}:{" "}
        {t.converted(imported.dashboard.panels.filter((p) => p.type !== "row").length)}
      </Text>
      {groups.map(([title, notes]) =>
        notes.length === 0 ? null : (
          <div key={title}>
            <Title order={3} fz="sm">
              {title} ({notes.length})
            </Title>
            <Lines size="sm">
              {notes.map((n, i) => (
                // biome-ignore lint/suspicious/noArrayIndexKey: two panels may have the same trouble
                <Lines.Item key={i}>
                  {n.what === "variable" ? `${t.ofVariable} ` : ""}
                  <b>{n.title}</b>: {reasonOf(t, n)}
                </Lines.Item>
              ))}
            </Lines>
          </div>
        ),
      )}
    </Stack>
  );
}

function reasonOf(t: ReturnType<typeof useDashboardText>, n: Note): string {
  const d = n.detail;
  switch (n.reason) {
    case "type":
      return t.reasonType(d);
    case "datasource":
      return t.reasonDatasource(d);
    case "library":
      return t.reasonLibrary(d);
    case "noQueries":
      return t.reasonNoQueries;
    case "expression":
      return t.reasonExpression(d);
    case "hidden":
      return t.reasonHidden(d);
    case "unit":
      return t.reasonUnit(d);
    case "repeat":
      return t.reasonRepeat(d);
    case "transformations":
      return t.reasonTransformations(d);
    case "overrides":
      return t.reasonOverrides;
    case "percentThresholds":
      return t.reasonPercentThresholds;
    case "variableType":
      return t.reasonVariableType(d);
    case "variableQuery":
      return t.reasonVariableQuery(d);
    case "variableRegex":
      return t.reasonVariableRegex(d);
    case "format":
      return t.reasonFormat(d);
    case "tooMany":
      return t.reasonTooMany(d);
    case "markup":
      return t.reasonMarkup;
  }
}
