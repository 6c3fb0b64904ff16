import {
  Alert,
  Anchor,
  Button,
  Card,
  Code,
  PasswordInput,
  Stack,
  Text,
  TextInput,
  Title,
} from "@mantine/core";
import { useState } from "react";
import { useNavigate, useSearchParams } from "react-router";
import { useAccess } from "@/api/session";
import { Failed, Loading } from "@/parts/states";
import { texts } from "@/text/text";

const useText = texts(
  {
    title: "Sign in",
    first: "Make the first account",
    firstHint: "The island printed a code when it started, and keeps it in this file of its data directory:",
    code: "Setup code",
    user: "User",
    password: "Password",
    enough: "At least 8 characters",
    enter: "Sign in",
    make: "Make the account",
    sso: "Sign in with single sign-on",
    signedIn: (user: string) => `You are signed in as ${user}.`,
    out: "Sign out",
    refused: {
      "bad-state": "Single sign-on took too long, or began in another browser. Try again.",
      provider: "The provider of single sign-on did not answer as it should. The island's log says more.",
      "provider-refused": "The provider of single sign-on refused. Ask whoever runs it.",
      "no-role": "None of your groups has a role here. Ask whoever administers this island.",
      "bad-name": "The provider gives no name that can be used here. Ask whoever administers this island.",
      "unverified-email": "The provider has not verified your address. Verify it there, then try again.",
      disabled: "Your account is disabled here. Ask whoever administers this island.",
      limited: "Too many attempts. Wait a minute, then try again.",
      other: "Single sign-on did not work. The island's log says why.",
    },
  },
  {
    title: "登录",
    first: "创建第一个账号",
    firstHint: "岛屿启动时打印了设置码，并保存在数据目录的这个文件中：",
    code: "设置码",
    user: "用户名",
    password: "密码",
    enough: "至少 8 个字符",
    enter: "登录",
    make: "创建账号",
    sso: "使用单点登录",
    signedIn: (user: string) => `您已登录为 ${user}。`,
    out: "退出登录",
    refused: {
      "bad-state": "单点登录超时，或者是在另一个浏览器中开始的。请重试。",
      provider: "单点登录服务没有正常应答。详情见岛屿日志。",
      "provider-refused": "单点登录服务拒绝了请求。请联系其管理员。",
      "no-role": "您所在的组在这里没有角色。请联系本岛管理员。",
      "bad-name": "单点登录服务提供的名称无法使用。请联系本岛管理员。",
      "unverified-email": "单点登录服务尚未验证您的邮箱。请先验证，再重试。",
      disabled: "您的账号在这里已被停用。请联系本岛管理员。",
      limited: "尝试次数过多。请稍候一分钟再试。",
      other: "单点登录未成功。原因见岛屿日志。",
    },
  },
);

/** inside keeps a link of somebody else from sending people to another site after they sign in. */
export function inside(to: string | null): string {
  return to?.startsWith("/") && !to.startsWith("//") && !to.startsWith("/\\") ? to : "/";
}

export default function Login() {
  const t = useText();
  const { session, error, signIn, setUp, signOut } = useAccess();
  const [params] = useSearchParams();
  const navigate = useNavigate();
  const [trouble, setTrouble] = useState<unknown>();
  const [busy, setBusy] = useState(false);
  if (error) return <Failed error={error} />;
  if (!session) return <Loading />;
  const to = inside(params.get("to"));
  const first = session.setup_needed;
  const refused = params.get("error");
  if (session.user) {
    return (
      <Stack maw={420} mx="auto" mt="xl">
        <Alert>{t.signedIn(session.user)}</Alert>
        <Button variant="default" onClick={() => void signOut()}>
          {t.out}
        </Button>
      </Stack>
    );
  }
  const submit = async (form: FormData) => {
    const word = (name: string) => String(form.get(name) ?? "");
    setBusy(true);
    setTrouble(undefined);
    try {
      if (first) await setUp(word("code").trim(), word("user"), word("password"));
      else await signIn(word("user"), word("password"));
      await navigate(to, { replace: true });
    } catch (e) {
      setTrouble(e);
    } finally {
      setBusy(false);
    }
  };
  return (
    <Card maw={420} mx="auto" mt="xl" p="lg">
      <form
        onSubmit={(e) => {
          e.preventDefault();
          void submit(new FormData(e.currentTarget));
        }}
      >
        <Stack>
          <Title order={1}>{first ? t.first : t.title}</Title>
          {first && (
            <>
              <Text size="sm">
                {t.firstHint} <Code>run/setup-code</Code>
              </Text>
              <TextInput name="code" label={t.code} required autoFocus autoComplete="one-time-code" />
            </>
          )}
          <TextInput name="user" label={t.user} required autoFocus={!first} autoComplete="username" />
          <PasswordInput
            name="password"
            label={t.password}
            description={first ? t.enough : undefined}
            required
            minLength={first ? 8 : undefined}
            autoComplete={first ? "new-password" : "current-password"}
          />
          {trouble !== undefined && <Failed error={trouble} />}
          {refused !== null && trouble === undefined && (
            <Alert color="red" role="alert">
              {Object.entries(t.refused).find(([code]) => code === refused)?.[1] ?? t.refused.other}
            </Alert>
          )}
          <Button type="submit" loading={busy}>
            {first ? t.make : t.enter}
          </Button>
          {session.oidc && (
            <Anchor href={`/api/atoll/v1/oidc/start?to=${encodeURIComponent(to)}`}>{t.sso}</Anchor>
          )}
        </Stack>
      </form>
    </Card>
  );
}
