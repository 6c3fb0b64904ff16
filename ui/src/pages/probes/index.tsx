import { Button } from "@mantine/core";
import { IconBolt } from "@tabler/icons-react";
import { Link, Route, Routes } from "react-router";
import { Bundle, Bundles } from "./Evidence";
import { Now } from "./Now";
import { Overview } from "./Overview";
import { Target } from "./Target";
import { useProbesText } from "./text";

/** Probes shows what all vantages see of all targets, and probes at once. */
export default function Probes() {
  return (
    <Routes>
      <Route index element={<Overview actions={<ProbeNow />} />} />
      <Route path="now" element={<Now />} />
      <Route path="evidence" element={<Bundles />} />
      <Route path="evidence/:failure" element={<Bundle />} />
      <Route path=":definition" element={<Target />} />
    </Routes>
  );
}

function ProbeNow() {
  const t = useProbesText();
  return (
    <>
      <Button component={Link} to="/probes/evidence" variant="default">
        {t.evidence}
      </Button>
      <Button component={Link} to="/probes/now" leftSection={<IconBolt size={16} />}>
        {t.now}
      </Button>
    </>
  );
}
