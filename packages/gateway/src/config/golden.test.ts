import { readFileSync, writeFileSync } from 'node:fs';
import { verifies } from '@tollgate/testkit/verifies';
import { describe, expect, it } from 'vitest';
import { TollgateError } from '../core/errors.ts';
import { processText } from './load.ts';
import { formatProblems } from './problems.ts';

/**
 * Golden files: blocks of `=== title`, the input, `--- answer`, the exact answer. After a wanted change,
 * `UPDATE_GOLDEN=1` writes the answers anew; the difference is what a reviewer reads.
 */
const update = process.env['UPDATE_GOLDEN'] === '1';

const env = {
  TOKEN: 'value-of-TOKEN-0123456789',
  API_TOKEN: 'value-of-API_TOKEN-0123456789',
  LONG: 'value-of-LONG-01234567890123456789',
  EMPTY: '',
  HOME: '/home/ada',
};

interface Block {
  readonly title: string;
  readonly input: string;
  readonly answer: string;
}

function readBlocks(url: URL): Block[] {
  return readFileSync(url, 'utf8')
    .split(/^=== /m)
    .slice(1)
    .map((text) => {
      const [head = '', answer = ''] = text.split(/^--- answer\n/m);
      const end = head.indexOf('\n');
      return { title: head.slice(0, end), input: head.slice(end + 1), answer };
    });
}

function answerOf(input: string, kind: 'yaml' | 'mcp-json'): string {
  const name = kind === 'yaml' ? 'tollgate.yaml' : '.mcp.json';
  try {
    const loaded = processText(Buffer.from(input), { file: `/project/${name}`, kind, env, name, cwd: '/project' });
    const servers = JSON.stringify(loaded.config.servers, undefined, 1);
    return `${servers}\n${formatProblems(loaded.warnings, '/project')}`.trimEnd();
  } catch (error) {
    if (!TollgateError.is(error)) throw error;
    expect(error.code).toBe('config_invalid');
    return error.message;
  }
}

for (const [file, kind] of [
  ['bad.txt', 'yaml'],
  ['mcp-json.txt', 'mcp-json'],
  ['toolhive.txt', 'yaml'],
] as const) {
  const url = new URL(`./golden/${file}`, import.meta.url);
  const blocks = readBlocks(url).map((block) => ({ ...block, now: `${answerOf(block.input, kind)}\n` }));
  if (update) {
    writeFileSync(url, blocks.map((block) => `=== ${block.title}\n${block.input}--- answer\n${block.now}`).join(''));
  }
  describe(`golden/${file}`, () => {
    it.each(blocks)('$title', ({ answer, now }) => {
      // The words of the admission messages of ToolHive stand in golden/toolhive.txt.
      verifies('R3-04', 'R3-05');
      if (!update) expect(now).toBe(answer);
    });

    it('never shows the value of a variable in a mistake', () => {
      for (const { now } of blocks) if (!now.startsWith('{')) expect(now).not.toMatch(/value-of-/);
    });
  });
}

describe('golden/bad.txt', () => {
  it('has only configurations that are refused, and many', () => {
    const blocks = readBlocks(new URL('./golden/bad.txt', import.meta.url));
    expect(blocks.length).toBeGreaterThanOrEqual(60);
    for (const { answer } of blocks) expect(answer).toMatch(/^tollgate\.yaml has \d+ mistakes?:\n/);
    const mistakes = blocks.flatMap(({ answer }) => answer.trimEnd().split('\n').slice(1));
    expect(mistakes.length).toBeGreaterThanOrEqual(200);
  });
});
