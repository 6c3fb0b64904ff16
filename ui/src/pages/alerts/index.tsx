import { Box, Stack, Tabs } from "@mantine/core";
import { lazy } from "react";
import { Route, Routes, useLocation, useNavigate } from "react-router";
import { PageTitle } from "@/parts/states";
import { useGroups } from "./api";
import { Firing } from "./Firing";
import { useAlertsText } from "./text";

const Timeline = lazy(() => import("./Timeline").then((m) => ({ default: m.Timeline })));
const Silences = lazy(() => import("./Silences").then((m) => ({ default: m.Silences })));
const SilenceForm = lazy(() => import("./SilenceForm").then((m) => ({ default: m.SilenceForm })));
const Rules = lazy(() => import("./Rules").then((m) => ({ default: m.Rules })));
const RuleView = lazy(() => import("./RuleView").then((m) => ({ default: m.RuleView })));
const RuleEditor = lazy(() => import("./RuleEditor").then((m) => ({ default: m.RuleEditor })));
const History = lazy(() => import("./History").then((m) => ({ default: m.History })));

const tabs = ["firing", "timeline", "silences", "rules", "history"] as const;

/** Alerts is for whoever is on call: what is wrong, who has it, what was, and the rules behind it. */
export default function Alerts() {
  const t = useAlertsText();
  const { pathname } = useLocation();
  const navigate = useNavigate();
  const { data } = useGroups();
  const part = pathname.split("/")[2] ?? "";
  const tab = tabs.find((name) => name === part) ?? "firing";
  const open = data?.items.filter((g) => g.state === "firing").length ?? 0;
  return (
    <Stack gap="sm">
      <Box mb={-14}>
        <PageTitle>{t.title}</PageTitle>
      </Box>
      <Tabs value={tab} onChange={(v) => void navigate(v === "firing" ? "/alerts" : `/alerts/${v}`)}>
        <Tabs.List style={{ flexWrap: "nowrap", overflowX: "auto" }}>
          {tabs.map((name) => (
            <Tabs.Tab key={name} value={name} px={{ base: 10, sm: "md" }} mih={44}>
              {t[name]}
              {name === "firing" && open > 0 ? ` ${open}` : ""}
            </Tabs.Tab>
          ))}
        </Tabs.List>
      </Tabs>
      <Routes>
        <Route index element={<Firing />} />
        <Route path="timeline" element={<Timeline />} />
        <Route path="silences" element={<Silences />} />
        <Route path="silences/new" element={<SilenceForm />} />
        <Route path="silences/:id" element={<SilenceForm />} />
        <Route path="rules" element={<Rules />} />
        <Route path="rules/new" element={<RuleEditor />} />
        <Route path="rules/view" element={<RuleView />} />
        <Route path="rules/edit/:kind/:name" element={<RuleEditor />} />
        <Route path="history" element={<History />} />
        <Route path=":fingerprint" element={<Firing />} />
        <Route path="*" element={<Firing />} />
      </Routes>
    </Stack>
  );
}
