/**
 * Shell-style patterns of the operator: `*` any characters (`/` too), `?` one character, `[a-z]` and `[!a-z]`
 * classes, `\` takes the next character literally. Case matters. Routes, allow and deny lists use this one matcher,
 * so that what a rule covers and where a call goes can never disagree. Names come from servers and clients, so
 * matching never backtracks: its time grows linearly with the name for a given pattern.
 */
import { TollgateError } from './errors.ts';

export interface Glob {
  readonly source: string;
  /** The one string it matches, when it has no wildcard. */
  readonly exact: string | undefined;
  matches(text: string): boolean;
  /** True when some text that starts with `prefix` matches: a pattern for which none can is a mistake. */
  canStartWith(prefix: string): boolean;
}

interface CharClass {
  readonly negated: boolean;
  /** Code points: low, high, low, high, … */
  readonly ranges: readonly number[];
}

/** A literal character, a class, or `any` for `?`. */
type Atom = string | CharClass | typeof ANY;
const ANY = Symbol('any');

/** What stands between two stars. `literal` is set when it has no `?` and no class. */
interface Segment {
  readonly atoms: readonly Atom[];
  readonly literal: string | undefined;
}

const MAX_PATTERN = 1024;

/** Compiles a pattern. Throws `config_invalid` naming the pattern, the character and the fix. */
export function compileGlob(pattern: string): Glob {
  const segments = parse(pattern);
  const first = segments[0]!;
  if (segments.length === 1 && first.literal !== undefined) return new SegmentGlob(pattern, segments, first.literal);
  return new SegmentGlob(pattern, segments, undefined);
}

/** Compiles a pattern over canonical ids `server/name`: one without `/` means `*` + `/pattern`, any server. */
export function compileCanonicalGlob(pattern: string): Glob {
  return compileGlob(pattern.includes('/') ? pattern : `*/${pattern}`);
}

class SegmentGlob implements Glob {
  readonly source: string;
  readonly exact: string | undefined;
  readonly #segments: readonly Segment[];

  constructor(source: string, segments: readonly Segment[], exact: string | undefined) {
    this.source = source;
    this.#segments = segments;
    this.exact = exact;
  }

  matches(text: string): boolean {
    if (this.exact !== undefined) return text === this.exact;
    const segments = this.#segments;
    const last = segments.length - 1;
    let at = matchAt(segments[0]!, text, 0);
    if (at < 0) return false;
    if (last === 0) return at === text.length;
    // Between two stars the leftmost place is always as good as any later one, so nothing is ever retried.
    for (let i = 1; i < last; i++) {
      at = find(segments[i]!, text, at);
      if (at < 0) return false;
    }
    return endsWith(segments[last]!, text, at);
  }

  canStartWith(prefix: string): boolean {
    const atoms: (Atom | undefined)[] = [];
    this.#segments.forEach((segment, i) => {
      if (i > 0) atoms.push(undefined);
      atoms.push(...segment.atoms);
    });
    // Every state can still reach the end, as each atom matches something: so a live state is enough.
    let states = closure(atoms, new Set([0]));
    for (const char of prefix) {
      const next = new Set<number>();
      for (const state of states) {
        if (state >= atoms.length) continue;
        const atom = atoms[state];
        if (atom === undefined) next.add(state);
        else if (matchesAtom(atom, char)) next.add(state + 1);
      }
      states = closure(atoms, next);
      if (states.size === 0) return false;
    }
    return states.size > 1 || !states.has(atoms.length);
  }
}

function closure(atoms: readonly (Atom | undefined)[], states: Set<number>): Set<number> {
  for (const state of states) if (state < atoms.length && atoms[state] === undefined) states.add(state + 1);
  return states;
}

/** Index after the segment when it stands at `at`, else -1. */
function matchAt(segment: Segment, text: string, at: number): number {
  if (segment.literal !== undefined) return text.startsWith(segment.literal, at) ? at + segment.literal.length : -1;
  for (const atom of segment.atoms) {
    const point = text.codePointAt(at);
    if (point === undefined) return -1;
    const char = String.fromCodePoint(point);
    if (!matchesAtom(atom, char)) return -1;
    at += char.length;
  }
  return at;
}

