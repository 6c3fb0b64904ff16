import { Anchor, Stack, Tabs, Text } from "@mantine/core";
import { Link, Navigate, Route, Routes, useLocation, useNavigate } from "react-router";
import { useAccess } from "@/api/session";
import { Empty, PageTitle } from "@/parts/states";
import { About } from "./About";
import { Account } from "./Account";
import { Audit } from "./Audit";
import { Document, Documents } from "./Documents";
import { Tokens } from "./Tokens";
import { useSettingsText } from "./text";
import { Users } from "./Users";

const tabs = ["account", "users", "tokens", "documents", "audit", "about"] as const;

/** Settings is who may do what, the shared documents, and what was done. */
export default function Settings() {
  const t = useSettingsText();
  const { pathname } = useLocation();
  const navigate = useNavigate();
  const tab = pathname.split("/")[2] ?? "about";
  return (
    <Stack>
      <PageTitle>{t.title}</PageTitle>
      <Tabs value={tab} onChange={(v) => void navigate(`/settings/${v}`)} keepMounted={false}>
        <Tabs.List>
          {tabs.map((name) => (
            <Tabs.Tab key={name} value={name}>
              {t[name]}
            </Tabs.Tab>
          ))}
        </Tabs.List>
      </Tabs>
      <Routes>
        <Route index element={<Navigate to="/settings/about" replace />} />
        <Route path="account" element={<Account />} />
        <Route path="users" element={<Admins of={<Users />} />} />
        <Route path="tokens" element={<SignedIn of={<Tokens />} />} />
        <Route path="documents" element={<Documents />} />
        <Route path="documents/:kind/:name" element={<Document />} />
        <Route path="audit" element={<Admins of={<Audit />} />} />
        <Route path="about" element={<About />} />
      </Routes>
    </Stack>
  );
}

/** SignedIn leads those who are not to where they can. */
export function SignedIn({ of }: { of: React.ReactNode }) {
  const t = useSettingsText();
  const { session } = useAccess();
  const { pathname } = useLocation();
  if (session?.user) return of;
  return (
    <Empty title={t.signIn}>
      <Anchor component={Link} to={`/login?to=${encodeURIComponent(pathname)}`}>
        {t.signIn}
      </Anchor>
    </Empty>
  );
}

function Admins({ of }: { of: React.ReactNode }) {
  const t = useSettingsText();
  const { may, session } = useAccess();
  if (!session?.user) return <SignedIn of={of} />;
  return may("administer") ? of : <Text>{t.notAllowed}</Text>;
}
