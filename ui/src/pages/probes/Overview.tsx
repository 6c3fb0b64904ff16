import { Card, Code, Group, Stack, Text, TextInput, Title, UnstyledButton } from "@mantine/core";
import { IconSearch } from "@tabler/icons-react";
import { type ReactNode, useMemo } from "react";
import { Link, useSearchParams } from "react-router";
import { useRefreshOn } from "@/api/events";
import { type Place, WorldMap } from "@/map/WorldMap";
import { Empty, Failed, Loading, Mark, PageTitle } from "@/parts/states";
import { seconds } from "@/text/time";
import { useMatrix, useVantages } from "./api";
import { type Cell, cannotReach, pageOf, type Row, stateOf, tally, type Vantage, worstFirst } from "./model";
import classes from "./probes.module.css";
import { useProbesText } from "./text";

const states = ["down", "degraded", "unknown", "up"];

/** Overview is the map of vantages and what each sees of each target. */
export function Overview({ actions }: { actions: ReactNode }) {
  const t = useProbesText();
  const [params, setParams] = useSearchParams();
  const matrix = useMatrix();
  const vantages = useVantages();
  useRefreshOn(["probes"], ["probes"]);
  const rows = matrix.data?.targets ?? [];
  const search = params.get("q") ?? "";
  const state = params.get("state") ?? "";
  const shown = useMemo(() => worstFirst(rows, search, state), [rows, search, state]);
  if (matrix.error) return <Failed error={matrix.error} retry={() => void matrix.refetch()} />;
  if (!matrix.data) return <Loading />;
  const change = (name: string, value: string) =>
    setParams(
      (now) => {
        if (value === "") now.delete(name);
        else now.set(name, value);
        return now;
      },
      { replace: true },
    );
  const counts = tally(rows);
  const missing = Object.keys(matrix.data.missing ?? {});
  return (
    <Stack gap="md">
      <PageTitle
        actions={actions}
        note={t.note(rows.length + (matrix.data.leftOff ?? 0), matrix.data.vantages.length)}
      >
        {t.title}
      </PageTitle>
      <VantageMap vantages={vantages.data ?? []} rows={rows} />
      <CityLines vantages={vantages.data ?? []} rows={rows} />
      {rows.length === 0 ? (
        <Empty title={t.none}>
          <Stack gap="xs" align="center">
            <span>{t.noneHint}</span>
            <Code block>atoll set probes/web -f web.yml</Code>
          </Stack>
        </Empty>
      ) : (
        <>
          <Group gap="xs">
            <UnstyledButton
              className={classes.chip}
              aria-pressed={state === ""}
              onClick={() => change("state", "")}
            >
              {t.anyState} {rows.length}
            </UnstyledButton>
            {states
              .filter((s) => (counts[s] ?? 0) > 0)
              .map((s) => (
                <UnstyledButton
                  key={s}
                  className={classes.chip}
                  aria-pressed={state === s}
                  onClick={() => change("state", s)}
                >
                  {t.states[s]} {counts[s]}
                </UnstyledButton>
              ))}
            <TextInput
              type="search"
              flex={1}
              miw={200}
              aria-label={t.search}
              placeholder={t.search}
              leftSection={<IconSearch size={16} />}
              value={search}
              onChange={(e) => change("q", e.currentTarget.value)}
            />
          </Group>
          {missing.length > 0 && <Text size="sm">{t.missing(missing.join(", "))}</Text>}
          <Troubled rows={shown.filter((r) => r.state === "down" || r.state === "degraded").slice(0, 8)} />
          <Card>
            <Title order={2} mb="xs">
              {t.matrix}
            </Title>
            <Grid rows={shown.slice(0, 200)} vantages={matrix.data.vantages} />
            {shown.length > 200 && (
              <Text size="sm" c="dimmed">
                {t.leftOff(shown.length - 200)}
              </Text>
            )}
          </Card>
        </>
      )}
    </Stack>
  );
}

/** sitesIn names a few of many. */
function useSites() {
  const t = useProbesText();
  return (sites: readonly string[], most = 2) =>
    sites.length <= most + 1
      ? sites.join(", ")
      : t.andMore(sites.slice(0, most).join(", "), sites.length - most);
}

type MapProps = { vantages: readonly Vantage[]; rows?: readonly Row[]; cells?: readonly Cell[] };

