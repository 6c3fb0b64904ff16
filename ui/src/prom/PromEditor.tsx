import {
  autocompletion,
  closeBrackets,
  closeBracketsKeymap,
  completionKeymap,
  completionStatus,
} from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, insertNewlineAndIndent } from "@codemirror/commands";
import { bracketMatching, HighlightStyle, syntaxHighlighting } from "@codemirror/language";
import { lintKeymap } from "@codemirror/lint";
import { EditorState, Prec } from "@codemirror/state";
import { drawSelection, EditorView, keymap, placeholder } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { PromQLExtension } from "@prometheus-io/codemirror-promql";
import { useEffect, useEffectEvent, useRef } from "react";
import { nonce } from "@/shell/nonce";
import { completions } from "./complete";
import classes from "./PromEditor.module.css";
import type { Scope } from "./scope";
import { usePromText } from "./text";

type Props = {
  value: string;
  onChange: (value: string) => void;
  /** Enter: the expression is done. */
  onRun: () => void;
  scope: Scope;
  label?: string;
  hint?: string;
};

const look = HighlightStyle.define([
  { tag: tags.number, color: "var(--atoll-info)" },
  { tag: tags.string, color: "var(--atoll-good)" },
  { tag: tags.keyword, color: "var(--mantine-color-anchor)", fontWeight: "600" },
  { tag: tags.function(tags.variableName), color: "var(--mantine-color-anchor)" },
  { tag: tags.labelName, color: "var(--atoll-warn)" },
  { tag: tags.comment, color: "var(--atoll-idle)", fontStyle: "italic" },
  { tag: tags.invalid, color: "var(--atoll-bad)" },
]);

const frame = EditorView.theme({
  "&": { fontSize: "14px", color: "var(--mantine-color-text)", background: "transparent" },
  "&.cm-focused": { outline: "none" },
  ".cm-content": {
    fontFamily: "var(--mantine-font-family-monospace)",
    caretColor: "var(--mantine-color-text)",
    padding: "8px 0",
  },
  ".cm-cursor": { borderLeftColor: "var(--mantine-color-text)" },
  ".cm-line": { padding: "0 10px" },
  ".cm-scroller": { maxHeight: "240px", lineHeight: "1.5" },
  ".cm-placeholder": { color: "var(--mantine-color-dimmed)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": {
    background: "color-mix(in srgb, var(--mantine-primary-color-filled) 25%, transparent)",
  },
  "&.cm-focused .cm-matchingBracket": {
    background: "color-mix(in srgb, var(--mantine-primary-color-filled) 22%, transparent)",
  },
  ".cm-tooltip": {
    background: "var(--atoll-surface)",
    border: "1px solid var(--mantine-color-default-border)",
    borderRadius: "8px",
    boxShadow: "var(--mantine-shadow-md)",
    overflow: "hidden",
  },
  ".cm-tooltip.cm-tooltip-autocomplete > ul": {
    fontFamily: "var(--mantine-font-family-monospace)",
    maxHeight: "320px",
    maxWidth: "min(560px, 92vw)",
  },
  ".cm-tooltip.cm-tooltip-autocomplete > ul > li": { padding: "4px 8px" },
  ".cm-tooltip-autocomplete ul li[aria-selected]": {
    background: "color-mix(in srgb, var(--mantine-primary-color-filled) 22%, transparent)",
    color: "var(--mantine-color-text)",
  },
  ".cm-completionDetail": { color: "var(--mantine-color-dimmed)", fontStyle: "normal", marginLeft: "10px" },
  ".cm-completionInfo": { padding: "8px 10px", maxWidth: "320px" },
});

/** PromEditor writes PromQL with the names that the islands in scope have. */
export default function PromEditor({ value, onChange, onRun, scope, label, hint }: Props) {
  const t = usePromText();
  const mount = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | null>(null);
  // What was written and has not come back as value yet: an echo that is late must
  // not overwrite what was typed since.
  const written = useRef<string[]>([]);
  const change = useEffectEvent((text: string) => {
    written.current.push(text);
    onChange(text);
  });
  const run = useEffectEvent(() => onRun());
  const where = useRef(scope);
  where.current = scope;
  const name = label ?? t.editor;

  useEffect(() => {
    if (mount.current === null) return;
    const promql = new PromQLExtension().setComplete({ remote: completions(() => where.current) });
    const v = new EditorView({
      parent: mount.current,
      state: EditorState.create({
        doc: value,
        extensions: [
          EditorView.cspNonce.of(nonce()),
          frame,
          syntaxHighlighting(look),
          history(),
          drawSelection(),
          bracketMatching(),
          closeBrackets(),
          autocompletion(),
          EditorView.lineWrapping,
          promql.asExtension(),
          placeholder(hint ?? ""),
          EditorView.contentAttributes.of({ "aria-label": name, "aria-multiline": "true" }),
          Prec.highest(
            keymap.of([
              {
                key: "Enter",
                run: (v) => {
                  if (completionStatus(v.state) === "active") return false;
                  run();
                  return true;
                },
                shift: insertNewlineAndIndent,
              },
            ]),
          ),
          keymap.of([
            ...closeBracketsKeymap,
            ...defaultKeymap,
            ...historyKeymap,
            ...completionKeymap,
            ...lintKeymap,
          ]),
          EditorView.updateListener.of((u) => {
            if (u.docChanged) change(u.state.doc.toString());
          }),
        ],
      }),
    });
    view.current = v;
    return () => {
      promql.destroy();
      v.destroy();
      view.current = null;
    };
    // The text is the editor's own afterwards, and is set from outside below.
  }, [name, hint]);

  useEffect(() => {
    const echo = written.current.lastIndexOf(value);
    if (echo >= 0) {
      written.current.splice(0, echo + 1);
      return;
    }
    const v = view.current;
    if (v && v.state.doc.toString() !== value)
      v.dispatch({ changes: { from: 0, to: v.state.doc.length, insert: value } });
  }, [value]);

  return <div ref={mount} className={classes.editor} />;
}
