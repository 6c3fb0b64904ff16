import type { State } from "@/parts/states";

/** Found is one resource of GET /api/atoll/v1/search. */
export type Found = {
  kind: string;
  id: string;
  name: string;
  island: string;
  islands?: string[];
  state?: string;
  labels?: Record<string, string>;
  summary: string;
  href: string;
};

/** Answer is what a search found: the best items, and how many of each kind match. */
export type Answer = {
  items: Found[];
  counts: Record<string, number>;
  took_ms: number;
  islands: { name: string; answered: boolean; error?: string }[];
};

/** Part is a piece of text: where it begins, and whether it was searched for. */
export type Part = { at: number; text: string; hit: boolean };

/** marked cuts text where it has one of the words that were searched for. */
export function marked(text: string, words: string): Part[] {
  const wanted = words
    .toLowerCase()
    .split(/\s+/)
    .map((w) => w.replace(/^[a-z_]+:/, ""))
    .filter((w) => w !== "");
  const low = text.toLowerCase();
  const parts: Part[] = [];
  let plain = 0;
  for (let i = 0; i < text.length; ) {
    const word = wanted.filter((w) => low.startsWith(w, i)).sort((a, b) => b.length - a.length)[0];
    if (word === undefined) {
      i++;
      continue;
    }
    if (i > plain) parts.push({ at: plain, text: text.slice(plain, i), hit: false });
    parts.push({ at: i, text: text.slice(i, i + word.length), hit: true });
    i += word.length;
    plain = i;
  }
  if (plain < text.length) parts.push({ at: plain, text: text.slice(plain), hit: false });
  return parts;
}

/** stateOfWord gives the colour of a state that the island put in a word. */
export function stateOfWord(word: string): State {
  if (/^(up|ok|connected|inactive|healthy|resolved)$/.test(word)) return "good";
  if (/^(down|firing|unreachable|refused|critical|lost)$/.test(word)) return "bad";
  if (/^(degraded|pending|suspect|warning|connecting|quarantined)$/.test(word)) return "warn";
  return "idle";
}
