/**
 * What can be said of patterns before any name is known: is it one, can it match at all, do two overlap, which is
 * more specific. Matching itself is done by the one matcher of the gateway, so that the two cannot disagree.
 */
import { TollgateError } from '../core/errors.ts';
import { compileCanonicalGlob, compileGlob } from '../core/glob.ts';

/** The sentence that says why a text is no pattern, or undefined when it is one. */
export function patternProblem(pattern: string): string | undefined {
  try {
    compileGlob(pattern);
    return undefined;
  } catch (error) {
    if (TollgateError.is(error)) return error.message;
    throw error;
  }
}

/** True when the pattern matches the text. */
export function matches(pattern: string, value: string): boolean {
  return compileGlob(pattern).matches(value);
}

/** True when the pattern stands for one name only. */
function isExact(pattern: string): boolean {
  return compileGlob(pattern).exact !== undefined;
}

/** True when the text is a pattern that stands for itself: no wildcard, no escape. */
export function isPlainName(pattern: string): boolean {
  return compileGlob(pattern).exact === pattern;
}

/** A pattern on canonical ids: one without `/` stands for `*` + `/pattern`. */
export function canonicalPattern(pattern: string): string {
  return compileCanonicalGlob(pattern).source;
}

/** True when a pattern on canonical ids can name something of a server. */
export function reachesServer(pattern: string, server: string): boolean {
  return compileCanonicalGlob(pattern).canStartWith(`${server}/`);
}

/** More is more specific: exact names before patterns, then the number of characters that are not `*`. */
export function specificity(pattern: string): number {
  const all = tokens(pattern);
  const fixed = all.filter((token) => token !== ANY).length;
  return isExact(pattern) ? 1_000_000 + fixed : fixed;
}

/** True when the first pattern certainly matches all that the second does; false also when that is hard to tell. */
export function covers(wide: string, narrow: string): boolean {
  if (wide === narrow) return true;
  const exact = compileGlob(narrow).exact;
  if (exact !== undefined) return matches(wide, exact);
  // A character that no name has stands for the wildcards of the narrow one: only a `*` of the wide one can take it.
  if (/[?[\\]/.test(wide) || /[[\\]/.test(narrow)) return false;
  return matches(wide, narrow.replaceAll(/[*?]/g, '\ue000'));
}

/** `*`, a fixed character, or the source of something else that takes one character. */
type Token = typeof ANY | { readonly literal: string } | { readonly source: string };
const ANY = Symbol('any');

function tokens(pattern: string): Token[] {
  const out: Token[] = [];
  for (const part of pattern.match(/\\[\s\S]|\[[!^]?(?:\\[\s\S]|\])?(?:\\[\s\S]|[^\]\\])*\]|[\s\S]/gu) ?? []) {
    if (part === '*') {
      if (out.at(-1) !== ANY) out.push(ANY);
    } else if (part === '?' || (part.startsWith('[') && part.length > 1)) out.push({ source: part });
    else out.push({ literal: part.length > 1 && part.startsWith('\\') ? part.slice(1) : part });
  }
  return out;
}

const VISIBLE = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i));

/** True when some character fits both. */
function meet(a: Token, b: Token): boolean {
  if (a === ANY || b === ANY) return true;
  if ('literal' in a) return 'literal' in b ? a.literal === b.literal : matches(b.source, a.literal);
  if ('literal' in b) return matches(a.source, b.literal);
  return VISIBLE.some((char) => matches(a.source, char) && matches(b.source, char));
}

/** True when some text matches both patterns. */
export function overlap(first: string, second: string): boolean {
  const a = tokens(first);
  const b = tokens(second);
  // row[j]: the first i tokens of `a` and the first j of `b` can have consumed the same text.
  let row: boolean[] = [];
  for (let i = 0; i <= a.length; i++) {
    const next: boolean[] = [];
    for (let j = 0; j <= b.length; j++) {
      const ta = a[i - 1];
      const tb = b[j - 1];
      if (ta === undefined && tb === undefined) next.push(true);
      else {
        // A `*` is over, or has taken what the other pattern's token took, or both took one character.
        const skipA = ta === ANY && row[j] === true;
        const skipB = tb === ANY && next[j - 1] === true;
        const takeB = ta === ANY && tb !== undefined && next[j - 1] === true;
        const takeA = tb === ANY && ta !== undefined && row[j] === true;
        const both = ta !== undefined && tb !== undefined && row[j - 1] === true && meet(ta, tb);
        next.push(skipA || skipB || takeB || takeA || both);
      }
    }
    row = next;
  }
  return row[b.length] === true;
}
