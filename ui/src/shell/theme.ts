import { type CSSVariablesResolver, createTheme, type MantineColorsTuple } from "@mantine/core";

const lagoon: MantineColorsTuple = [
  "#e3fafa",
  "#d3f0f0",
  "#a9dfdf",
  "#7ccece",
  "#57c0c0",
  "#3fb7b8",
  "#2fb3b4",
  "#1d9d9e",
  "#068586",
  "#006b6d",
];

/** theme is Atoll's look: calm, dense enough for work, colour kept for what matters. */
export const theme = createTheme({
  primaryColor: "lagoon",
  primaryShade: 9,
  colors: { lagoon },
  defaultRadius: "md",
  respectReducedMotion: true,
  fontFamily:
    'Inter, "Segoe UI", Roboto, "Helvetica Neue", "PingFang SC", "Hiragino Sans GB", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif',
  fontFamilyMonospace: 'ui-monospace, "JetBrains Mono", Menlo, Consolas, "Liberation Mono", monospace',
  headings: {
    fontWeight: "600",
    sizes: { h1: { fontSize: "1.5rem" }, h2: { fontSize: "1.15rem" }, h3: { fontSize: "1rem" } },
  },
  components: {
    Card: { defaultProps: { withBorder: true, padding: "md" } },
    Table: { defaultProps: { verticalSpacing: "xs", highlightOnHover: true } },
    Tooltip: { defaultProps: { withArrow: true, multiline: true, maw: 420 } },
  },
});

/** States have one colour each everywhere, dark enough for text on their own tint (WCAG AA). */
export const variables: CSSVariablesResolver = () => ({
  variables: {},
  light: {
    "--atoll-good": "#1b7f3b",
    "--atoll-warn": "#8a5a00",
    "--atoll-bad": "#c02626",
    "--atoll-idle": "#5c6670",
    "--atoll-info": "#1c66a8",
    "--mantine-color-dimmed": "#5c6670",
    "--mantine-color-body": "#f7f9fa",
    "--atoll-surface": "#ffffff",
  },
  dark: {
    "--atoll-good": "#5dd07f",
    "--atoll-warn": "#f0b429",
    "--atoll-bad": "#ff7b7b",
    "--atoll-idle": "#a3adb8",
    "--atoll-info": "#74b8f2",
    "--mantine-color-dimmed": "#a3adb8",
    "--mantine-color-body": "#14191d",
    "--atoll-surface": "#1c2328",
  },
});
