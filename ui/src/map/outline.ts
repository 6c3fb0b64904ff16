import type { FeatureCollection, Position } from "geojson";
import { feature } from "topojson-client";
import type { GeometryCollection, Topology } from "topojson-specification";
import land from "world-atlas/land-110m.json";

/** outline is that of the continents. */
export function outline(): FeatureCollection {
  const topology = land as unknown as Topology<{ land: GeometryCollection }>;
  const all = feature(topology, topology.objects.land);
  for (const f of all.features) {
    if (f.geometry.type === "MultiPolygon")
      f.geometry.coordinates = f.geometry.coordinates.map((p) => p.map(unwrapped));
    else if (f.geometry.type === "Polygon") f.geometry.coordinates = f.geometry.coordinates.map(unwrapped);
  }
  return all;
}

/**
 * unwrapped lets a ring that crosses the 180th meridian go on beyond it, where it
 * would else run back around the whole world. A ring around a pole stays as it is.
 */
export function unwrapped(ring: Position[]): Position[] {
  let turns = 0;
  const out = ring.map((at, i) => {
    const [lon = 0, lat = 0] = at;
    const before = ring[i - 1]?.[0] ?? lon;
    if (lon - before > 180) turns--;
    else if (before - lon > 180) turns++;
    return [lon + 360 * turns, lat];
  });
  if (turns !== 0) return ring;
  // Most of it lies where it lay, whichever side of the meridian the ring began on.
  const lons = out.map(([lon = 0]) => lon);
  const shift = 360 * Math.round((Math.min(...lons) + Math.max(...lons)) / 720);
  return shift === 0 ? out : out.map(([lon = 0, lat = 0]) => [lon - shift, lat]);
}
