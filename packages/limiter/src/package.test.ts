import { readdirSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';

it('stands alone: no dependencies, nothing of Node', () => {
  const read = (path: string) => readFileSync(new URL(path, import.meta.url), 'utf8');
  const manifest = JSON.parse(read('../package.json')) as Record<string, unknown>;
  expect(manifest['dependencies'] ?? {}).toEqual({});
  const sources = readdirSync(new URL('.', import.meta.url)).filter(
    (name) => name.endsWith('.ts') && !name.endsWith('.test.ts'),
  );
  expect(sources.length).toBeGreaterThan(5);
  for (const name of sources) {
    for (const [, from] of read(name).matchAll(/\bfrom\s+'([^']+)'/g)) expect(from, name).toMatch(/^\.\/[a-z-]+\.ts$/);
  }
});
