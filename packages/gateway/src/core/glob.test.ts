import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compileCanonicalGlob, compileGlob } from './glob.ts';

describe('compileGlob', () => {
  it.each([
    ['math_*', 'math_add', true],
    ['math_*', 'math_', true],
    ['math_*', 'xmath_add', false],
    ['data://*', 'data://a/b/c', true],
    ['data://*', 'file://a', false],
    ['add', 'add', true],
    ['add', 'adds', false],
    ['*', '', true],
    ['*', 'a/b', true],
    ['a?c', 'abc', true],
    ['a?c', 'ac', false],
    ['?', '😀', true],
    ['*?', 'a😀', true],
    ['*?x', '😀x', true],
    ['??', '😀', false],
    ['[a-c]x', 'bx', true],
    ['[!a-c]x', 'bx', false],
    ['[^a-c]x', 'dx', true],
    ['[]]', ']', true],
    ['[a-]', '-', true],
    ['\\*', '*', true],
    ['\\*', 'a', false],
    ['*a*b*', 'xxaxxbxx', true],
    ['*a*b*', 'xxbxxaxx', false],
    ['ab*ba', 'aba', false],
    ['ab*ba', 'abba', true],
    ['*[0-9]', 'tool7', true],
    ['*[0-9]', 'tool', false],
    ['**', 'x', true],
    ['Add', 'add', false],
  ])('%s on %s: %s', (pattern, text, expected) => {
    expect(compileGlob(pattern).matches(text)).toBe(expected);
  });

  it.each(['', 'a[', '[a-', '[', 'a\\', '[z-a]'])('refuses %s with the fix', (pattern) => {
    expect(() => compileGlob(pattern)).toThrow(/The pattern ".*" is broken: .+; .+\./);
  });

  it('agrees with a naive matcher on short alphabets', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom('a', 'b', '*', '?'), minLength: 1, maxLength: 8 }),
        text(10),
        agrees,
      ),
      { numRuns: 500 },
    );
  });

  it('needs no more than linear work on the classic backtracking bait', () => {
    const glob = compileGlob(`${'*a'.repeat(20)}*?b`);
    const subject = 'a'.repeat(64 * 1024);
    expect(glob.matches(subject)).toBe(false);
    expect(glob.matches(`${subject}b`)).toBe(true);
  });
});

describe('compileCanonicalGlob', () => {
  it('reads a pattern without a slash as one for every server', () => {
    const glob = compileCanonicalGlob('delete_*');
    expect(glob.matches('files/delete_all')).toBe(true);
    expect(glob.matches('delete_all')).toBe(false);
    expect(compileCanonicalGlob('files/*').matches('exa/search')).toBe(false);
  });

  it('knows whether a pattern can match anything of a server', () => {
    expect(compileCanonicalGlob('math/*').canStartWith('math/')).toBe(true);
    expect(compileCanonicalGlob('mth/*').canStartWith('math/')).toBe(false);
    expect(compileCanonicalGlob('add').canStartWith('math/')).toBe(true);
    expect(compileCanonicalGlob('m?th/[ab]*').canStartWith('math/')).toBe(true);
    expect(compileCanonicalGlob('math/').canStartWith('math/')).toBe(false);
  });
});

function text(maxLength: number): fc.Arbitrary<string> {
  return fc.string({ unit: fc.constantFrom('a', 'b'), maxLength });
}

function agrees(pattern: string, subject: string): void {
  expect(compileGlob(pattern).matches(subject)).toBe(naive(pattern, subject));
}

function naive(pattern: string, subject: string): boolean {
  if (pattern === '') return subject === '';
  if (pattern[0] === '*') {
    return naive(pattern.slice(1), subject) || (subject !== '' && naive(pattern, subject.slice(1)));
  }
  return (
    subject !== '' && (pattern[0] === '?' || pattern[0] === subject[0]) && naive(pattern.slice(1), subject.slice(1))
  );
}
