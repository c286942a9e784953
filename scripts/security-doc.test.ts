import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

const read = (path: string) => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');

/** The rows of the threat table that every body, header, path and name must pass; none may be missing from the page. */
const PARSING = [
  'Header/body mismatch',
  'Duplicate HTTP headers',
  'Duplicate JSON keys',
  'Case-variant keys',
  'Number differentials',
  'Text differentials',
  'Depth, size, breadth',
  'Differential fuzz',
  'Body truncation for inspection',
  'HTTP request smuggling',
  'URL building',
  'Prototype pollution',
  'ReDoS',
  'Schema DoS',
  'Path traversal',
  'JSON-RPC batch',
  'CRLF and log injection',
];

interface Row {
  readonly threat: string;
  readonly tests: readonly { readonly file: string; readonly title: string }[];
}

function rowsOf(page: string): Row[] {
  const section = page.slice(page.indexOf('## Threats, behaviour, tests'), page.indexOf('## Not in this version'));
  return section
    .split('\n')
    .filter((line) => line.startsWith('| ') && !line.startsWith('| Threat |'))
    .map((line) => {
      const [threat = '', , cell = ''] = line.slice(2).split(' | ');
      const tests = cell
        .replace(/ \|$/, '')
        .split('<br>')
        .map((test) => {
          const [, file = '', title = ''] = /^`([^`]+)`: (.+)$/.exec(test) ?? [];
          return { file, title: title.replaceAll('\\`', '`') };
        });
      return { threat, tests };
    });
}

const rows = rowsOf(read('docs/security.md'));

describe('docs/security.md', () => {
  it('has every row of the parsing table, and enough rows', () => {
    expect(rows.map(({ threat }) => threat)).toEqual(expect.arrayContaining(PARSING));
    expect(rows.length).toBeGreaterThan(PARSING.length + 15);
  });

  it.each(rows)('$threat names tests that exist', ({ tests }) => {
    for (const { file, title } of tests) {
      expect(file, title).toMatch(/\.(test|e2e)\.ts$/);
      expect(existsSync(new URL(`../${file}`, import.meta.url)), file).toBe(true);
      const source = read(file);
      // As a whole literal after an opening parenthesis: the title of a test or a group, not a part of one.
      const quotes = [`'${title.replaceAll("'", "\\'")}'`, `"${title}"`, `\`${title}\``];
      const named = quotes.some((quoted) => new RegExp(`\\(\\s*${escaped(quoted)}\\s*,`).test(source));
      expect(named, `${file} has no test "${title}"`).toBe(true);
    }
  });
});

function escaped(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
