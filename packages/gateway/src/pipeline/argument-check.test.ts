import { describe, expect, it } from 'vitest';
import { schemaCheck } from './argument-check.ts';

const text = (more: object) => schemaCheck({ type: 'object', properties: { a: { type: 'string', ...more } } });

describe('arguments against the schema of a server', () => {
  it('are checked, and what is wrong is said', () => {
    const check = text({ pattern: '^[a-z]+$', maxLength: 5 });
    expect(check({ a: 'abc' })).toBeUndefined();
    expect(check({ a: 'ABC' })).toContain('a');
    expect(check({ a: 7 })).toBeDefined();
  });

  it.each([
    ['^(a+)+$', 'a'],
    ['^(a|a)*$', 'a'],
    ['^(.*a){25}$', 'a'],
    ['(x+x+)+y', 'x'],
    ['^\\s*\\s*\\s*\\s*\\s*$', ' '],
  ])('are given up, not waited for, when the pattern %s backtracks for ever', (pattern, letter) => {
    // Each of these would hold the whole process for longer than the test may take.
    const check = text({ pattern });
    expect(check({ a: `${letter.repeat(5000)}!` })).toMatch(/takes longer than 100 ms/);
    expect(check({ a: 7 })).not.toMatch(/takes longer/);
  });

  it('are given up when alternatives multiply', () => {
    const levels = 22;
    const $defs = Object.fromEntries(
      Array.from({ length: levels }, (_, i) => [
        `n${i}`,
        i === levels - 1
          ? { const: 'never' }
          : { anyOf: [{ $ref: `#/$defs/n${i + 1}` }, { $ref: `#/$defs/n${i + 1}` }] },
      ]),
    );
    expect(schemaCheck({ $ref: '#/$defs/n0', $defs })({})).toMatch(/takes longer than 100 ms/);
  });

  it.each([
    ['a reference to itself', { $ref: '#' }],
    ['references in a circle', { $ref: '#/$defs/a', $defs: { a: { $ref: '#/$defs/b' }, b: { $ref: '#/$defs/a' } } }],
    ['a reference to the network', { $ref: 'http://127.0.0.1:9/schema.json' }],
    ['a pattern that is none', { type: 'object', properties: { a: { pattern: '(' } } }],
    ['depth', JSON.parse(`${'{"not":'.repeat(5000)}{}${'}'.repeat(5000)}`) as object],
    ['size', { enum: ['x'.repeat(70_000)] }],
  ])('cannot be checked with %s, and that is said', (_name, schema) => {
    expect(schemaCheck(schema as Record<string, unknown>)({ a: 'x' })).toMatch(
      /schema of the server (cannot|is larger|takes)/,
    );
  });
});