/** VantageMap says of each vantage which sites it does not reach, or what its cell of one target is. */
export function VantageMap({ vantages, rows, cells }: MapProps) {
  const t = useProbesText();
  const sites = useSites();
  const places = useMemo(() => {
    const fails = cannotReach(rows ?? []);
    const seen = new Map((cells ?? []).map((c) => [c.vantage, c]));
    const out: Place[] = [];
    for (const v of vantages) {
      if (v.latitude === undefined || v.longitude === undefined) continue;
      const cell = seen.get(v.name);
      if (cells !== undefined && cell === undefined) continue;
      const lost = fails.get(v.name) ?? [];
      const state = cell
        ? stateOf(cell.counted)
        : v.blind
          ? "info"
          : v.targets === 0
            ? "idle"
            : lost.length > 0
              ? "bad"
              : "good";
      const note = cell
        ? `${t.counted[cell.counted] ?? cell.counted}${cell.reason ? ` (${cell.reason})` : ""} · ${seconds(cell.tookSeconds)}`
        : v.blind
          ? t.blind
          : lost.length > 0
            ? t.reachesNot(sites(lost))
            : [v.city, v.isp].filter(Boolean).join(" · ");
      out.push({
        id: v.name,
        lat: v.latitude,
        lon: v.longitude,
        name: v.name,
        note,
        state,
        radius: 9,
        urgent: lost.length > 0,
      });
    }
    return out;
  }, [vantages, rows, cells, t]);
  if (places.length === 0) {
    return (
      <Text size="sm" c="dimmed">
        {t.noPlaces}
      </Text>
    );
  }
  return <WorldMap label={t.map} places={places} height={340} />;
}

/** CityLines says what the map shows to those who do not see it, and where the map is small. */
function CityLines({ vantages, rows }: { vantages: readonly Vantage[]; rows: readonly Row[] }) {
  const t = useProbesText();
  const sites = useSites();
  const fails = cannotReach(rows);
  if (rows.length === 0) return null;
  return (
    <ul className={classes.cities} aria-label={t.map}>
      {vantages.map((v) => {
        const lost = fails.get(v.name) ?? [];
        return (
          <li key={v.name} data-state={lost.length > 0 ? "bad" : v.blind ? "info" : "good"}>
            <b>{v.name}</b> {lost.length > 0 ? t.reachesNot(sites(lost)) : v.blind ? t.blind : t.reachesAll}
          </li>
        );
      })}
    </ul>
  );
}

/** Troubled says in words what is not up. */
function Troubled({ rows }: { rows: readonly Row[] }) {
  const t = useProbesText();
  return rows.map((r) => (
    <Card key={r.definition + r.target} p="sm">
      <Group gap="sm" wrap="nowrap" align="flex-start">
        <Mark state={stateOf(r.state)}>{t.states[r.state] ?? r.state}</Mark>
        <div>
          <Text component={Link} to={pageOf(r)} fw={600} c="inherit">
            {r.target}
          </Text>
          <Text size="sm">{r.words}</Text>
        </div>
      </Group>
    </Card>
  ));
}

/** Grid is the matrix: a row for each target, a column for each vantage. */
function Grid({ rows, vantages }: { rows: readonly Row[]; vantages: readonly string[] }) {
  const t = useProbesText();
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, and the keyboard must reach that
    <div className={classes.scroll} role="region" aria-label={t.matrix} tabIndex={0}>
      <table className={classes.matrix}>
        <thead>
          <tr>
            <th scope="col">{t.target}</th>
            {vantages.map((v) => (
              <th key={v} scope="col">
                {v}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((r) => {
            const cells = new Map(r.cells.map((c) => [c.vantage, c]));
            return (
              <tr key={r.definition + r.target}>
                <th scope="row">
                  <Text component={Link} to={pageOf(r)} size="sm" c="inherit" title={r.target}>
                    {r.target}
                  </Text>
                </th>
                {vantages.map((v) => (
                  <td key={v}>
                    <CellLink row={r} cell={cells.get(v)} />
                  </td>
                ))}
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

function CellLink({ row, cell }: { row: Row; cell: Cell | undefined }) {
  const t = useProbesText();
  if (cell === undefined) {
    return (
      <span className={classes.cell} data-state="idle">
        –
      </span>
    );
  }
  const state = t.counted[cell.counted] ?? cell.counted;
  const up = cell.counted === "fine";
  return (
    <Link
      to={pageOf(row)}
      className={classes.cell}
      data-state={stateOf(cell.counted)}
      title={[cell.vantage, state, cell.words, seconds(cell.tookSeconds)].filter(Boolean).join(" · ")}
      aria-label={`${row.target}, ${cell.vantage}: ${state}`}
    >
      {up ? seconds(cell.tookSeconds) : (cell.reason ?? state)}
    </Link>
  );
}
