import { describe, expect, it } from 'vitest';
import { runClientScenarios, runSignInScenarios } from './client-scenarios.ts';
import { expectedFailures, judge } from './expectations.ts';
import { listScenarios, runServerSuite, VERSIONS, type Version } from './suite.ts';
import { startTarget, TARGETS, type TargetLetter } from './targets.ts';

const full = process.env['TOLLGATE_PROOF'] === 'full';

/**
 * Every server with both eras of clients, and every scenario: those of 2025-06-18 are part of those of 2025-11-25. All
 * twelve with `npm run conformance` and in the full proof.
 */
const SOME: Readonly<Record<TargetLetter, readonly Version[]>> = {
  a: ['2026-07-28', '2025-06-18'],
  b: ['2026-07-28', '2025-11-25'],
  c: ['2026-07-28', '2025-11-25'],
  d: ['2026-07-28', '2025-06-18'],
};

describe.each(Object.keys(TARGETS) as TargetLetter[])('the official suite through the gateway, target %s', (letter) => {
  it.concurrent.each(full ? VERSIONS : SOME[letter])('%s: no failure beyond the expected ones', async (version) => {
    await using target = await startTarget(letter);
    const result = await runServerSuite(target.url, version);
    expect(result.scenarios.length, result.output).toBe((await listScenarios('server', version)).length);
    const verdict = judge(result, expectedFailures(TARGETS[letter].name, version));
    expect(verdict.unexpected, target.transcript()).toEqual([]);
    expect(verdict.stale).toEqual([]);
  });
});

describe('client scenarios without sign-in, through the gateway', () => {
  it.each(full ? VERSIONS : VERSIONS.slice(0, 2))('%s', async (version) => {
    const result = await runClientScenarios(version);
    expect(result.scenarios.length).toBeGreaterThan(0);
    const verdict = judge(result, expectedFailures('client', version));
    expect(verdict.unexpected, result.output).toEqual([]);
    expect(verdict.stale).toEqual([]);
  });
});

/** One of each kind; all of them with `npm run conformance` and in the full proof. */
const SOME_SIGN_INS = [
  'auth/metadata-var3',
  'auth/basic-cimd',
  'auth/scope-step-up',
  'auth/authorization-server-migration',
  'auth/iss-wrong-issuer',
  'auth/enterprise-managed-authorization',
];

describe('sign-in scenarios, with the gateway’s own OAuth client', () => {
  it.each(full ? VERSIONS : VERSIONS.slice(0, 1))('%s: no failure', async (version) => {
    const result = await runSignInScenarios(version, full ? undefined : SOME_SIGN_INS);
    expect(result.scenarios.length).toBeGreaterThan(full ? 2 : SOME_SIGN_INS.length - 1);
    const verdict = judge(result, expectedFailures('client', version));
    expect(verdict.unexpected, result.output).toEqual([]);
    expect(verdict.stale).toEqual([]);
  });
});

describe('judge', () => {
  const run = (...checks: string[]) => ({
    passed: 0,
    failures: checks.map((check) => ({ check, detail: '' })),
    scenarios: [],
    seconds: 0,
    output: '',
  });
  const entry = (check: string) => ({ check, reason: 'r', clause: 'c' });

  it('accepts a listed check, and a listed scenario with all its checks', () => {
    const verdict = judge(run('a:x', 'b:y', 'b:z'), [entry('a:x'), entry('b')]);
    expect(verdict).toEqual({ unexpected: [], stale: [], expected: 3 });
  });
  it('reports a failure that is not listed', () => {
    expect(judge(run('a:x', 'a:y'), [entry('a:x')]).unexpected).toEqual(['a:y  ']);
  });
  it('reports an entry that no longer fails', () => {
    expect(judge(run(), [entry('a:x'), entry('b')]).stale).toEqual(['a:x', 'b']);
  });
});
