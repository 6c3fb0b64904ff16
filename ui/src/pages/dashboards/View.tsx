import { Alert, Anchor, Button, Group, Menu, Modal, Stack, Text, TextInput } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { notifications } from "@mantine/notifications";
import {
  IconDots,
  IconDownload,
  IconHistory,
  IconPencil,
  IconPlus,
  IconTrash,
  IconVariable,
} from "@tabler/icons-react";
import { useMutation } from "@tanstack/react-query";
import { useEffect, useMemo, useState } from "react";
import { Link, useLocation, useNavigate, useParams, useSearchParams } from "react-router";
import { Empty, Failed, Loading, Mark, PageTitle } from "@/parts/states";
import { ScopePicker } from "@/prom/ScopePicker";
import { useScope } from "@/prom/useScope";
import { RangePicker } from "@/range/RangePicker";
import { useRange } from "@/range/useRange";
import { type Loaded, useDashboard, useDashboards, useKeeping } from "./api";
import classes from "./dashboards.module.css";
import {
  type Dashboard,
  most,
  moved,
  nameOf,
  newPanel,
  type PanelType,
  panelTypes,
  replaced,
  without,
  withPanel,
  writeDashboard,
} from "./model";
import { PanelCard } from "./PanelCard";
import { PanelEditor } from "./PanelEditor";
import { useDashboardText } from "./text";
import { VariableEditor } from "./VariableEditor";
import { useChosen, VariableBar } from "./Variables";

/** View is one dashboard, or a new one under the name "new". */
export function View() {
  const t = useDashboardText();
  const { name = "" } = useParams();
  const { state } = useLocation();
  const fresh = name === "new";
  const { data, error, isPending, refetch } = useDashboard(name, !fresh);
  const begun = useMemo<Loaded>(() => {
    const given = (state as { dashboard?: Dashboard } | null)?.dashboard;
    return { dashboard: given ?? { title: "", panels: [] }, place: "network", time: undefined };
  }, [state]);
  const loaded = fresh ? begun : data;
  if (error) return <Failed error={error} retry={() => void refetch()} />;
  if (!fresh && isPending) return <Loading height={400} />;
  if (!loaded) return <Empty title={t.gone}>{t.goneText}</Empty>;
  return <Board key={name} name={name} fresh={fresh} loaded={loaded} />;
}

/** useDraft is the dashboard while it is edited; undefined while it is read. */
function useDraft(loaded: Loaded, fresh: boolean) {
  const [params, setParams] = useSearchParams();
  const [draft, setDraft] = useState<Dashboard | undefined>();
  const editing = fresh || params.get("edit") === "1";
  const expr = params.get("add");
  const type = params.get("type") as PanelType | null;
  useEffect(() => {
    if (expr === null) return;
    const panel = newPanel(type !== null && panelTypes.includes(type) ? type : "timeseries", expr);
    setDraft((d) => withPanel(d ?? loaded.dashboard, panel));
    setParams(
      (p) => {
        const next = new URLSearchParams(p);
        next.delete("add");
        next.delete("type");
        next.set("edit", "1");
        return next;
      },
      { replace: true },
    );
  }, [expr]);
  const edit = (on: boolean) => {
    setDraft(undefined);
    setParams(
      (p) => {
        const next = new URLSearchParams(p);
        if (on) next.set("edit", "1");
        else next.delete("edit");
        return next;
      },
      { replace: true },
    );
  };
  return {
    editing,
    shown: (editing ? draft : undefined) ?? loaded.dashboard,
    setDraft,
    edit,
    changed: draft !== undefined,
  };
}

