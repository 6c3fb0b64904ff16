/** Colours of series, told apart by people who see red and green alike; after Okabe and Ito, adjusted to either background. */
const light = [
  "#0b7a75",
  "#c8501a",
  "#3d5fc4",
  "#a8770a",
  "#9c3f9c",
  "#2f7d32",
  "#c2255c",
  "#5c6670",
  "#6b4fbb",
  "#00809d",
];
const dark = [
  "#4fd1c5",
  "#ff9e64",
  "#8fb0ff",
  "#f2c14e",
  "#e18de1",
  "#7ddc85",
  "#ff86b0",
  "#b4bec8",
  "#b9a3ff",
  "#5fd0f0",
];

/** colour gives the n-th series its colour; after ten they repeat. */
export function colour(n: number, isDark: boolean): string {
  const all = isDark ? dark : light;
  return all[n % all.length] as string;
}
