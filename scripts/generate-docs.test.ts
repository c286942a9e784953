import { readFileSync } from 'node:fs';
import { verifies } from '@tollgate/testkit/verifies';
import { describe, expect, it } from 'vitest';
import { configJsonSchema } from '../packages/gateway/src/config/json-schema.ts';
import { processText } from '../packages/gateway/src/config/load.ts';
import { referenceSections } from '../packages/gateway/src/config/reference.ts';
import { generatedFiles } from './generate-docs.ts';

const read = (path: string) => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');

describe('generated pages', () => {
  it.each(generatedFiles())('$path is what the code says (npm run docs)', ({ path, text }) => {
    expect(read(path)).toBe(text);
  });

  it('name every key of the schema with a meaning', () => {
    verifies('R1-47');
    const sections = referenceSections();
    expect(sections.map(({ path }) => path)).toEqual(
      expect.arrayContaining([
        '',
        'caps',
        'servers.<name>',
        'servers.<name>.timeout',
        'routes[]',
        'auth[].bearer',
        'limits.<name>',
      ]),
    );
    for (const { path, keys } of sections) {
      for (const key of keys) {
        expect(key.about, `${path}.${key.name} has no description`).not.toBe('');
      }
    }
  });

  it('has an example that loads without a warning', () => {
    const yaml = /```yaml\n([\s\S]*?)```/.exec(read('docs/configuration.md'))![1]!;
    const env = { EXA_API_KEY: 'a-value-of-some-length', CI_TOKEN: 'another-value-of-some-length' };
    const context = { file: '/project/tollgate.yaml', kind: 'yaml', env, name: 'example', cwd: '/project' } as const;
    expect(processText(Buffer.from(yaml), context).warnings).toEqual([]);
  });

  it('gives editors a schema that refuses unknown keys and knows defaults', () => {
    const schema = configJsonSchema() as {
      additionalProperties: unknown;
      properties: Record<string, { default?: unknown }>;
    };
    expect(schema.additionalProperties).toBe(false);
    expect(schema.properties['listen']?.default).toBe('127.0.0.1:7117');
  });
});
