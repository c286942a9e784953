import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { verifies } from '@tollgate/testkit/verifies';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { bench, claims, FakeIssuer, ISSUER, jwkOf, newKey, rawToken, token, tokenEntry } from './testing.ts';

const OLD = newKey('ES256');
const NEW = newKey('ES256');
const URL_KEYS = { kind: 'url' as const, url: `${ISSUER}/jwks` };
const MINUTE = 60_000;

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }));
afterEach(() => void vi.useRealTimers());

function rig(keys: Parameters<typeof tokenEntry>[0] = URL_KEYS, prepare: (issuer: FakeIssuer) => void = () => {}) {
  const issuer = new FakeIssuer();
  issuer.publish(jwkOf(OLD, { kid: 'old' }));
  prepare(issuer);
  const made = bench([tokenEntry(keys, { algorithms: ['ES256'] })], {}, issuer);
  return {
    ...made,
    /** Both kinds of time. */
    async pass(ms: number) {
      made.clock.advance(ms);
      await vi.advanceTimersByTimeAsync(ms);
      await settled();
    },
    state: () => made.identity.view[0]!,
  };
}
const settled = async () => {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
};
const by = (key: typeof OLD, kid: string, more: Record<string, unknown> = {}) =>
  token({ key, header: { kid }, claims: { exp: 2e9, ...more } });

describe('keys of an issuer', () => {
  it('that came first are used for every token, and were fetched once', async () => {
    verifies('R1-09');
    const { accepted, issuer } = rig();
    const all = await Promise.all(Array.from({ length: 20 }, (_, i) => accepted(by(OLD, 'old', { jti: `${i}` }))));
    expect(all).toHaveLength(20);
    expect(issuer.asked).toEqual([URL_KEYS.url]);
  });

  it('are fetched at most once a minute for ids that nobody knows, whoever sends ten thousand of them', async () => {
    const { outcome, issuer, pass } = rig();
    await outcome(by(OLD, 'old'));
    expect(issuer.asked).toHaveLength(1);
    const count = process.env['TOLLGATE_PROOF'] === 'full' ? 100_000 : 10_000;
    const tail = rawToken('{}', '{}', 'ES256', NEW.privateKey).split('.')[2];
    const body = Buffer.from(JSON.stringify(claims())).toString('base64url');
    for (let at = 0; at < count; at += 1000) {
      const sent = Array.from({ length: 1000 }, (_, i) =>
        Buffer.from(`{"alg":"ES256","kid":"k${at + i}"}`).toString('base64url'),
      );
      const got = await Promise.all(sent.map((head) => outcome(`${head}.${body}.${tail}`)));
      // Who came while too many waited for the one fetch may come again.
      expect(new Set(got)).toEqual(new Set(at === 0 ? ['unauthorized', 'identity_unavailable'] : ['unauthorized']));
    }
    expect(issuer.asked).toHaveLength(2);
    await pass(MINUTE);
    await Promise.all([outcome(by(NEW, 'x')), outcome(by(NEW, 'y'))]);
    expect(issuer.asked).toHaveLength(3);
  });

  it('that are here go on while their issuer hangs and strangers make up ids', async () => {
    const { accepted, outcome, issuer, pass } = rig();
    await outcome(by(OLD, 'old'));
    const hangs = Promise.withResolvers<void>();
    issuer.before = () => hangs.promise;
    const made = Array.from({ length: 1500 }, (_, i) => outcome(by(NEW, `made-up-${i}`)));
    await settled();
    expect((await accepted(by(OLD, 'old', { jti: 'another' }))).subject).toBe('ada');
    hangs.resolve();
    expect(await Promise.all(made)).not.toContain('accepted');
    issuer.before = undefined;
    await pass(MINUTE);
    issuer.publish(jwkOf(NEW, { kid: 'new' }));
    expect(await outcome(by(NEW, 'new'))).toBe('accepted');
  });

  it('rotate: a new one is taken at its first token, one that is taken back stops at the next fetch', async () => {
    const { accepted, outcome, issuer, pass, identity } = rig();
    const [old, next] = [by(OLD, 'old'), by(NEW, 'new')];
    const who = await accepted(old);
    issuer.publish(jwkOf(OLD, { kid: 'old' }), jwkOf(NEW, { kid: 'new' }));
    expect(await outcome(next)).toBe('accepted');
    expect(await outcome(old)).toBe('accepted');
    const before = identity.revision;
    issuer.publish(jwkOf(NEW, { kid: 'new' }));
    await pass(10 * MINUTE);
    expect(identity.revision).toBeGreaterThan(before);
    // Remembered a moment ago, and refused all the same.
    expect(await outcome(old)).toBe('unauthorized');
    expect(await outcome(next)).toBe('accepted');
    expect(who.id).toBe('idp/ada');
  });

  it('F45: go on while the issuer is away, for a day; a new id is refused meanwhile', async () => {
    const { outcome, issuer, pass, state } = rig();
    expect(await outcome(by(OLD, 'old'))).toBe('accepted');
    expect(state()).toMatchObject({ state: 'ready', keys: 1, problem: undefined });
    issuer.away = true;
    await pass(10 * MINUTE);
    expect(state()).toMatchObject({ state: 'stale', problem: expect.stringContaining('away') });
    expect(await outcome(by(OLD, 'old', { jti: '2' }))).toBe('accepted');
    expect(await outcome(by(NEW, 'new'))).toBe('unauthorized');
    await pass(24 * 60 * MINUTE);
    expect(await outcome(by(OLD, 'old', { jti: '3' }))).toBe('identity_unavailable');
    expect(state()).toMatchObject({ state: 'failing', keys: 0 });
    issuer.away = false;
    await pass(20_000);
    expect(await outcome(by(OLD, 'old', { jti: '3' }))).toBe('accepted');
    expect(state()).toMatchObject({ state: 'ready', problem: undefined });
  });

  it('may come later than the gateway, which says so and asks again with pauses', async () => {
    const { outcome, issuer, pass, state, logged } = rig({ kind: 'discovery' }, (one) => {
      one.away = true;
    });
    expect(await outcome(by(OLD, 'old'))).toBe('identity_unavailable');
    expect(state()).toMatchObject({ entry: 'idp', state: 'failing' });
    await Promise.all(Array.from({ length: 100 }, (_, i) => outcome(by(OLD, 'old', { jti: `${i}` }))));
    for (let i = 0; i < 60; i++) await pass(1000);
    expect(issuer.asked.length).toBeGreaterThan(3);
    expect(issuer.asked.length).toBeLessThan(10);
    expect(logged.filter((line) => line.includes('failures: 1'))).toHaveLength(1);
    issuer.away = false;
    await pass(20_000);
    expect(await outcome(by(OLD, 'old'))).toBe('accepted');
  });

  it('are asked for no longer once the configuration is gone', async () => {
    const { identity, issuer, pass } = rig();
    await settled();
    identity.close();
    await pass(60 * MINUTE);
    expect(issuer.asked).toHaveLength(1);
  });
});

