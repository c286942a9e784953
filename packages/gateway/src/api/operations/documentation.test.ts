import { globSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { verifies } from '@tollgate/testkit/verifies';
import { describe, expect, it } from 'vitest';
import { MAX_BYTES, MAX_DEPTH, MAX_ITEMS, MAX_KEYS, MAX_NUMBER, MAX_STRING } from './bounds.ts';
import { PROBLEM_STATUS } from './problem.ts';
import { standardOperations } from './standard.ts';

const page = readFileSync(resolve(import.meta.dirname, '../../../../../docs/operations-api.md'), 'utf8');
const grouped = (value: number): string => value.toLocaleString('en-US');

describe('docs/operations-api.md', () => {
  it('has every operation, every error with its status, and every bound', () => {
    verifies('R0-44', 'X0-09');
    for (const { name } of standardOperations()) expect(page).toContain(`\`${name}\``);
    for (const [reason, status] of Object.entries(PROBLEM_STATUS))
      expect(page).toContain(`| \`${reason}\` | ${status} |`);
    expect(page).toContain(`${grouped(MAX_BYTES)} bytes`);
    expect(page).toContain(`${grouped(MAX_STRING)} characters`);
    expect(page).toContain(`${MAX_ITEMS} items`);
    expect(page).toContain(`${MAX_KEYS} keys`);
    expect(page).toContain(`| nesting | ${MAX_DEPTH} |`);
    expect(page).toContain(`from 0 to ${grouped(MAX_NUMBER)}`);
  });

  it('has every id that a scan can find, and every reason of a denial', () => {
    const sources = [...globSync('scan/*.ts', { cwd: import.meta.dirname })]
      .filter((file) => !file.endsWith('.test.ts'))
      .map((file) => readFileSync(resolve(import.meta.dirname, file), 'utf8'));
    const ids = sources.flatMap((text) => [...text.matchAll(/\bid: '([a-z_]+)'/g)].map(([, id]) => id!));
    expect(ids.length).toBeGreaterThan(20);
    for (const id of new Set(ids)) expect(page).toContain(`\`${id}\``);
    const checks = readFileSync(resolve(import.meta.dirname, 'limits-check.ts'), 'utf8');
    const table = checks.slice(checks.indexOf('REASONS'), checks.indexOf('};'));
    for (const [, reason] of table.matchAll(/: '([a-z_]+)'/g)) expect(page).toContain(`\`${reason}\``);
  });
});
