import { Button, Card, PasswordInput, Stack, Text } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { useMutation } from "@tanstack/react-query";
import { send } from "@/api/client";
import { useAccess } from "@/api/session";
import { Failed } from "@/parts/states";
import { SignedIn } from ".";
import { useSettingsText } from "./text";

/** Account lets people change their own password. */
export function Account() {
  return <SignedIn of={<Password />} />;
}

function Password() {
  const t = useSettingsText();
  const { session } = useAccess();
  const change = useMutation({
    mutationFn: (form: FormData) =>
      send("POST", "/api/atoll/v1/password", { old: String(form.get("old")), new: String(form.get("new")) }),
    onSuccess: () => notifications.show({ message: t.passwordChanged }),
  });
  return (
    <Card maw={440}>
      <Text mb="md">{t.sessionOf(session?.user ?? "", session?.roles.join(", ") ?? "")}</Text>
      <form
        onSubmit={(e) => {
          e.preventDefault();
          const form = e.currentTarget;
          change.mutate(new FormData(form), { onSuccess: () => form.reset() });
        }}
      >
        <Stack>
          <PasswordInput name="old" label={t.oldPassword} autoComplete="current-password" required />
          <PasswordInput
            name="new"
            label={t.newPassword}
            description={t.passwordHint}
            minLength={8}
            autoComplete="new-password"
            required
          />
          {change.error && <Failed error={change.error} />}
          <Button type="submit" loading={change.isPending}>
            {t.change}
          </Button>
        </Stack>
      </form>
    </Card>
  );
}