function Board({ name, fresh, loaded }: { name: string; fresh: boolean; loaded: Loaded }) {
  const t = useDashboardText();
  const navigate = useNavigate();
  const keeping = useKeeping();
  const names = (useDashboards().data ?? []).map((d) => d.name);
  const { editing, shown, setDraft, edit, changed } = useDraft(loaded, fresh);
  const timeline = useRange(shown.range ?? "1h");
  const { scope, ready, setScope } = useScope();
  const variables = shown.variables ?? [];
  const { values, chosen, pending } = useChosen(variables, scope, ready);
  const [open, setOpen] = useState<number>();
  const [vars, varsDialog] = useDisclosure(false);
  const save = useMutation({
    mutationFn: async () => {
      const titled = { ...shown, title: shown.title.trim() || t.untitled };
      const as = fresh ? nameOf(titled.title, names) : name;
      await keeping.save(as, titled, loaded.place === "network" ? loaded.time : undefined);
      return as;
    },
    onSuccess: (as) => {
      notifications.show({ message: t.saved });
      if (fresh) void navigate(`/dashboards/${encodeURIComponent(as)}`, { replace: true });
      else edit(false);
    },
  });
  useUnsaved(changed);
  const panel = open === undefined ? undefined : shown.panels[open];
  return (
    <Stack gap="md">
      <Anchor component={Link} to="/dashboards" size="sm" py={10} my={-10}>
        ← {t.all}
      </Anchor>
      <PageTitle
        note={shown.description}
        actions={
          <>
            <ScopePicker scope={scope} onChange={setScope} />
            <RangePicker timeline={timeline} />
            {!editing && (
              <Button variant="default" leftSection={<IconPencil size={16} />} onClick={() => edit(true)}>
                {t.edit}
              </Button>
            )}
            <More name={name} fresh={fresh} loaded={loaded} shown={shown} />
          </>
        }
      >
        {shown.title || t.untitled}
      </PageTitle>
      {loaded.place === "browser" && !editing && (
        <Group>
          <Mark state="warn">{t.onlyHere}</Mark>
        </Group>
      )}
      {editing && (
        <Stack gap="sm">
          {keeping.place === "browser" && <Where why={keeping.why} />}
          <Group gap="sm" align="flex-end">
            <TextInput
              label={t.titleLabel}
              flex="1 1 240px"
              maw={460}
              maxLength={200}
              value={shown.title}
              onChange={(e) => setDraft({ ...shown, title: e.currentTarget.value })}
            />
            <Button
              variant="default"
              leftSection={<IconPlus size={16} />}
              disabled={shown.panels.length >= most.panels}
              onClick={() => {
                setDraft(withPanel(shown, newPanel()));
                setOpen(shown.panels.length);
              }}
            >
              {t.addPanel}
            </Button>
            <Button variant="default" leftSection={<IconVariable size={16} />} onClick={varsDialog.open}>
              {t.variables}
            </Button>
            <Button loading={save.isPending} onClick={() => save.mutate()}>
              {keeping.place === "network" ? t.save : t.saveHere}
            </Button>
            <Button variant="default" onClick={() => (fresh ? void navigate("/dashboards") : edit(false))}>
              {t.cancel}
            </Button>
          </Group>
          {save.error && <Failed error={save.error} />}
        </Stack>
      )}
      {variables.length > 0 && <VariableBar variables={variables} values={values} chosen={chosen} />}
      {!ready || pending ? (
        <Loading height={300} />
      ) : (
        <div className={classes.grid}>
          {shown.panels.map((p, i) => (
            <PanelCard
              // biome-ignore lint/suspicious/noArrayIndexKey: its place is what a panel is known by
              key={i}
              panel={p}
              chosen={chosen}
              scope={scope}
              timeline={timeline}
              edits={
                editing
                  ? {
                      index: i,
                      count: shown.panels.length,
                      move: (from, to) => setDraft(moved(shown, from, to)),
                      change: (next) => setDraft(replaced(shown, i, next)),
                      open: () => setOpen(i),
                      copy: () => setDraft(withPanel(shown, p, i + 1)),
                      remove: () => setDraft(without(shown, i)),
                    }
                  : undefined
              }
            />
          ))}
        </div>
      )}
      {editing && open !== undefined && panel && (
        <PanelEditor
          panel={panel}
          scope={scope}
          onChange={(next) => setDraft(replaced(shown, open, next))}
          onClose={() => setOpen(undefined)}
        />
      )}
      <VariableEditor
        opened={vars}
        onClose={varsDialog.close}
        variables={variables}
        onChange={(next) => setDraft({ ...shown, variables: next })}
      />
    </Stack>
  );
}

/** useUnsaved has the browser ask before a page with changes is left. */
function useUnsaved(changed: boolean) {
  useEffect(() => {
    if (!changed) return;
    const ask = (e: BeforeUnloadEvent) => e.preventDefault();
    addEventListener("beforeunload", ask);
    return () => removeEventListener("beforeunload", ask);
  }, [changed]);
}

function Where({ why }: { why: "alone" | "rights" }) {
  const t = useDashboardText();
  const { pathname, search } = useLocation();
  return (
    <Alert variant="light" color="yellow" role="status" p="sm">
      <Group gap="sm">
        <Text size="sm">{why === "alone" ? t.alone : t.rights}</Text>
        {why === "rights" && (
          <Anchor size="sm" component={Link} to={`/login?to=${encodeURIComponent(pathname + search)}`}>
            {t.signIn}
          </Anchor>
        )}
      </Group>
    </Alert>
  );
}

function More({
  name,
  fresh,
  loaded,
  shown,
}: {
  name: string;
  fresh: boolean;
  loaded: Loaded;
  shown: Dashboard;
}) {
  const t = useDashboardText();
  const navigate = useNavigate();
  const keeping = useKeeping();
  const [asking, sure] = useDisclosure(false);
  const remove = useMutation({
    mutationFn: () => keeping.remove(name, loaded.place, loaded.time),
    onSuccess: () => void navigate("/dashboards"),
  });
  const download = () => {
    const url = URL.createObjectURL(new Blob([writeDashboard(shown)], { type: "application/json" }));
    const a = Object.assign(document.createElement("a"), {
      href: url,
      download: `${fresh ? "dashboard" : name}.json`,
    });
    a.click();
    URL.revokeObjectURL(url);
  };
  const shared = loaded.place === "network" && !fresh;
  return (
    <>
      <Menu position="bottom-end">
        <Menu.Target>
          <Button variant="default" px="sm" aria-label={t.more}>
            <IconDots size={18} />
          </Button>
        </Menu.Target>
        <Menu.Dropdown>
          <Menu.Item leftSection={<IconDownload size={16} />} onClick={download}>
            {t.export}
          </Menu.Item>
          {shared && (
            <Menu.Item
              leftSection={<IconHistory size={16} />}
              component={Link}
              to={`/settings/documents/dashboard/${encodeURIComponent(name)}`}
            >
              {t.history}
            </Menu.Item>
          )}
          {!fresh && (
            <Menu.Item
              leftSection={<IconTrash size={16} />}
              disabled={shared && keeping.place !== "network"}
              onClick={sure.open}
            >
              {t.remove}
            </Menu.Item>
          )}
        </Menu.Dropdown>
      </Menu>
      <Modal opened={asking} onClose={sure.close} title={t.removeTitle(shown.title || name)}>
        <Stack gap="sm">
          <Text size="sm">{shared ? t.removeText : t.removeHere}</Text>
          {remove.error && <Failed error={remove.error} />}
          <Group justify="flex-end">
            <Button variant="default" onClick={sure.close}>
              {t.keep}
            </Button>
            <Button color="red" loading={remove.isPending} onClick={() => remove.mutate()}>
              {t.remove}
            </Button>
          </Group>
        </Stack>
      </Modal>
    </>
  );
}
