import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { verifies } from '@tollgate/testkit/verifies';
import { describe, expect, it } from 'vitest';
import { blocks } from './finding.ts';
import { scanContent } from './scan.ts';

interface Fixture {
  readonly content: unknown;
  readonly expect?: readonly string[];
}

function fixtures(folder: 'threats' | 'clean'): [name: string, fixture: Fixture][] {
  const place = join(import.meta.dirname, 'fixtures', folder);
  return readdirSync(place).map((file) => [file, JSON.parse(readFileSync(join(place, file), 'utf8')) as Fixture]);
}

describe('The scanner', () => {
  it('has 20 seeded threats and 20 clean inputs to be judged by', () => {
    expect(fixtures('threats')).toHaveLength(20);
    expect(fixtures('clean')).toHaveLength(20);
  });

  it.each(fixtures('threats'))('finds %s under its name, and blocks it', (_name, { content, expect: ids = [] }) => {
    verifies('R0-37');
    const findings = scanContent(content);
    expect(ids.length).toBeGreaterThan(0);
    expect(findings.map(({ id }) => id)).toEqual(expect.arrayContaining([...ids]));
    expect(findings.filter(({ id }) => ids.includes(id)).every(blocks)).toBe(true);
  });

  it.each(fixtures('clean'))('finds nothing in %s', (_name, { content }) => {
    expect(scanContent(content)).toEqual([]);
  });
});
