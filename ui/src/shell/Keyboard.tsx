import { Kbd, Modal, Table, useMantineColorScheme } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useEffect, useEffectEvent, useRef } from "react";
import { useNavigate } from "react-router";
import { pages } from "./pages";
import { useShellText } from "./text";

const typing = (target: EventTarget | null) =>
  target instanceof HTMLElement &&
  (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));

/** Keyboard listens for `/`, `?`, `g` and a letter, and `d`; it lists them in a dialog. */
export function Keyboard({ field }: { field: React.RefObject<HTMLInputElement | null> }) {
  const t = useShellText();
  const navigate = useNavigate();
  const { toggleColorScheme } = useMantineColorScheme();
  const [opened, dialog] = useDisclosure(false);
  const going = useRef(0);
  const press = useEffectEvent((e: KeyboardEvent) => {
    if (e.ctrlKey || e.metaKey || e.altKey || typing(e.target)) return;
    if (Date.now() - going.current < 1500) {
      going.current = 0;
      const page = pages.find((p) => p.key === e.key);
      if (page) {
        e.preventDefault();
        void navigate(page.path);
      }
      return;
    }
    switch (e.key) {
      case "/":
        e.preventDefault();
        field.current?.focus();
        field.current?.select();
        break;
      case "?":
        dialog.open();
        break;
      case "g":
        going.current = Date.now();
        break;
      case "D":
        toggleColorScheme();
        break;
    }
  });
  useEffect(() => {
    const listener = (e: KeyboardEvent) => press(e);
    addEventListener("keydown", listener);
    return () => removeEventListener("keydown", listener);
  }, []);
  return (
    <Modal opened={opened} onClose={dialog.close} title={t.help} closeButtonProps={{ "aria-label": t.close }}>
      <Table>
        <Table.Tbody>
          <Key keys={["/"]} does={t.keySearch} />
          <Key keys={["?"]} does={t.keyHelp} />
          <Key keys={["D"]} does={t.keyTheme} />
          <Key keys={["g"]} does={t.keyGo} />
          {pages.map((p) => (
            <Key key={p.name} keys={["g", p.key]} does={t[p.name]} />
          ))}
        </Table.Tbody>
      </Table>
    </Modal>
  );
}

function Key({ keys, does }: { keys: string[]; does: string }) {
  return (
    <Table.Tr>
      <Table.Td w={90}>
        {keys.map((k) => (
          <Kbd key={k} mr={4}>
            {k}
          </Kbd>
        ))}
      </Table.Td>
      <Table.Td>{does}</Table.Td>
    </Table.Tr>
  );
}
