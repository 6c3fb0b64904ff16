import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { yaml } from "@codemirror/lang-yaml";
import { bracketMatching, defaultHighlightStyle, syntaxHighlighting } from "@codemirror/language";
import { type Diagnostic, lintGutter, setDiagnostics } from "@codemirror/lint";
import { EditorState } from "@codemirror/state";
import { EditorView, keymap, lineNumbers } from "@codemirror/view";
import { useComputedColorScheme } from "@mantine/core";
import { useEffect, useEffectEvent, useRef } from "react";
import { nonce } from "@/shell/nonce";
import classes from "./alerts.module.css";

export type Problem = { line: number; column: number; message: string; warning?: boolean };

type Props = {
  value: string;
  onChange: (text: string) => void;
  problems: readonly Problem[];
  label: string;
};

/** YamlEditor shows problems where they stand. */
export default function YamlEditor({ value, onChange, problems, label }: Props) {
  const mount = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | null>(null);
  const dark = useComputedColorScheme("light") === "dark";
  const changed = useEffectEvent((text: string) => onChange(text));
  const start = useEffectEvent(() => view.current?.state.doc.toString() ?? value);

  useEffect(() => {
    if (mount.current === null) return;
    const editor = new EditorView({
      parent: mount.current,
      state: EditorState.create({
        doc: start(),
        extensions: [
          EditorView.cspNonce.of(nonce()),
          lineNumbers(),
          history(),
          bracketMatching(),
          yaml(),
          ...(dark ? [] : [syntaxHighlighting(defaultHighlightStyle)]),
          lintGutter(),
          EditorView.lineWrapping,
          // Tab leaves the editor after Escape, as CodeMirror's own way out of it is.
          keymap.of([...defaultKeymap, ...historyKeymap, indentWithTab]),
          EditorView.contentAttributes.of({ "aria-label": label }),
          EditorView.theme({ "&": { fontSize: "13px" }, ".cm-content": { paddingBlock: "8px" } }, { dark }),
          EditorView.updateListener.of((u) => {
            if (u.docChanged) changed(u.state.doc.toString());
          }),
        ],
      }),
    });
    view.current = editor;
    return () => {
      editor.destroy();
      view.current = null;
    };
  }, [dark, label]);

  useEffect(() => {
    const editor = view.current;
    if (editor !== null && editor.state.doc.toString() !== value)
      editor.dispatch({ changes: { from: 0, to: editor.state.doc.length, insert: value } });
  }, [value, dark]);

  useEffect(() => {
    const editor = view.current;
    if (editor === null) return;
    const { doc } = editor.state;
    const all: Diagnostic[] = problems.map((p) => {
      const line = doc.line(Math.min(Math.max(p.line, 1), doc.lines));
      const from = Math.min(line.from + p.column - 1, line.to);
      return {
        from,
        to: Math.max(line.to, from),
        severity: p.warning ? "warning" : "error",
        message: p.message,
      };
    });
    editor.dispatch(
      setDiagnostics(
        editor.state,
        all.sort((a, b) => a.from - b.from),
      ),
    );
  }, [problems, dark]);

  return <div ref={mount} className={classes.yaml} />;
}
