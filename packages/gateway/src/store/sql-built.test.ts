import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';

const ROOT = join(import.meta.dirname, '..');
/** Where text becomes SQL: constant names of columns and types, and statements of migrations. No caller's word gets there. */
const RAW = ['store/migrations.ts', 'store/sql-text.ts'];
/** Literals of the code's own: numbers and states. */
const LITERAL =
  /^sql\.lit\((?:[A-Z_]+|'[a-z]+'|i|size \+ 1|of|to|accessReason|natural\(count, 'keep'\)|Number\.MAX_SAFE_INTEGER)\)/;

const sources = readdirSync(ROOT, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts') && !/\.test\.ts$|fixtures/.test(name))
  .map((name) => ({ name: relative('.', name), text: readFileSync(join(ROOT, name), 'utf8') }));

describe('SQL', () => {
  it('CVE-2026-42208: is never put together from texts, anywhere', () => {
    expect(sources.length).toBeGreaterThan(200);
    for (const { name, text } of sources) {
      if (/\bsql\.raw\(/.test(text)) expect(RAW, name).toContain(name);
      for (const { index } of text.matchAll(/\bsql\.lit\(/g)) {
        expect(text.slice(index, index + 60), name).toMatch(LITERAL);
      }
      // Statements given to a driver directly: one constant text, without a place to fill in and without a sum.
      for (const [call] of text.matchAll(/\b(?:client|database|db|connection|pool)\.(?:query|exec|prepare)\([^\n]*/g)) {
        expect(call, name).toMatch(/\((?:'[^'+]*'\)|`[^`$]*`|text\)|query\))/);
      }
    }
  });

  it('this rule sees what it forbids', () => {
    expect('sql.lit(request.id)').not.toMatch(LITERAL);
    expect("sql.lit('open')").toMatch(LITERAL);
  });
});
