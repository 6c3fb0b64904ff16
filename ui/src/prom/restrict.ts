import { LanguageType, promQLLanguage } from "@prometheus-io/codemirror-promql";
import { literal, quoted } from "./names";

/** parser reads PromQL into a tree whose nodes are named as in its grammar. */
export const parser = promQLLanguage(LanguageType.PromQL).parser;

/**
 * restrict adds a matcher of the label island to each selector, so that only these
 * islands are asked: others cannot match and are skipped.
 */
export function restrict(expr: string, islands: readonly string[]): string {
  const [only, ...more] = islands;
  if (only === undefined) return expr;
  const matcher =
    more.length === 0 ? `island=${quoted(only)}` : `island=~${quoted(islands.map(literal).join("|"))}`;
  const edits: { at: number; text: string }[] = [];
  parser.parse(expr).iterate({
    enter(node) {
      if (node.name !== "VectorSelector") return;
      const matchers = node.node.getChild("LabelMatchers");
      if (matchers === null) {
        edits.push({ at: node.to, text: `{${matcher}}` });
        return;
      }
      const inside = expr.slice(matchers.from + 1, matchers.to - 1).replace(/#.*$/gm, "");
      const more = inside.trim() !== "";
      edits.push({ at: matchers.from + 1, text: more ? `${matcher}, ` : matcher });
    },
  });
  return edits.reduceRight((e, { at, text }) => e.slice(0, at) + text + e.slice(at), expr);
}
