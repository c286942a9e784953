import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalPattern, covers, matches, overlap, patternProblem, reachesServer, specificity } from './globs.ts';

const pattern = fc
  .array(fc.constantFrom('a', 'b', '/', '*', '?', '[ab]', '[!a]', '\\*'), { minLength: 1, maxLength: 6 })
  .map((parts) => parts.join(''));
const texts = ['', ...words(['a', 'b', '/', '*'], 4)];

/** Every text over the letters of 1 to `length` characters. */
function words(letters: readonly string[], length: number): string[] {
  const shorter = length > 1 ? words(letters, length - 1) : [''];
  return [...new Set([...letters, ...shorter.flatMap((word) => [word, ...letters.map((letter) => word + letter)])])];
}

describe('overlap', () => {
  it('is true whenever a text matches both', () => {
    void fc.assert(
      fc.property(pattern, pattern, (a, b) => {
        const common = texts.some((text) => matches(a, text) && matches(b, text));
        if (common) expect(overlap(a, b), `${a} and ${b}`).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  it('is false whenever no short text matches both and one pattern has no star', () => {
    const short = pattern.filter((text) => !/(?<!\\)\*/.test(text)).filter((text) => text.length <= 4);
    void fc.assert(
      fc.property(short, pattern, (a, b) => {
        const common = [...texts, 'c', 'cc', 'ccc', 'cccc'].some((text) => matches(a, text) && matches(b, text));
        if (!common && overlap(a, b)) {
          // Some other letter than those tried may do: it must be one that only classes and `?` take.
          expect(`${a}${b}`).toMatch(/[?[]/);
        }
      }),
      { numRuns: 500 },
    );
  });

  it.each([
    ['a/*', 'b/*', false],
    ['*/x', 'a/*', true],
    ['a/read_*', 'a/*_file', true],
    ['a/read_*', 'a/sort_*', false],
    ['*', '', true],
    ['[a-c]x', '[d-f]x', false],
    ['[a-c]x', '[c-f]x', true],
  ])('%s and %s: %s', (a, b, answer) => {
    expect(overlap(a, b)).toBe(answer);
    expect(overlap(b, a)).toBe(answer);
  });
});

describe('covers', () => {
  it('is true only when everything the narrow one matches is matched by the wide one', () => {
    void fc.assert(
      fc.property(pattern, pattern, (wide, narrow) => {
        if (!covers(wide, narrow)) return;
        for (const text of texts)
          if (matches(narrow, text)) expect(matches(wide, text), `${wide} ${narrow} ${text}`).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  it('sees the common cases', () => {
    expect(covers('*/math_*', '*/math_add')).toBe(true);
    expect(covers('data://*', 'data://x/*')).toBe(true);
    expect(covers('data://x/*', 'data://*')).toBe(false);
  });
});

describe('patterns', () => {
  it('know their server, their form and their rank', () => {
    expect(reachesServer('files/*', 'files')).toBe(true);
    expect(reachesServer('read', 'files')).toBe(true);
    expect(reachesServer('fil?s/x', 'files')).toBe(true);
    expect(reachesServer('other/*', 'files')).toBe(false);
    expect(canonicalPattern('read')).toBe('*/read');
    expect(specificity('a/bc')).toBeGreaterThan(specificity('a/*bcdef'));
    expect(specificity('a/b*')).toBeGreaterThan(specificity('a/*'));
    expect(patternProblem('[a')).toMatch(/not closed/);
    expect(patternProblem('a*')).toBeUndefined();
  });
});