describe('discovery', () => {
  const at = `${ISSUER}/.well-known/openid-configuration`;
  it.each([
    ['another issuer', { issuer: `${ISSUER}/`, jwks_uri: `${ISSUER}/jwks` }, 'another issuer'],
    ['no issuer', { jwks_uri: `${ISSUER}/jwks` }, 'another issuer: nothing'],
    ['no place of its keys', { issuer: ISSUER }, 'no jwks_uri'],
    ['a list', [], 'another issuer'],
    ['a text', 'x', 'no JSON object'],
  ])('takes no metadata that names %s', async (_, document, problem) => {
    const { outcome, state } = rig({ kind: 'discovery' }, (issuer) => issuer.documents.set(at, document));
    expect(await outcome(by(OLD, 'old'))).toBe('identity_unavailable');
    expect(state().problem).toContain(problem);
  });

  it.each([
    ['no keys', { keys: [] }],
    ['no list', { keys: {} }],
    ['only a secret', { keys: [{ kty: 'oct', k: 'c2VjcmV0', kid: 'old' }] }],
    ['only a private key', { keys: [{ ...OLD.privateKey.export({ format: 'jwk' }), kid: 'old' }] }],
    ['more keys than anybody has', { keys: Array.from({ length: 101 }, (_, i) => jwkOf(OLD, { kid: `${i}` })) }],
    ['more bytes than a set has', { keys: [jwkOf(OLD, { kid: 'old', x5c: 'x'.repeat(300_000) })] }],
  ])('takes no set with %s', async (_, set) => {
    const { outcome, state } = rig({ kind: 'discovery' }, (issuer) => issuer.documents.set(`${ISSUER}/jwks`, set));
    expect(await outcome(by(OLD, 'old'))).toBe('identity_unavailable');
    expect(state().state).toBe('failing');
  });
});

describe('a file of keys', () => {
  it('is read again for an id that is new, and has to be there from the start', async () => {
    vi.useRealTimers();
    const folder = mkdtempSync(path.join(tmpdir(), 'tollgate-jwks-'));
    try {
      const file = path.join(folder, 'jwks.json');
      expect(() => rig({ kind: 'file', path: file })).toThrow(/auth entry idp/);
      writeFileSync(file, JSON.stringify({ keys: [jwkOf(OLD, { kid: 'old' })] }));
      const { outcome, identity } = rig({ kind: 'file', path: file });
      expect(await outcome(by(OLD, 'old'))).toBe('accepted');
      writeFileSync(file, JSON.stringify({ keys: [jwkOf(NEW, { kid: 'new' })] }));
      expect(await outcome(by(NEW, 'new'))).toBe('accepted');
      expect(await outcome(by(OLD, 'old'))).toBe('unauthorized');
      identity.close();
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
