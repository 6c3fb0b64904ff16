import {
  IconBell,
  IconChartLine,
  IconFilter,
  IconHome,
  IconLayoutDashboard,
  IconRadar2,
  IconSearch,
  IconServer,
  IconSettings,
  IconTopologyStar3,
  IconTriangleSquareCircle,
} from "@tabler/icons-react";
import { type ComponentType, lazy } from "react";

/** Page is an entry of the navigation: its address, the letter after `g`, and what draws it. */
export type Page = {
  name:
    | "home"
    | "explore"
    | "hosts"
    | "services"
    | "dashboards"
    | "alerts"
    | "probes"
    | "islands"
    | "aggregation"
    | "settings";
  path: string;
  key: string;
  icon: ComponentType<{ size?: number | string; stroke?: number }>;
  view: ComponentType;
};

const Home = lazy(() => import("@/pages/home"));
const Explore = lazy(() => import("@/pages/explore"));
const Hosts = lazy(() => import("@/pages/hosts"));
const Services = lazy(() => import("@/pages/services"));
const Dashboards = lazy(() => import("@/pages/dashboards"));
const Alerts = lazy(() => import("@/pages/alerts"));
const Probes = lazy(() => import("@/pages/probes"));
const Islands = lazy(() => import("@/pages/islands"));
const Aggregation = lazy(() => import("@/pages/aggregation"));
const Settings = lazy(() => import("@/pages/settings"));
/** Views that the navigation does not list. */
export const Search = lazy(() => import("@/pages/search"));
export const Login = lazy(() => import("@/pages/login"));

export const pages: readonly Page[] = [
  { name: "home", path: "/", key: "h", icon: IconHome, view: Home },
  { name: "alerts", path: "/alerts", key: "a", icon: IconBell, view: Alerts },
  { name: "explore", path: "/explore", key: "e", icon: IconChartLine, view: Explore },
  { name: "probes", path: "/probes", key: "p", icon: IconRadar2, view: Probes },
  { name: "islands", path: "/islands", key: "i", icon: IconTopologyStar3, view: Islands },
  { name: "hosts", path: "/hosts", key: "m", icon: IconServer, view: Hosts },
  { name: "services", path: "/services", key: "s", icon: IconTriangleSquareCircle, view: Services },
  { name: "dashboards", path: "/dashboards", key: "d", icon: IconLayoutDashboard, view: Dashboards },
  { name: "aggregation", path: "/aggregation", key: "r", icon: IconFilter, view: Aggregation },
  { name: "settings", path: "/settings", key: "t", icon: IconSettings, view: Settings },
];

/** The tabs under a thumb; everything else is behind "More". */
export const tabs = ["home", "search", "alerts", "probes", "more"] as const;
export { IconSearch };
