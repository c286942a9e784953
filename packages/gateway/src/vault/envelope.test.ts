import { createSecretKey, randomBytes } from 'node:crypto';
import { verifies } from '@tollgate/testkit';
import { describe, expect, it } from 'vitest';
import { lengthPrefixed } from './bytes.ts';
import { type Envelope, open, type Place, read, rewrap, seal, type WrappingKey, write } from './envelope.ts';
import { keyName, unwrapLocally, wrapLocally } from './local-keys.ts';

const PLACE: Place = {
  ownerKind: 'tenant',
  owner: 'acme',
  record: '0123456789abcdefghjkmnpqrs',
  purpose: 'secret',
  name: 'github',
  version: 3,
};

const bytes = (first: number): Buffer => Buffer.from(Array.from({ length: 32 }, (_, i) => (first + i * 7) % 256));

/** `salt`: only to freeze an envelope. */
function kek(version: number, material: Buffer, salt?: Buffer): WrappingKey {
  const master = createSecretKey(material);
  return {
    version,
    key: keyName(material),
    wrap: async (dataKey, context) => wrapLocally(master, dataKey, context, salt),
    unwrap: async (wrapped, context) => unwrapLocally(master, wrapped, context),
  };
}

const ONE = kek(1, bytes(1));
const TWO = kek(2, bytes(2));
const wrong = { code: 'vault_key_wrong' };

/**
 * Frozen: a release that cannot open them cannot open what an older one sealed, and one that makes others has changed
 * the format without a new name.
 */
const FROZEN = [
  {
    value: 'ghp_knownAnswer',
    text: 'tgv1.1.bG9jYWwtYTU2MDUwYzQxN2ZjYzY1OA.QlFVRkJRVUZCUVVGQlFVRkJRVUZCWnE0cWV2aDcxXzlVSmk1blZ5bmphUnpOZ3U2ZnNPcGRfVnRuS0g0eWwyWVhHYnRTaUJHUjlz.CQkJCQkJCQkJCQkJ.B9BR5HIuLB3h6tGtLAOUH5ox5yTXCtOqVlCamSTtaFs0oImgt2yJECNIJHzCQqOxfYhpcsr7Pfj58h6_3-b6ew.728dSzUp8ik1BNiBXbUHmQ.AOizSlT4dNOezxAh9TyEdaPx4iHsxWemiiEFC0zICLI',
  },
  {
    value: 'ä'.repeat(100),
    text: 'tgv1.1.bG9jYWwtYTU2MDUwYzQxN2ZjYzY1OA.QlFVRkJRVUZCUVVGQlFVRkJRVUZCWnE0cWV2aDcxXzlVSmk1blZ5bmphUnpOZ3U2ZnNPcGRfVnRuS0g0eWwyWVhHYnRTaUJHUjlz.CQkJCQkJCQkJCQkJ.B9BRI9bin-ZJIH1-geY5yC7wVoAUrhAOlfRZPedJq__3BEoEdMhKtODs59gB5mAVviyq1glf_lw6Vt0bHEI534x6P4OG13f4FQzPdWmindpBeBFTVCfQPDpow5u4kf75q1ecybjjLBceOij4KJUepUX9nhk1iRIhwDJQRnEOUjPKrZtjGiflWwZPdoIWk_xAfFLu7fgTlJaeDK8nFpyaOzwtFWqiCf3KZZiwDY_-UuDpUDnhZrveA_gscxDU_O8Pqmjz5rDZJZRDg7CYZx2kIVPR_8TEaUzE_3-2FsgLTApKtruX3rBq24JOT-NAC8FojmrrYhAaV-Jpsalo6pQYPg.XnYedMSbsLKfBNkQxVTUTg.AOizSlT4dNOezxAh9TyEdaPx4iHsxWemiiEFC0zICLI',
  },
] as const;

