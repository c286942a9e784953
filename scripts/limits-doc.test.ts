import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { loadCases } from '../packages/gateway/src/config/cases.ts';
import { type CompiledConfig, compile } from '../packages/gateway/src/config/compile.ts';
import { loadConfig } from '../packages/gateway/src/config/load.ts';
import { runCase } from '../packages/gateway/src/pipeline/case-run.ts';

const PAGE = readFileSync(new URL('../docs/limits.md', import.meta.url), 'utf8');
const SERVERS = ['files', 'exa', 'math', 'apify'];
const folder = mkdtempSync(join(tmpdir(), 'tollgate-limits-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** The YAML blocks of the page under their heading: configurations, and cases for the configuration before them. */
const blocks = [...PAGE.matchAll(/^## ([^\n]+)$|^```yaml\n(.*?)^```/gms)].reduce<{ heading: string; code: string }[]>(
  (found, [, heading, code]) => {
    const last = found.at(-1)?.heading ?? '';
    if (heading !== undefined) found.push({ heading, code: '' });
    else found.push({ heading: last, code: code ?? '' });
    return found;
  },
  [],
);
const codes = blocks.filter(({ code }) => code !== '');
const pairs = codes.flatMap(({ heading, code }, i) =>
  code.startsWith('cases:') ? [] : [{ heading, config: code, cases: casesAfter(i) }],
);

function casesAfter(i: number): string | undefined {
  const next = codes[i + 1]?.code;
  return next?.startsWith('cases:') === true ? next : undefined;
}

/** A block is a part of a file: the servers that the page speaks of stand before it. */
async function configuration(block: string): Promise<CompiledConfig> {
  const servers = SERVERS.map((name) => `  ${name}: { url: "http://127.0.0.1:9/mcp" }\n`).join('');
  const file = join(folder, 'tollgate.yaml');
  writeFileSync(file, `version: 1\nservers:\n${servers}${block}`);
  const { config, warnings } = await loadConfig(file, { env: { SVC_TOKEN: 'a-token-that-is-long-enough' } });
  expect(warnings.filter(({ what }) => !what.includes('price'))).toEqual([]);
  return compile(config);
}

describe('docs/limits.md', () => {
  it('has a configuration under every heading that needs one, with cases where it makes claims', () => {
    expect(pairs.length).toBeGreaterThanOrEqual(7);
    expect(pairs.filter(({ cases }) => cases === undefined).map(({ heading }) => heading)).toEqual(['Session guard']);
  });

  it.each(pairs)('$heading: the configuration loads and does what is said', async ({ config, cases }) => {
    const compiled = await configuration(config);
    if (cases === undefined) return;
    const file = join(folder, 'cases.yaml');
    writeFileSync(file, cases);
    const results = [];
    for (const test of await loadCases(file, compiled)) results.push(await runCase(test, compiled));
    expect(results.length).toBeGreaterThan(0);
    expect(results.filter(({ failures }) => failures.length > 0)).toEqual([]);
  });

  it('says how sessions are limited, and that every process counts for itself', () => {
    const guard = PAGE.slice(PAGE.indexOf('## Session guard'), PAGE.indexOf('## Asking'));
    expect(guard).toContain('local to the process');
    expect(guard).toContain('The session is counted first');
  });
});
