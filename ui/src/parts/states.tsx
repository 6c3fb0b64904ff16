import { Alert, Badge, Button, Card, Center, Code, Group, Loader, Stack, Text, Title } from "@mantine/core";
import { IconAlertTriangle } from "@tabler/icons-react";
import { Component, type ReactNode } from "react";
import { Refusal } from "@/api/client";
import { useShellText } from "@/shell/text";
import classes from "./states.module.css";

/** Loading stands where something will be. */
export function Loading({ height = 160 }: { height?: number }) {
  return (
    <Center h={height} role="status" aria-live="polite">
      <Loader size="sm" type="dots" />
    </Center>
  );
}

/** Failed says what was wrong and, where the island said so, what to do. */
export function Failed({ error, retry }: { error: unknown; retry?: () => void }) {
  const t = useShellText();
  const message = error instanceof Error ? error.message : String(error);
  return (
    <Alert color="red" variant="light" icon={<IconAlertTriangle size={18} />} title={t.failed} role="alert">
      <Stack gap="xs" align="flex-start">
        <Text size="sm" className={classes.words}>
          {message}
        </Text>
        {error instanceof Refusal && error.remedy !== undefined && <Text size="sm">{error.remedy}</Text>}
        {retry !== undefined && (
          <Button size="xs" variant="default" onClick={retry}>
            {t.retry}
          </Button>
        )}
      </Stack>
    </Alert>
  );
}

/** Empty teaches what would fill the place. */
export function Empty({
  title,
  children,
  action,
}: {
  title: string;
  children?: ReactNode;
  action?: ReactNode;
}) {
  return (
    <Card className={classes.empty}>
      <Stack gap="xs" align="center">
        <Title order={3}>{title}</Title>
        <Text size="sm" c="dimmed" ta="center" component="div">
          {children}
        </Text>
        {action}
      </Stack>
    </Card>
  );
}

export type State = "good" | "warn" | "bad" | "idle" | "info";

/** Mark is a state in colour and in words: never in colour alone. */
export function Mark({ state, children }: { state: State; children: ReactNode }) {
  return (
    <Badge className={classes.mark} data-state={state} variant="default" tt="none">
      {children}
    </Badge>
  );
}

/** Labels shows a label set, the name left out. */
export function Labels({
  of,
  without = [],
}: {
  of: Record<string, string> | undefined;
  without?: readonly string[];
}) {
  return (
    <Group gap={4}>
      {Object.entries(of ?? {})
        .filter(([name]) => !without.includes(name))
        .map(([name, value]) => (
          <Code key={name} className={classes.label}>
            {name}={value}
          </Code>
        ))}
    </Group>
  );
}

/** PageTitle is the heading of a view with what can be done there. */
export function PageTitle({
  children,
  actions,
  note,
}: {
  children: ReactNode;
  actions?: ReactNode;
  note?: ReactNode;
}) {
  return (
    <Group justify="space-between" mb="md" gap="sm">
      <Stack gap={0}>
        <Title order={1}>{children}</Title>
        {note !== undefined && (
          <Text size="sm" c="dimmed" component="div">
            {note}
          </Text>
        )}
      </Stack>
      {actions !== undefined && <Group gap="xs">{actions}</Group>}
    </Group>
  );
}

/** Trouble keeps a fault of one view from taking the page with it. */
export class Trouble extends Component<{ children: ReactNode }, { error: unknown }> {
  override state = { error: undefined as unknown };
  static getDerivedStateFromError(error: unknown) {
    return { error };
  }
  override render() {
    if (this.state.error === undefined) return this.props.children;
    return <Failed error={this.state.error} retry={() => this.setState({ error: undefined })} />;
  }
}
