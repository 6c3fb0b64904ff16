import { PageTitle } from "@/parts/states";
import { useShellText } from "@/shell/text";

export default function View() {
  const t = useShellText();
  return <PageTitle>{t.hosts}</PageTitle>;
}
