import { type Unit, unitOf } from "@/chart/units";

/** The document of kind dashboards; docs/dashboards.md says what its fields mean. */
export type Dashboard = {
  title: string;
  description?: string;
  range?: string;
  refresh?: string;
  variables?: Variable[];
  panels: Panel[];
};

export type Variable = {
  name: string;
  label?: string;
  type: "label" | "custom" | "text";
  values_of?: string;
  match?: string;
  options?: string[];
  default?: string[];
  multi?: boolean;
  include_all?: boolean;
};

export const panelTypes = ["timeseries", "stat", "table", "bargauge", "heatmap", "text", "row"] as const;
export type PanelType = (typeof panelTypes)[number];
export type Threshold = { value: number; state: "good" | "warn" | "bad" | "info" };

export type Panel = {
  title: string;
  type: PanelType;
  description?: string;
  width: number;
  height: number;
  queries?: { expr: string; legend?: string }[];
  unit?: Unit;
  stacked?: boolean;
  min?: number;
  max?: number;
  thresholds?: Threshold[];
  text?: string;
};

/** The grid has twelve columns; a row of it is as high as two lines of text. */
export const columns = 12;
export const most = { panels: 100, queries: 20, height: 20, bytes: 256 << 10 };

export const clamp = (v: number, low: number, high: number) => Math.min(Math.max(Math.round(v), low), high);

/** newPanel is a panel as it begins. */
export function newPanel(type: PanelType = "timeseries", expr = ""): Panel {
  if (type === "row") return { title: "", type, width: columns, height: 1 };
  if (type === "text") return { title: "", type, width: 6, height: 4, text: "" };
  const small = type === "stat" || type === "bargauge";
  const unit = unitOf(expr);
  return {
    title: expr.slice(0, 200),
    type,
    width: small ? 4 : 6,
    height: small ? 4 : 8,
    queries: [{ expr }],
    ...(unit === "number" ? {} : { unit }),
  };
}

/** moved has the panel at one place at another. */
export function moved(d: Dashboard, from: number, to: number): Dashboard {
  const panels = [...d.panels];
  const [panel] = panels.splice(from, 1);
  if (panel === undefined) return d;
  panels.splice(clamp(to, 0, panels.length), 0, panel);
  return { ...d, panels };
}

export const replaced = (d: Dashboard, at: number, panel: Panel): Dashboard => ({
  ...d,
  panels: d.panels.map((p, i) => (i === at ? panel : p)),
});

export const without = (d: Dashboard, at: number): Dashboard => ({
  ...d,
  panels: d.panels.filter((_, i) => i !== at),
});

export function withPanel(d: Dashboard, panel: Panel, at = d.panels.length): Dashboard {
  const panels = [...d.panels];
  panels.splice(at, 0, panel);
  return { ...d, panels };
}

/** nameOf makes a document's name of a title; others have theirs already. */
export function nameOf(title: string, taken: readonly string[]): string {
  const plain = title
    .normalize("NFKD")
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-+|-+$/g, "")
    .slice(0, 60);
  // "new" is where a dashboard is begun.
  const base = plain === "" || plain === "new" ? "dashboard" : plain;
  for (let n = 1; ; n++) {
    const name = n === 1 ? base : `${base}-${n}`;
    if (!taken.includes(name)) return name;
  }
}

/** readDashboard reads a document; what is no dashboard is undefined, what is missing empty. */
export function readDashboard(text: string): Dashboard | undefined {
  try {
    const d = JSON.parse(text) as Partial<Dashboard> | null;
    if (d === null || typeof d !== "object" || Array.isArray(d) || !Array.isArray(d.panels)) return undefined;
    return { ...d, title: String(d.title ?? ""), panels: d.panels.map(readPanel) };
  } catch {
    return undefined;
  }
}

function readPanel(p: Panel): Panel {
  return {
    ...p,
    title: String(p.title ?? ""),
    width: clamp(Number(p.width) || 6, 1, columns),
    height: clamp(Number(p.height) || 6, 1, most.height),
  };
}

export const writeDashboard = (d: Dashboard) => JSON.stringify(d, undefined, 2);

/** stateAt is what a value means by thresholds: that of the highest it reaches. */
export function stateAt(
  value: number,
  thresholds: readonly Threshold[] = [],
): Threshold["state"] | undefined {
  return [...thresholds].sort((a, b) => b.value - a.value).find((t) => value >= t.value)?.state;
}
