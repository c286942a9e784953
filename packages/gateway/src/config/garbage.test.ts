import { readFileSync } from 'node:fs';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TollgateError } from '../core/errors.ts';
import { compile } from './compile.ts';
import { explainConfig } from './explain.ts';
import { loadText } from './testing.ts';

const page = readFileSync(new URL('../../../../docs/configuration.md', import.meta.url), 'utf8');
const yaml = /```yaml\n([\s\S]*?)```/.exec(page)![1]!;
const json =
  '{"mcpServers": {"a": {"command": "npx", "args": ["-y", "${X:-x}"], "env": {"K": "${TOKEN}"}, "timeout": 60}, "b": {"url": "https://b", "headers": {"k": "v"}}}, "inputs": [{"id": "a"}]}';
const env = { EXA_API_KEY: 'a-value-of-some-length', CI_TOKEN: 'another-value-of-some-length', TOKEN: 't' };

/** Loads, and when that works goes on to the end; every failure must be the one that a person can read. */
function survives(text: string, kind: 'yaml' | 'mcp-json'): void {
  try {
    const loaded = loadText(text, env, kind);
    explainConfig(loaded, compile(loaded.config, {}));
  } catch (error) {
    if (!TollgateError.is(error)) throw error;
    expect(error.code).toBe('config_invalid');
    expect(error.message).not.toContain('another-value-of-some-length');
  }
}

const edit = fc.record({
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  remove: fc.nat({ max: 12 }),
  insert: fc.oneof(
    fc.constantFrom(
      '',
      '\n',
      '  ',
      '\t',
      '*',
      '&a ',
      '${',
      '}',
      '[',
      '{',
      '"',
      "'",
      ': ',
      ', ',
      '- ',
      '#',
      '!!x ',
      '\0',
      '|',
      '>',
      '\ufeff',
      '__proto__: ',
      '9',
    ),
    fc.string({ maxLength: 4 }),
  ),
});

describe('a damaged file', () => {
  it.each([
    ['yaml', yaml],
    ['mcp-json', json],
  ] as const)('of kind %s ends in a readable mistake or in a configuration', (kind, text) => {
    void fc.assert(
      fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), (edits) => {
        const damaged = edits.reduce((now, { at, remove, insert }) => {
          const start = Math.floor(at * now.length);
          return now.slice(0, start) + insert + now.slice(start + remove);
        }, text);
        survives(damaged, kind);
      }),
      { numRuns: 300 },
    );
  });

  it('cut off at any byte ends the same way', () => {
    for (let end = 0; end < yaml.length; end += 7) survives(yaml.slice(0, end), 'yaml');
    for (let end = 0; end < json.length; end += 3) survives(json.slice(0, end), 'mcp-json');
  });
});
