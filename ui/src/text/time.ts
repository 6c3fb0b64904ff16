import type { Language } from "./text";

const locale = (l: Language) => (l === "zh" ? "zh-CN" : "en-GB");

/** clock writes a moment (ms since 1970) for people: the day only where it is not today. */
export function clock(ms: number, language: Language, now = Date.now()): string {
  const sameDay = new Date(ms).toDateString() === new Date(now).toDateString();
  return new Intl.DateTimeFormat(locale(language), {
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
    hour12: false,
    ...(sameDay ? {} : { month: "short", day: "numeric" }),
  }).format(ms);
}

const steps: [Intl.RelativeTimeFormatUnit, number][] = [
  ["day", 86_400_000],
  ["hour", 3_600_000],
  ["minute", 60_000],
  ["second", 1000],
];

/** ago writes how long before now a moment (ms since 1970) was: "3 minutes ago". */
export function ago(ms: number, language: Language, now = Date.now()): string {
  const format = new Intl.RelativeTimeFormat(locale(language), { numeric: "auto" });
  for (const [unit, size] of steps) {
    if (Math.abs(now - ms) >= size) return format.format(-Math.trunc((now - ms) / size), unit);
  }
  return format.format(0, "second");
}

/** seconds writes a duration in the largest unit that leaves digits to read: "3.2 s", "41 ms". */
export function seconds(s: number): string {
  if (!Number.isFinite(s)) return "–";
  const abs = Math.abs(s);
  if (abs === 0) return "0 s";
  if (abs < 1e-3) return `${digits(s * 1e6)} µs`;
  if (abs < 1) return `${digits(s * 1e3)} ms`;
  if (abs < 120) return `${digits(s)} s`;
  if (abs < 7200) return `${digits(s / 60)} min`;
  if (abs < 172_800) return `${digits(s / 3600)} h`;
  return `${digits(s / 86_400)} d`;
}

/** bytes writes a size in binary units: "1.5 MiB". */
export function bytes(n: number): string {
  return scaled(n, 1024, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]);
}

/** count writes a number with its thousands as k, M, G: "3.76 M". */
export function count(n: number): string {
  const abs = Math.abs(n);
  if (abs !== 0 && abs < 0.001) return n.toExponential(2);
  return scaled(n, 1000, ["", "k", "M", "G", "T"]).trim();
}

/** percent writes a ratio of 1: 0.031 is "3.1 %". */
export function percent(ratio: number): string {
  return Number.isFinite(ratio) ? `${digits(ratio * 100)} %` : "–";
}

function scaled(n: number, base: number, units: string[]): string {
  if (!Number.isFinite(n)) return Number.isNaN(n) ? "NaN" : n > 0 ? "+Inf" : "−Inf";
  let unit = 0;
  let v = n;
  while (Math.abs(v) >= base && unit < units.length - 1) {
    v /= base;
    unit++;
  }
  return `${digits(v)} ${units[unit]}`;
}

function digits(v: number): string {
  const abs = Math.abs(v);
  const places = abs >= 100 || Number.isInteger(v) ? 0 : abs >= 10 ? 1 : abs >= 1 ? 2 : 3;
  return String(Number(v.toFixed(places)));
}
