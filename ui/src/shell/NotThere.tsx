import { Anchor, Stack, Title } from "@mantine/core";
import { Link } from "react-router";
import { useShellText } from "./text";

export function NotThere() {
  const t = useShellText();
  return (
    <Stack align="center" py="xl">
      <Title>{t.notThere}</Title>
      <Anchor component={Link} to="/">
        {t.toHome}
      </Anchor>
    </Stack>
  );
}
