import {
  ActionIcon,
  Alert,
  Button,
  Card,
  Group,
  NativeSelect,
  SimpleGrid,
  Stack,
  Text,
  TextInput,
  Title,
} from "@mantine/core";
import { IconPlus, IconX } from "@tabler/icons-react";
import { useEffect, useState } from "react";
import { useNavigate, useParams, useSearchParams } from "react-router";
import { Empty, Failed, Labels, Loading } from "@/parts/states";
import classes from "./alerts.module.css";
import { type Silence, useGroups, useSilence, useSilences } from "./api";
import { May } from "./May";
import {
  endOf,
  type Matcher,
  matches,
  type Operator,
  operatorOf,
  operators,
  readMatchers,
  withOperator,
} from "./model";
import { useAlertsText } from "./text";

/** local writes a moment as a field of date and time wants it. */
const local = (ms: number) => {
  const d = new Date(ms);
  return new Date(ms - d.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
};

/** SilenceForm makes a silence, or changes one, and shows what it mutes. */
export function SilenceForm() {
  const { id } = useParams();
  const t = useAlertsText();
  const [params] = useSearchParams();
  const { data, error, refetch } = useSilences();
  if (id === undefined) return <Form initial={readMatchers(params.get("matchers"))} />;
  if (error) return <Failed error={error} retry={() => void refetch()} />;
  if (!data) return <Loading />;
  const silence = data.find((s) => s.id === id);
  return silence ? <Form key={id} initial={silence.matchers} of={silence} /> : <Empty title={t.noSilences} />;
}

function Form({ initial, of }: { initial: Matcher[]; of?: Silence }) {
  const t = useAlertsText();
  const navigate = useNavigate();
  const silence = useSilence();
  const [matchers, setMatchers] = useState<Matcher[]>(
    initial.length > 0 ? initial : [{ name: "alertname", value: "", isRegex: false, isEqual: true }],
  );
  const [from, setFrom] = useState(() => local(of ? Date.parse(of.startsAt) : Date.now()));
  const [to, setTo] = useState(() => local(of ? Date.parse(of.endsAt) : endOf("2h", Date.now())));
  const [comment, setComment] = useState(of?.comment ?? "");
  const used = matchers.filter((m) => m.name.trim() !== "");
  const said = used.some((m) => m.value !== "");
  const begins = Date.parse(from);
  const ends = Date.parse(to);
  const change = (i: number, m: Matcher) => setMatchers(matchers.map((old, k) => (k === i ? m : old)));
  const fault = !said ? t.needMatcher : !(ends > begins) ? t.endsBeforeBegin : undefined;
  const save = () =>
    silence.mutate(
      { ...(of ? { id: of.id } : {}), matchers: used, from: begins, to: ends, comment },
      { onSuccess: () => void navigate("/alerts/silences") },
    );
  return (
    <Card component="section" aria-label={of ? t.editSilence : t.newSilence}>
      <form
        onSubmit={(e) => {
          e.preventDefault();
          if (fault === undefined) save();
        }}
      >
        <Stack>
          <Title order={2}>{of ? t.editSilence : t.newSilence}</Title>
          <Stack gap="xs">
            <Text size="sm" fw={600}>
              {t.matchers}
            </Text>
            {matchers.map((m, i) => (
              // biome-ignore lint/suspicious/noArrayIndexKey: they have no identity but their place
              <div key={i} className={classes.matcher}>
                <TextInput
                  size="md"
                  aria-label={t.label}
                  placeholder={t.label}
                  value={m.name}
                  onChange={(e) => change(i, { ...m, name: e.currentTarget.value })}
                />
                <NativeSelect
                  size="md"
                  aria-label={t.operator}
                  data={[...operators]}
                  value={operatorOf(m)}
                  onChange={(e) => change(i, withOperator(m, e.currentTarget.value as Operator))}
                />
                <TextInput
                  size="md"
                  aria-label={t.value}
                  placeholder={t.value}
                  value={m.value}
                  onChange={(e) => change(i, { ...m, value: e.currentTarget.value })}
                />
                <ActionIcon
                  size={40}
                  variant="subtle"
                  aria-label={t.remove}
                  onClick={() => setMatchers(matchers.filter((_, k) => k !== i))}
                >
                  <IconX size={16} />
                </ActionIcon>
              </div>
            ))}
            <Group>
              <Button
                variant="default"
                h={40}
                leftSection={<IconPlus size={16} />}
                onClick={() =>
                  setMatchers([...matchers, { name: "", value: "", isRegex: false, isEqual: true }])
                }
              >
                {t.add}
              </Button>
            </Group>
          </Stack>
          <Muted matchers={used} />
          <SimpleGrid cols={{ base: 1, xs: 2 }}>
            <TextInput
              size="md"
              type="datetime-local"
              label={t.from}
              value={from}
              onChange={(e) => setFrom(e.currentTarget.value)}
              required
            />
            <TextInput
              size="md"
              type="datetime-local"
              label={t.until}
              value={to}
              onChange={(e) => setTo(e.currentTarget.value)}
              required
            />
          </SimpleGrid>
          <TextInput
            size="md"
            label={t.comment}
            value={comment}
            maxLength={1000}
            onChange={(e) => setComment(e.currentTarget.value)}
            required
          />
          {fault !== undefined && <Text size="sm">{fault}</Text>}
          {silence.error && <Failed error={silence.error} />}
          <Group justify="flex-end">
            <Button variant="default" h={42} onClick={() => void navigate(-1)}>
              {t.cancel}
            </Button>
            <May action="silence">
              {(disabled) => (
                <Button
                  type="submit"
                  h={42}
                  loading={silence.isPending}
                  disabled={disabled || fault !== undefined}
                >
                  {t.save}
                </Button>
              )}
            </May>
          </Group>
        </Stack>
      </form>
    </Card>
  );
}

/** Muted shows which alerts that fire now the matchers hold back. */
function Muted({ matchers }: { matchers: Matcher[] }) {
  const t = useAlertsText();
  const { data } = useGroups();
  const [shown, setShown] = useState(5);
  const text = JSON.stringify(matchers);
  useEffect(() => setShown(5), [text]);
  const all = data?.items.flatMap((g) => g.instances) ?? [];
  const verdicts = all.map((i) => matches(matchers, i.labels));
  if (matchers.length > 0 && (verdicts.includes(undefined) || broken(matchers)))
    return <Alert color="red">{t.badRegex}</Alert>;
  const hit = matchers.some((m) => m.value !== "") ? all.filter((_, i) => verdicts[i]) : [];
  return (
    <Stack gap={6} role="status">
      <Text size="sm" fw={600}>
        {hit.length === 0 ? t.mutesNothing : t.mutesNow(hit.length)}
      </Text>
      {hit.slice(0, shown).map((i) => (
        <Labels key={i.fingerprint} of={i.labels} />
      ))}
      {hit.length > shown && (
        <Group>
          <Button variant="subtle" h={40} onClick={() => setShown(shown + 50)}>
            {t.moreLeft(hit.length - shown)}
          </Button>
        </Group>
      )}
    </Stack>
  );
}

function broken(matchers: Matcher[]): boolean {
  return matchers.some((m) => matches([m], {}) === undefined);
}
