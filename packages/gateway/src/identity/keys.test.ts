import * as crypto from 'node:crypto';
import { verifies } from '@tollgate/testkit/verifies';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { systemClock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import { createIdentity, type Identity } from './identity.ts';
import { keyDigest, keyId, makeKey } from './key-format.ts';
import type { IssuedKey, KeySource } from './keys.ts';
import { bench } from './testing.ts';

vi.mock('node:crypto', async (original) => {
  const real = await original<typeof crypto>();
  return { ...real, timingSafeEqual: vi.fn(real.timingSafeEqual), createHash: vi.fn(real.createHash) };
});

const CI = {
  kind: 'bearer',
  name: 'ci',
  token: 'static-token-of-ci',
  subject: 'ci',
  tenant: undefined,
  tier: undefined,
  roles: [],
  scopes: [],
} as const;

class Source implements KeySource {
  readonly keys = new Map<string, IssuedKey>();
  readonly uses: string[] = [];
  lookups = 0;
  revision = 0;
  known: number | undefined = 1;

  find(id: string): IssuedKey | undefined {
    this.lookups++;
    return this.keys.get(id);
  }

  used(id: string): void {
    this.uses.push(id);
  }

  issue(more: Partial<IssuedKey> = {}): { readonly id: string; readonly key: string } {
    const made = makeKey();
    this.keys.set(made.id, {
      id: made.id,
      entry: 'keys',
      subject: 'ada',
      tenant: 'acme',
      tier: undefined,
      roles: ['user'],
      scopes: ['read:*'],
      digest: keyDigest(made.key),
      expiresAt: undefined,
      ...more,
    });
    return made;
  }

  revoke(id: string): void {
    this.keys.delete(id);
    this.revision++;
  }
}

let source: Source;
let identity: Identity;
beforeEach(() => {
  source = new Source();
  identity = createIdentity(
    {
      entries: [
        { kind: 'keys', name: 'keys', tier: 'basic' },
        { kind: 'anonymous', name: 'anonymous', tier: undefined },
      ],
      endpointEntries: new Map(),
      loopback: true,
    },
    { ...bench([]).deps, clock: systemClock, issued: source },
  );
});

const who = (key: string) => identity.identify(`Bearer ${key}`, '/mcp', '127.0.0.1');
const refused = (key: string): string => {
  const answer = who(key);
  return TollgateError.is(answer) ? answer.code : 'accepted';
};

/** Another character of the alphabet at one place. */
function typo(key: string, at: number): string {
  return key.slice(0, at) + (key[at] === '0' ? '1' : '0') + key.slice(at + 1);
}

describe('an API key', () => {
  it('stands for its holder with what was stored with it, as the same object on every request', () => {
    verifies('R1-10');
    const { id, key } = source.issue();
    expect(who(key)).toMatchObject({
      id: 'keys@acme/ada',
      tenant: 'acme',
      tier: 'basic',
      roles: ['user'],
      scopes: ['read:*'],
      clientId: id,
    });
    expect(who(key)).toBe(who(key));
    expect(source.uses).toEqual([id]);
  });

  it('has 256 random bits, and a typing mistake is told before anything is looked up', () => {
    const { id, key } = source.issue();
    expect(key).toMatch(/^tg_[0-9a-z]{16}_[0-9a-z]{58}$/);
    expect(keyId(key)).toBe(id);
    const broken = [3, 20, 40, key.length - 7, key.length - 1].map((at) => typo(key, at));
    for (const text of [...broken, key.slice(0, -1), `${key}0`, key.toUpperCase(), key.replace('tg_', 'tga_')]) {
      expect(keyId(text), text).toBeUndefined();
      expect(refused(text)).toBe('unauthorized');
    }
    expect(source.lookups).toBe(0);
  });

  it('that does not exist costs the same steps as one that does with another secret', () => {
    verifies('R0-54');
    const known = source.issue();
    const stranger = makeKey();
    // The id of a key in force with another secret, checksum and all.
    const forged = source.issue();
    source.keys.set(forged.id, { ...source.keys.get(forged.id)!, digest: keyDigest(known.key) });
    const steps = [stranger.key, forged.key].map((key) => {
      vi.mocked(crypto.timingSafeEqual).mockClear();
      vi.mocked(crypto.createHash).mockClear();
      source.lookups = 0;
      expect(refused(key)).toBe('unauthorized');
      return [
        source.lookups,
        vi.mocked(crypto.timingSafeEqual).mock.calls.length,
        vi.mocked(crypto.createHash).mock.calls.length,
        vi.mocked(crypto.timingSafeEqual).mock.calls[0]!.map((side) => side.byteLength),
      ];
    });
    expect(steps[0]).toEqual([1, 1, 2, [32, 32]]);
    expect(steps[1]).toEqual(steps[0]);
  });

  it('that is a static token is compared by digest in one length, whatever it shares with the right one', () => {
    verifies('R0-54');
    const { identity: own } = bench([CI]);
    const sides = [CI.token, `${CI.token.slice(0, -1)}x`, 'x', 'y'.repeat(500)].map((sent) => {
      vi.mocked(crypto.timingSafeEqual).mockClear();
      const { id } = own.identify(`Bearer ${sent}`, '/mcp', undefined) as { readonly id?: string };
      return [id, vi.mocked(crypto.timingSafeEqual).mock.calls.map((pair) => pair.map((side) => side.byteLength))];
    });
    expect(sides).toEqual(['ci/ci', undefined, undefined, undefined].map((id) => [id, [[32, 32]]]));
  });

  it('is refused once revoked, expired, or made for another entry, and never becomes anonymous', () => {
    verifies('R2-16');
    const revoked = source.issue();
    expect(refused(revoked.key)).toBe('accepted');
    const principal = who(revoked.key);
    source.revoke(revoked.id);
    expect(refused(revoked.key)).toBe('unauthorized');
    expect(identity.recognises(principal as never, '/mcp')).toBe(false);
    expect(refused(source.issue({ expiresAt: Date.now() - 1 }).key)).toBe('unauthorized');
    expect(refused(source.issue({ entry: 'other' }).key)).toBe('unauthorized');
  });

  it('is remembered no longer than it lasts', () => {
    vi.useFakeTimers({ now: 1_000_000 });
    try {
      const { key } = source.issue({ expiresAt: 1_000_500 });
      expect(refused(key)).toBe('accepted');
      vi.setSystemTime(1_000_501);
      expect(refused(key)).toBe('unauthorized');
    } finally {
      vi.useRealTimers();
    }
  });

  it('cannot be judged while the keys cannot be read: that is 503, not a wrong key', () => {
    const { key } = source.issue();
    source.known = undefined;
    expect(refused(key)).toBe('identity_unavailable');
    expect(refused('some-other-credential')).toBe('unauthorized');
  });

  it('CVE-2026-35030: keys that share all but the end are never one caller', () => {
    const { id, key } = source.issue();
    expect(refused(key)).toBe('accepted');
    for (let at = 20; at < key.length; at++) expect(refused(typo(key, at)), String(at)).toBe('unauthorized');
    const other = source.issue({ subject: 'bob' });
    expect(who(other.key)).toMatchObject({ id: 'keys@acme/bob', clientId: other.id });
    expect(who(key)).toMatchObject({ id: 'keys@acme/ada', clientId: id });
  });

  it('CVE-2026-42208: texts of an injection in Authorization are wrong credentials, looked up nowhere', () => {
    const { id } = source.issue();
    const corpus = [
      `tg_${id}' or '1'='1`,
      `tg_' union select digest from tg_keys --_${'0'.repeat(58)}`,
      `tg_${id}_${'0'.repeat(57)}'`,
      "'; drop table tg_keys; --",
      '1 or 1=1',
      `tg_${id}%27%20or%201%3d1`,
      `tg_${id}"||(select`,
      '${jndi:ldap://x}',
      '{"$gt":""}',
      '__proto__',
      'constructor',
      '%00',
      '\\',
    ];
    for (const text of corpus) expect(refused(text), text).toBe('unauthorized');
    for (const text of corpus) {
      const answer = who(text);
      expect(TollgateError.is(answer) && answer.message, text).not.toContain(text);
    }
    expect(source.lookups).toBe(0);
  });
});
