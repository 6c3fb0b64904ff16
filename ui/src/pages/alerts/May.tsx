import { Anchor, Tooltip } from "@mantine/core";
import type { ReactElement } from "react";
import { Link, useLocation } from "react-router";
import { useAccess } from "@/api/session";
import { useAlertsText } from "./text";

/** May shows what a session may not do with why, and leads to where it may. */
export function May({ action, children }: { action: string; children: (disabled: boolean) => ReactElement }) {
  const t = useAlertsText();
  const { may, session } = useAccess();
  const { pathname, search } = useLocation();
  if (may(action)) return children(false);
  const why = session?.user ? (
    t.mayNot
  ) : (
    <>
      {t.mayNot}:{" "}
      <Anchor
        component={Link}
        to={`/login?to=${encodeURIComponent(pathname + search)}`}
        size="sm"
        c="inherit"
        td="underline"
      >
        {t.signIn}
      </Anchor>
    </>
  );
  return (
    <Tooltip label={why} events={{ hover: true, focus: true, touch: true }} withinPortal closeDelay={300}>
      <span>{children(true)}</span>
    </Tooltip>
  );
}
