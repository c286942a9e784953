/**
 * Patterns as the whole configuration uses them: `*` any run of characters (also across `/`), `?` one character,
 * `[...]` one of a set. Here they are analysed (can they match at all, do they overlap, which is more specific);
 * the hot path has its own compiled matcher.
 */

type Token =
  | { readonly kind: 'any' }
  | { readonly kind: 'one'; readonly accepts: (char: string) => boolean; readonly literal: string | undefined };

const ANY: Token = { kind: 'any' };

/** The sentence that says why a text is no pattern, or undefined when it is one. */
export function patternProblem(pattern: string): string | undefined {
  if (pattern === '') return 'A pattern cannot be empty.';
  if (pattern.length > 512) return 'A pattern has at most 512 characters.';
  for (let i = 0; i < pattern.length; i++) {
    if (pattern[i] !== '[') continue;
    const end = setEnd(pattern, i);
    if (end < 0) return 'The pattern has a [ without its ].';
    i = end;
  }
  return undefined;
}

/** Index of the `]` that closes the set opened at `start`, or -1. A `]` that stands first is a member. */
function setEnd(pattern: string, start: number): number {
  let from = start + 1;
  if (pattern[from] === '!' || pattern[from] === '^') from++;
  return pattern.indexOf(']', pattern[from] === ']' ? from + 1 : from);
}

function tokens(pattern: string): Token[] {
  const out: Token[] = [];
  for (let i = 0; i < pattern.length; i++) {
    const char = pattern[i]!;
    if (char === '*') {
      if (out.at(-1)?.kind !== 'any') out.push(ANY);
    } else if (char === '?') {
      out.push({ kind: 'one', accepts: () => true, literal: undefined });
    } else if (char === '[' && setEnd(pattern, i) > 0) {
      const end = setEnd(pattern, i);
      out.push({ kind: 'one', accepts: setTest(pattern.slice(i + 1, end)), literal: undefined });
      i = end;
    } else {
      out.push({ kind: 'one', accepts: (other) => other === char, literal: char });
    }
  }
  return out;
}

function setTest(body: string): (char: string) => boolean {
  const negated = body[0] === '!' || body[0] === '^';
  const members = negated ? body.slice(1) : body;
  const ranges: [string, string][] = [];
  for (let i = 0; i < members.length; i++) {
    if (members[i + 1] === '-' && i + 2 < members.length) {
      ranges.push([members[i]!, members[i + 2]!]);
      i += 2;
    } else ranges.push([members[i]!, members[i]!]);
  }
  return (char) => ranges.some(([low, high]) => char >= low && char <= high) !== negated;
}

const ASCII = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i));

function meet(a: Token, b: Token): boolean {
  if (a.kind === 'any' || b.kind === 'any') return true;
  if (a.literal !== undefined) return b.accepts(a.literal);
  if (b.literal !== undefined) return a.accepts(b.literal);
  return ASCII.some((char) => a.accepts(char) && b.accepts(char));
}

/** True when some text matches both patterns. */
export function overlap(first: string, second: string): boolean {
  const a = tokens(first);
  const b = tokens(second);
  // reachable[j]: the first i tokens of a and the first j of b can have consumed the same text.
  let row = new Array<boolean>(b.length + 1).fill(false);
  for (let i = 0; i <= a.length; i++) {
    const next = new Array<boolean>(b.length + 1).fill(false);
    for (let j = 0; j <= b.length; j++) {
      if (i === 0 && j === 0) next[j] = true;
      else {
        const above = i > 0 && row[j]! && a[i - 1]!.kind === 'any';
        const left = j > 0 && next[j - 1]! && b[j - 1]!.kind === 'any';
        const stayA = i > 0 && j > 0 && a[i - 1]!.kind === 'any' && next[j - 1]!;
        const stayB = i > 0 && j > 0 && b[j - 1]!.kind === 'any' && row[j]!;
        const both = i > 0 && j > 0 && row[j - 1]! && meet(a[i - 1]!, b[j - 1]!);
        next[j] = above || left || stayA || stayB || both;
      }
    }
    row = next;
  }
  return row[b.length]!;
}

/** True when the pattern matches the text. */
export function matches(pattern: string, value: string): boolean {
  return overlap(
    pattern,
    value.replaceAll(/[*?[]/g, (char) => `[${char}]`),
  );
}

export function isExact(pattern: string): boolean {
  return !/[*?[]/.test(pattern);
}

/** More is more specific: exact names before patterns, then the number of fixed characters. */
export function specificity(pattern: string): number {
  if (isExact(pattern)) return 1_000_000 + pattern.length;
  return tokens(pattern).filter((token) => token.kind === 'one').length;
}

/** A pattern on canonical ids: one without `/` stands for `*` + `/pattern`. */
export function canonicalPattern(pattern: string): string {
  return pattern.includes('/') ? pattern : `*/${pattern}`;
}

/** True when a canonical pattern can name something of a server. */
export function reachesServer(pattern: string, server: string): boolean {
  return overlap(canonicalPattern(pattern), `${server}/*`);
}
