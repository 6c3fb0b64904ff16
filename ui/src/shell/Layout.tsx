import {
  ActionIcon,
  Affix,
  AppShell,
  Button,
  Drawer,
  Group,
  Menu,
  NavLink,
  SimpleGrid,
  Stack,
  Text,
  TextInput,
  UnstyledButton,
  useMantineColorScheme,
} from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconDots, IconLanguage, IconMoon, IconSearch, IconSun, IconUser } from "@tabler/icons-react";
import { type ReactNode, useRef } from "react";
import { Link, useLocation, useNavigate, useSearchParams } from "react-router";
import { $api } from "@/api/client";
import { useAccess } from "@/api/session";
import { useLanguage } from "@/text/text";
import { Keyboard } from "./Keyboard";
import classes from "./Layout.module.css";
import { pages } from "./pages";
import { useShellText } from "./text";

const at = (path: string, current: string) =>
  path === "/" ? current === "/" : current === path || current.startsWith(`${path}/`);

/** Layout is what every view shares: navigation at the side, or under the thumb on a phone. */
export function Layout({ children }: { children: ReactNode }) {
  const t = useShellText();
  const { pathname } = useLocation();
  const [more, drawer] = useDisclosure(false);
  const search = useRef<HTMLInputElement>(null);
  return (
    <AppShell
      header={{ height: 56 }}
      navbar={{ width: 200, breakpoint: "sm", collapsed: { mobile: true } }}
      footer={{ height: { base: 60, sm: 0 } }}
      padding={{ base: "sm", sm: "lg" }}
    >
      <a href="#content" className={classes.skip}>
        {t.skip}
      </a>
      <AppShell.Header className={classes.bar}>
        <Group h="100%" px="md" gap="sm" wrap="nowrap">
          <Link to="/" className={classes.brand} aria-label="Atoll">
            <img src="/icon.svg" alt="" width={26} height={26} />
            <Text fw={700} visibleFrom="xs">
              Atoll
            </Text>
          </Link>
          <SearchBox field={search} />
          <IslandName />
          <Account />
        </Group>
      </AppShell.Header>
      <AppShell.Navbar p="xs" className={classes.bar}>
        <nav aria-label={t.menu}>
          {pages.map((p) => (
            <NavLink
              key={p.name}
              component={Link}
              to={p.path}
              active={at(p.path, pathname)}
              label={t[p.name]}
              leftSection={<p.icon size={19} stroke={1.7} />}
              className={classes.link}
            />
          ))}
        </nav>
      </AppShell.Navbar>
      <AppShell.Main id="content" className={classes.main}>
        {children}
      </AppShell.Main>
      <Affix
        hiddenFrom="sm"
        bottom={0}
        left={0}
        right={0}
        className={classes.tabs}
        component="nav"
        aria-label={t.menu}
      >
        {pages
          .filter((p) => ["home", "alerts", "explore", "probes"].includes(p.name))
          .map((p) => (
            <UnstyledButton
              key={p.name}
              component={Link}
              to={p.path}
              className={classes.tab}
              data-active={at(p.path, pathname) || undefined}
            >
              <p.icon size={22} stroke={1.7} />
              <span>{t[p.name]}</span>
            </UnstyledButton>
          ))}
        <UnstyledButton className={classes.tab} onClick={drawer.open} aria-haspopup="dialog">
          <IconDots size={22} stroke={1.7} />
          <span>{t.more}</span>
        </UnstyledButton>
      </Affix>
      <Drawer
        opened={more}
        onClose={drawer.close}
        position="bottom"
        size="auto"
        title={t.menu}
        closeButtonProps={{ "aria-label": t.close }}
      >
        <SimpleGrid cols={3} pb="md">
          {pages.map((p) => (
            <UnstyledButton
              key={p.name}
              component={Link}
              to={p.path}
              onClick={drawer.close}
              className={classes.tile}
            >
              <p.icon size={26} stroke={1.6} />
              <span>{t[p.name]}</span>
            </UnstyledButton>
          ))}
        </SimpleGrid>
      </Drawer>
      <Keyboard field={search} />
    </AppShell>
  );
}