/** Index after the leftmost occurrence at or after `from`, else -1. */
function find(segment: Segment, text: string, from: number): number {
  if (segment.literal !== undefined) {
    const at = text.indexOf(segment.literal, from);
    return at < 0 ? -1 : at + segment.literal.length;
  }
  for (let at = from; at < text.length; at++) {
    if (insidePair(text, at)) continue;
    const end = matchAt(segment, text, at);
    if (end >= 0) return end;
  }
  return -1;
}

function endsWith(segment: Segment, text: string, from: number): boolean {
  if (segment.literal !== undefined) {
    return text.length - segment.literal.length >= from && text.endsWith(segment.literal);
  }
  let start = text.length;
  for (let i = 0; i < segment.atoms.length; i++) {
    if (start <= from) return false;
    start -= insidePair(text, start - 1) ? 2 : 1;
  }
  return start >= from && matchAt(segment, text, start) === text.length;
}

/** True when the character at `at` is the second half of a surrogate pair. */
function insidePair(text: string, at: number): boolean {
  const unit = text.charCodeAt(at);
  if (unit < 0xdc00 || unit > 0xdfff || at === 0) return false;
  const before = text.charCodeAt(at - 1);
  return before >= 0xd800 && before <= 0xdbff;
}

function matchesAtom(atom: Atom, char: string): boolean {
  if (typeof atom === 'string') return atom === char;
  if (atom === ANY) return true;
  const point = char.codePointAt(0)!;
  for (let i = 0; i < atom.ranges.length; i += 2) {
    if (point >= atom.ranges[i]! && point <= atom.ranges[i + 1]!) return !atom.negated;
  }
  return atom.negated;
}

function parse(pattern: string): Segment[] {
  if (pattern === '') throw broken(pattern, 'it is empty', 'write "*" to match everything');
  if (pattern.length > MAX_PATTERN) throw broken(pattern, `it is longer than ${MAX_PATTERN} characters`, 'shorten it');
  const chars = [...pattern];
  const segments: Segment[] = [];
  let atoms: Atom[] = [];
  let i = 0;
  while (i < chars.length) {
    const char = chars[i++]!;
    if (char === '*') {
      if (segments.length === 0 || atoms.length > 0) segments.push(toSegment(atoms));
      atoms = [];
    } else if (char === '?') {
      atoms.push(ANY);
    } else if (char === '\\') {
      if (i === chars.length) throw broken(pattern, 'it ends with a backslash', 'write "\\\\" for a backslash');
      atoms.push(chars[i++]!);
    } else if (char === '[') {
      const [charClass, next] = parseClass(pattern, chars, i);
      atoms.push(charClass);
      i = next;
    } else {
      atoms.push(char);
    }
  }
  segments.push(toSegment(atoms));
  return segments;
}

function parseClass(pattern: string, chars: readonly string[], at: number): [CharClass, number] {
  let i = at;
  const negated = chars[i] === '!' || chars[i] === '^';
  if (negated) i++;
  const ranges: number[] = [];
  let first = true;
  for (;;) {
    let low = chars[i++];
    if (low === ']' && !first) return [{ negated, ranges }, i];
    first = false;
    if (low === '\\') low = chars[i++];
    if (low === undefined) throw broken(pattern, 'a "[" is not closed', 'close it with "]" or write "\\["');
    let high = low;
    if (chars[i] === '-' && chars[i + 1] !== undefined && chars[i + 1] !== ']') {
      i++;
      high = chars[i++]!;
      if (high === '\\') high = chars[i++] ?? low;
    }
    const from = low.codePointAt(0)!;
    const to = high.codePointAt(0)!;
    if (to < from) throw broken(pattern, `the range "${low}-${high}" is backwards`, `write "${high}-${low}"`);
    ranges.push(from, to);
  }
}

function toSegment(atoms: readonly Atom[]): Segment {
  return { atoms, literal: atoms.every((atom) => typeof atom === 'string') ? atoms.join('') : undefined };
}

function broken(pattern: string, what: string, fix: string): TollgateError {
  const shown = pattern.length > 80 ? `${pattern.slice(0, 80)}…` : pattern;
  return new TollgateError('config_invalid', `The pattern "${shown}" is broken: ${what}; ${fix}.`);
}
