import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { readThreats, type Tests } from './threats.ts';

const read = (path: string) => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');

/** How many rows each table of the threat model has, and those of them that belong to what does not exist yet. */
const TABLES = { 'T1.1': 18, 'T1.2': 17, 'T1.3': 7, 'T1.5': 10 } as const;
const LATER = ['T1.5-05']; // the audit log
const CLOSED = Object.entries(TABLES)
  .flatMap(([table, rows]) => Array.from({ length: rows }, (_, i) => `${table}-${String(i + 1).padStart(2, '0')}`))
  .filter((id) => !LATER.includes(id));

/** What happened elsewhere; each is replayed by a test that is named after it, or has its reason. */
const HAPPENED = [
  ...['CVE-2025-6514', 'CVE-2025-49596', 'CVE-2026-23744', 'CVE-2025-64443', 'CVE-2025-66416', 'CVE-2026-34742'],
  ...['CVE-2026-25536', 'CVE-2026-0621', 'CVE-2026-27896', 'GHSA-4gph-2hhr-5mwg', 'CVE-2026-29791'],
  ...['GHSA-mvgg-jvj2-4frq', 'agentgateway #2397', 'GHSA-g53w-w6mj-hrpp', 'CVE-2026-33946', 'CVE-2026-27124'],
  ...['CVE-2025-69196', 'GHSA-c2jp-c369-7pvx', 'CVE-2026-42208', 'CVE-2026-42271', 'CVE-2026-48710'],
  ...['CVE-2026-35030', 'CVE-2026-12796', '#34732', '#40095', '#26672', '#24682', 'LiteLLM 1.82.7', 'ContextForge'],
  ...['MetaMCP', 'CVE-2026-33032', 'OX Security', 'Asana', 'Smithery', 'postmark-mcp', 'CVE-2025-54136'],
  ...['CVE-2026-22817', 'CVE-2026-24472', 'CVE-2026-30827', 'CVE-2026-21710', 'CVE-2026-21714', 'CVE-2026-21717'],
  ...['CVE-2026-21637', 'CVE-2026-22036', 'CVE-2026-17578'],
];

const { sections, incidents } = readThreats();
const threats = sections.flatMap((section) => section.threats);

describe('docs/threats.yaml', () => {
  it('has every row of the threat tables, and every id once', () => {
    const ids = [...threats, ...incidents].map(({ id }) => id);
    expect(ids).toEqual(expect.arrayContaining(CLOSED));
    expect(ids.filter((id, i) => ids.indexOf(id) !== i)).toEqual([]);
    for (const id of ids) expect(id).toMatch(/^(T1\.\d|[A-Z])-\d\d$/);
    expect(threats.length).toBeGreaterThan(100);
  });

  it('has every incident, each with tests that are named after it or a reason', () => {
    expect(incidents.flatMap(({ names }) => names).sort()).toEqual([...HAPPENED].sort());
    for (const { case: name, names, tests, notHere } of incidents) {
      expect([name, tests === undefined]).toEqual([name, notHere !== undefined]);
      const titles = Object.values(tests ?? {}).flat();
      if (tests !== undefined) for (const one of names) expect(titles.join('\n'), name).toContain(one);
    }
  });

  it.each(threats)('$id, $threat: names tests that exist', ({ threat, behaviour, tests }) => {
    expect(threat).not.toBe('');
    expect(behaviour).not.toBe('');
    expect(missing(tests)).toEqual([]);
  });

  it.each(incidents)('$id, $case: names tests that exist', ({ tests }) => {
    if (tests !== undefined) expect(missing(tests)).toEqual([]);
  });
});

/** The tests that are not in their files, or that nobody could find there; a row without any lacks one. */
function missing(tests: Tests): string[] {
  const named = Object.entries(tests).flatMap(([file, titles]) => titles.map((title) => ({ file, title })));
  if (named.length === 0) return ['a test'];
  return named.filter((test) => !exists(test)).map(({ file, title }) => `${file}: ${title}`);
}

function exists({ file, title }: { readonly file: string; readonly title: string }): boolean {
  if (!/\.(test|e2e)\.ts$/.test(file) || !existsSync(new URL(`../${file}`, import.meta.url))) return false;
  // As a whole literal where a test, a group or a row of `it.each` begins: the title of one, not a part of one.
  const quotes = [`'${title.replaceAll("'", "\\'")}'`, `"${title}"`, `\`${title}\``];
  const source = read(file);
  return quotes.some((quoted) => new RegExp(`[([]\\s*${escaped(quoted)}\\s*,`).test(source));
}

function escaped(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