describe('a sealed value', () => {
  it.each(FROZEN)('has the form that was frozen ($value)', async ({ value, text }) => {
    verifies('R2-12', 'X2-04');
    const material = { dataKey: bytes(100), nonce: Buffer.alloc(12, 9) };
    expect(await seal(Buffer.from(value), PLACE, kek(1, bytes(1), Buffer.alloc(16, 5)), material)).toBe(text);
    expect((await open(text, PLACE, ONE)).toString()).toBe(value);
  });

  it('CVE-2026-17578 (Kong): has a data key and a nonce of its own, however often it is sealed', async () => {
    // The limit on random nonces under one GCM key is never near: each key encrypts once.
    const sealed = await Promise.all(Array.from({ length: 500 }, () => seal(Buffer.from('same'), PLACE, ONE)));
    for (const part of ['wrapped', 'nonce', 'ciphertext', 'commitment'] as const) {
      expect(new Set(sealed.map((text) => read(text)[part].toString('hex' as never))).size, part).toBe(500);
    }
  });

  const moves: readonly [field: string, place: Partial<Place>][] = [
    ['owner kind', { ownerKind: 'principal' }],
    ['tenant', { owner: 'other' }],
    ['record', { record: '1123456789abcdefghjkmnpqrs' }],
    ['purpose', { purpose: 'provider-key' }],
    ['name', { name: 'gitlab' }],
    ['version before', { version: 2 }],
    ['version after', { version: 4 }],
    ['a letter moved from name to owner', { owner: 'acmeg', name: 'ithub' }],
  ];
  it.each(moves)('opens nowhere else: another %s', async (_, other) => {
    const text = await seal(Buffer.from('value'), PLACE, ONE);
    await expect(open(text, { ...PLACE, ...other }, ONE)).rejects.toMatchObject(wrong);
    await expect(rewrap(text, { ...PLACE, ...other }, ONE, TWO)).rejects.toMatchObject(wrong);
    expect((await open(text, PLACE, ONE)).toString()).toBe('value');
  });

  it('opens under no other master key, and under no other number of it', async () => {
    const text = await seal(Buffer.from('value'), PLACE, ONE);
    await expect(open(text, PLACE, TWO)).rejects.toMatchObject(wrong);
    // The texts say which key wraps them; saying something else does not help.
    const relabelled = write({ ...read(text), kek: 2, key: TWO.key });
    await expect(open(relabelled, PLACE, TWO)).rejects.toMatchObject(wrong);
    await expect(open(write({ ...read(text), kek: 7 }), PLACE, { ...ONE, version: 7 })).rejects.toMatchObject(wrong);
    await expect(open(text.replace('tgv1', 'tgv2'), PLACE, ONE)).rejects.toMatchObject(wrong);
  });

  it('does not open with one bit changed anywhere', async () => {
    const text = await seal(Buffer.from('v'), PLACE, ONE);
    const envelope = read(text);
    for (const part of ['nonce', 'ciphertext', 'tag', 'commitment'] as const) {
      for (let i = 0; i < envelope[part].length; i++) {
        const changed = Buffer.from(envelope[part]);
        changed[i]! ^= 1 << (i % 8);
        await expect(open(write({ ...envelope, [part]: changed }), PLACE, ONE), `${part} ${i}`).rejects.toMatchObject(
          wrong,
        );
      }
    }
    const wrapped = Buffer.from(envelope.wrapped, 'base64url');
    for (let i = 0; i < wrapped.length; i++) {
      const changed = Buffer.from(wrapped);
      changed[i]! ^= 1;
      const moved = write({ ...envelope, wrapped: changed.toString('base64url') });
      await expect(open(moved, PLACE, ONE), `wrapped ${i}`).rejects.toMatchObject(wrong);
    }
  });

  it('is refused with a tag that is shorter or longer than 16 bytes', async () => {
    const envelope = read(await seal(Buffer.from('v'), PLACE, ONE));
    const cut = (part: 'nonce' | 'tag' | 'commitment', length: number): Envelope => {
      const padded = Buffer.concat([envelope[part], Buffer.alloc(8)]);
      return { ...envelope, [part]: padded.subarray(0, length) };
    };
    for (const length of [0, 4, 8, 12, 13, 14, 15, 17]) {
      await expect(open(write(cut('tag', length)), PLACE, ONE)).rejects.toMatchObject(wrong);
    }
    await expect(open(write(cut('nonce', 16)), PLACE, ONE)).rejects.toMatchObject(wrong);
    await expect(open(write(cut('commitment', 16)), PLACE, ONE)).rejects.toMatchObject(wrong);
  });

  it('is the same value, and the same payload, under another master key', async () => {
    const before = await seal(Buffer.from('value'), PLACE, ONE);
    const after = await rewrap(before, PLACE, ONE, TWO);
    expect((await open(after, PLACE, TWO)).toString()).toBe('value');
    await expect(open(after, PLACE, ONE)).rejects.toMatchObject(wrong);
    const { kek: _, key: __, wrapped: ___, ...payload } = read(before);
    expect(read(after)).toMatchObject(payload);
  });

  it('hides how long the value is, in steps of 64 bytes', async () => {
    const lengths = await Promise.all(
      [1, 20, 60, 61].map(async (length) => read(await seal(randomBytes(length), PLACE, ONE)).ciphertext.length),
    );
    expect(lengths).toEqual([64, 64, 64, 128]);
  });

  it.each([
    '',
    'tgv1',
    'tgv1.1.a.b.c.d.e',
    `tgv1.1.${'a'.repeat(300_000)}`,
    'tgv1.0.YQ.YQ.YQ.YQ.YQ.YQ',
    'tgv1.1.YR.YQ.YQ.YQ.YQ.YQ',
  ])('refuses what is none (%.20s)', (text) => {
    expect(() => read(text)).toThrow(/sealed value/);
  });
});

it('keeps lists of parts apart that look alike when joined', () => {
  const lists = [['ab', 'c'], ['a', 'bc'], ['abc'], ['abc', ''], ['', 'abc'], ['a', 'b', 'c']];
  expect(new Set(lists.map((list) => lengthPrefixed(list).toString('hex'))).size).toBe(lists.length);
});