function SearchBox({ field }: { field: React.RefObject<HTMLInputElement | null> }) {
  const t = useShellText();
  const navigate = useNavigate();
  const { pathname } = useLocation();
  const [params] = useSearchParams();
  const here = pathname === "/search";
  const go = (q: string) => navigate(`/search?q=${encodeURIComponent(q)}`, { replace: here });
  return (
    <TextInput
      key={here ? "here" : pathname}
      ref={field}
      type="search"
      aria-label={t.search}
      placeholder={t.searchHint}
      defaultValue={here ? (params.get("q") ?? "") : ""}
      leftSection={<IconSearch size={16} />}
      className={classes.search}
      onChange={(e) => here && go(e.currentTarget.value)}
      onKeyDown={(e) => {
        if (e.key === "Enter") go(e.currentTarget.value);
      }}
    />
  );
}

/** IslandName says whose answers these are, and whether it is still there. */
function IslandName() {
  const t = useShellText();
  const { data, error } = $api.useQuery("get", "/api/atoll/v1/status", {}, { refetchInterval: 15_000 });
  const where = data?.network
    ? `${data.network.name} · ${data.network.connected + 1}/${data.network.members}`
    : "";
  return (
    <UnstyledButton
      component={Link}
      to="/islands"
      visibleFrom="sm"
      className={classes.island}
      title={error ? t.unreachable : t.island(data?.name ?? "")}
    >
      <span className={classes.dot} data-state={error ? "bad" : "good"} />
      <Stack gap={0}>
        <Text size="sm" fw={600} lh={1.2}>
          {data?.name ?? "…"}
        </Text>
        <Text size="xs" c="dimmed" lh={1.2}>
          {where}
        </Text>
      </Stack>
    </UnstyledButton>
  );
}

function Account() {
  const t = useShellText();
  const { session, signOut } = useAccess();
  const { language, setLanguage } = useLanguage();
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  const { pathname, search } = useLocation();
  const here = encodeURIComponent(pathname + search);
  return (
    <Menu position="bottom-end" width={220}>
      <Menu.Target>
        {session?.user || !session ? (
          <ActionIcon variant="default" size="lg" aria-label={t.account}>
            <IconUser size={18} />
          </ActionIcon>
        ) : (
          <Button variant="default" leftSection={<IconUser size={16} />} px="xs" className={classes.account}>
            {t.signIn}
          </Button>
        )}
      </Menu.Target>
      <Menu.Dropdown>
        {session?.user ? (
          <>
            <Menu.Label>
              {session.user} · {session.roles.join(", ")}
            </Menu.Label>
            <Menu.Item onClick={() => void signOut()}>{t.signOut}</Menu.Item>
          </>
        ) : (
          <Menu.Item component={Link} to={`/login?to=${here}`}>
            {t.signIn}
          </Menu.Item>
        )}
        <Menu.Divider />
        <Menu.Item
          leftSection={<IconLanguage size={16} />}
          onClick={() => setLanguage(language === "en" ? "zh" : "en")}
        >
          {t.language}
        </Menu.Item>
        <Menu.Label>{t.appearance}</Menu.Label>
        <Menu.Item
          leftSection={<IconSun size={16} />}
          onClick={() => setColorScheme("light")}
          disabled={colorScheme === "light"}
        >
          {t.light}
        </Menu.Item>
        <Menu.Item
          leftSection={<IconMoon size={16} />}
          onClick={() => setColorScheme("dark")}
          disabled={colorScheme === "dark"}
        >
          {t.dark}
        </Menu.Item>
        <Menu.Item onClick={() => setColorScheme("auto")} disabled={colorScheme === "auto"}>
          {t.asSystem}
        </Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}
