import type { Unit } from "@/chart/units";

/** Grafana's units as units here, and by what values have to be multiplied. */
const known: Record<string, [Unit, number]> = {
  "": ["number", 1],
  none: ["number", 1],
  short: ["number", 1],
  string: ["number", 1],
  sishort: ["number", 1],
  bool: ["number", 1],
  percentunit: ["ratio", 1],
  percent: ["ratio", 0.01],
  bytes: ["bytes", 1],
  decbytes: ["bytes", 1],
  bits: ["bytes", 0.125],
  decbits: ["bytes", 0.125],
  kbytes: ["bytes", 1024],
  deckbytes: ["bytes", 1000],
  mbytes: ["bytes", 1_048_576],
  decmbytes: ["bytes", 1_000_000],
  gbytes: ["bytes", 1_073_741_824],
  decgbytes: ["bytes", 1_000_000_000],
  Bps: ["bytesPerSecond", 1],
  binBps: ["bytesPerSecond", 1],
  bps: ["bytesPerSecond", 0.125],
  binbps: ["bytesPerSecond", 0.125],
  KBs: ["bytesPerSecond", 1000],
  KiBs: ["bytesPerSecond", 1024],
  MBs: ["bytesPerSecond", 1_000_000],
  MiBs: ["bytesPerSecond", 1_048_576],
  ns: ["seconds", 1e-9],
  µs: ["seconds", 1e-6],
  ms: ["seconds", 0.001],
  s: ["seconds", 1],
  dtdurations: ["seconds", 1],
  dtdurationms: ["seconds", 0.001],
  m: ["seconds", 60],
  h: ["seconds", 3600],
  d: ["seconds", 86_400],
  reqps: ["perSecond", 1],
  ops: ["perSecond", 1],
  rps: ["perSecond", 1],
  wps: ["perSecond", 1],
  iops: ["perSecond", 1],
  cps: ["perSecond", 1],
  eps: ["perSecond", 1],
  mps: ["perSecond", 1],
  pps: ["perSecond", 1],
  rowsps: ["perSecond", 1],
  hertz: ["perSecond", 1],
};

/** unitOfGrafana reads a unit; one that is not known here is a plain number. */
export function unitOfGrafana(unit: string): { unit: Unit; factor: number; known: boolean } {
  const found = Object.hasOwn(known, unit) ? known[unit] : undefined;
  return found
    ? { unit: found[0], factor: found[1], known: true }
    : { unit: "number", factor: 1, known: false };
}
