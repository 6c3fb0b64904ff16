import "leaflet/dist/leaflet.css";
import { Button, useComputedColorScheme } from "@mantine/core";
import { useLocalStorage } from "@mantine/hooks";
import L from "leaflet";
import { useEffect, useEffectEvent, useRef } from "react";
import type { State } from "@/parts/states";
import { texts } from "@/text/text";
import { outline } from "./outline";
import classes from "./WorldMap.module.css";

/** Place is something to see on the map. */
export type Place = {
  id: string;
  lat: number;
  lon: number;
  name: string;
  note?: string;
  state: State;
  radius?: number;
  /** Its note is told where there is little room, too. */
  urgent?: boolean;
};
/** Way joins two places. */
export type Way = { from: string; to: string; state: State; note?: string; dashed?: boolean };

type Props = {
  places: readonly Place[];
  ways?: readonly Way[];
  selected?: string | undefined;
  onSelect?: (id: string) => void;
  height?: number;
  label: string;
};

/**
 * WorldMap shows places on a built-in outline of the continents, which needs no network. Streets come from the tiles
 * that the island names, once somebody asks for them: nobody else is told what is looked at before.
 */
export function WorldMap({ places, ways = [], selected, onSelect, height = 380, label }: Props) {
  const t = useWords();
  const offered = tilesOffered();
  const [streets, setStreets] = useLocalStorage({ key: "atoll.map.streets", defaultValue: false });
  const tiles = streets ? offered : undefined;
  const dark = useComputedColorScheme("light") === "dark";
  const mount = useRef<HTMLDivElement>(null);
  const map = useRef<L.Map | null>(null);
  const drawn = useRef<L.LayerGroup | null>(null);
  const fitted = useRef("");
  const select = useEffectEvent((id: string) => onSelect?.(id));

  useEffect(() => {
    if (mount.current === null) return;
    const m = L.map(mount.current, {
      worldCopyJump: true,
      zoomSnap: 0.25,
      minZoom: 1,
      maxZoom: tiles === undefined ? 7 : 18,
      attributionControl: tiles !== undefined,
      scrollWheelZoom: false,
    }).setView([25, 20], 1.75);
    L.geoJSON(outline(), {
      interactive: false,
      style: { stroke: false, fillOpacity: 1, className: classes.land as string },
    }).addTo(m);
    if (tiles !== undefined)
      L.tileLayer(tiles, {
        attribution: "© OpenStreetMap contributors, openstreetmap.org/copyright",
        // Servers of tiles want to know which site asks; the page itself tells nobody.
        referrerPolicy: "strict-origin-when-cross-origin",
        className: classes.tiles as string,
      }).addTo(m);
    drawn.current = L.layerGroup().addTo(m);
    map.current = m;
    const seen = new ResizeObserver(() => m.invalidateSize());
    seen.observe(mount.current);
    return () => {
      seen.disconnect();
      m.remove();
      map.current = null;
      fitted.current = "";
    };
  }, [tiles]);

  useEffect(() => {
    const group = drawn.current;
    const m = map.current;
    if (group === null || m === null) return;
    group.clearLayers();
    const at = new Map(places.map((p) => [p.id, p]));
    for (const w of ways) {
      const a = at.get(w.from);
      const b = at.get(w.to);
      if (a === undefined || b === undefined) continue;
      const line = L.polyline(arc(a, b), {
        className: `${classes.way} ${classes[w.state]}`,
        weight: 2,
        ...(w.dashed ? { dashArray: "5 6" } : {}),
      });
      if (w.note !== undefined) line.bindTooltip(text(w.note), { sticky: true });
      group.addLayer(line);
    }
    for (const p of places) {
      const dot = L.circleMarker([p.lat, p.lon], {
        radius: p.radius ?? 8,
        className: `${classes.place} ${classes[p.state]}`,
        weight: p.id === selected ? 5 : 2,
      });
      const narrow = m.getSize().x < 600;
      dot.bindTooltip(narrow && !p.urgent ? text(p.name) : text(p.name, p.note), {
        permanent: places.length <= 12,
        direction: "top",
        offset: [0, -8],
        className: classes.name as string,
      });
      dot.on("click", () => select(p.id));
      group.addLayer(dot);
    }
    const where = places.map((p) => `${p.lat},${p.lon}`).join(";");
    if (where !== fitted.current && places.length > 0) {
      fitted.current = where;
      m.fitBounds(L.latLngBounds(places.map((p) => [p.lat, p.lon])).pad(0.35), {
        maxZoom: 4,
        animate: false,
      });
    }
  }, [places, ways, selected, dark, tiles]);

  return (
    <div className={classes.frame}>
      <div ref={mount} className={classes.map} style={{ height }} role="application" aria-label={label} />
      {offered !== undefined && (
        <Button
          className={classes.streets as string}
          size="compact-sm"
          variant="default"
          aria-pressed={streets}
          onClick={() => setStreets(!streets)}
        >
          {t.streets}
        </Button>
      )}
    </div>
  );
}

const useWords = texts({ streets: "Streets" }, { streets: "街道" });

/** tilesOffered is the address template of tiles that the island's configuration names. */
function tilesOffered(): string | undefined {
  const named = document.querySelector<HTMLMetaElement>('meta[name="map-tiles"]')?.content ?? "";
  return named === "" || named.startsWith("{{") ? undefined : named;
}

/** text makes an element of words: names come from other islands and are never markup. */
function text(name: string, note?: string): HTMLElement {
  const box = document.createElement("div");
  box.append(Object.assign(document.createElement("b"), { textContent: name }));
  if (note !== undefined) box.append(document.createElement("br"), note);
  return box;
}

/** arc bends the line between two places a little, so that there and back can be told apart. */
export function arc(a: { lat: number; lon: number }, b: { lat: number; lon: number }): [number, number][] {
  const bend = 0.12;
  const mid = {
    lat: (a.lat + b.lat) / 2 + (b.lon - a.lon) * bend,
    lon: (a.lon + b.lon) / 2 - (b.lat - a.lat) * bend,
  };
  const points: [number, number][] = [];
  for (let i = 0; i <= 24; i++) {
    const t = i / 24;
    const [u, v, w] = [(1 - t) ** 2, 2 * t * (1 - t), t ** 2];
    points.push([u * a.lat + v * mid.lat + w * b.lat, u * a.lon + v * mid.lon + w * b.lon]);
  }
  return points;
}
