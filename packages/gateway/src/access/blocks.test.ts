import { describe, expect, it } from 'vitest';
import type { Block } from '../core/operator-records.ts';
import { identityOf, type Principal } from '../core/principal.ts';
import { BlockBook, blockedError, canonicalWho, isWho } from './blocks.ts';

const principal = (init: Partial<Principal> = {}): Principal => ({
  id: 'corp@acme/ada',
  person: 'corp/ada',
  key: 1,
  lanes: [0, 1],
  entry: 'corp',
  subject: 'ada',
  tenant: 'acme',
  tier: undefined,
  roles: [],
  scopes: [],
  clientId: 'cursor',
  keyId: 'k1',
  ...init,
});
const block = (who: string, more: Partial<Block> = {}): Block => ({
  id: who,
  who,
  reason: 'r',
  by: 'ops',
  at: 0,
  ...more,
});

describe('a block', () => {
  it.each([
    'corp/ada',
    'corp@acme/ada',
    'tenant:acme',
    'client:cursor',
    'key:k1',
  ])('of %s keeps out whom it names, and nobody else', (who) => {
    const book = new BlockBook();
    expect(book.any).toBe(false);
    book.add(block(who));
    expect(book.of(principal(), 0)?.who).toBe(who);
    const other = {
      id: 'corp@acme2/adam',
      person: 'corp/adam',
      tenant: 'acme2',
      clientId: 'cursors',
      keyId: undefined,
    };
    expect(book.of(principal(other), 0)).toBeUndefined();
    expect(book.lift(who)).toBeDefined();
    expect([book.any, book.of(principal(), 0)]).toEqual([false, undefined]);
  });

  it('of a name without a tenant holds in every tenant, of one with a tenant there alone', () => {
    const people = [undefined, 'acme', 'acme2'].map((tenant) =>
      principal({ ...identityOf({ person: 'corp/ada', tenant }), tenant, clientId: undefined, keyId: undefined }),
    );
    const blocked = (who: string) => {
      const book = new BlockBook();
      book.add(block(canonicalWho(who)));
      return people.map((one) => book.of(one, 0) !== undefined);
    };
    expect(blocked('corp/ada')).toEqual([true, true, true]);
    expect(blocked('corp@acme/ada')).toEqual([false, true, false]);
    expect(blocked('corp@acme%0032/ada')).toEqual([false, false, true]);
  });

  it('of anonymous keeps out every address', () => {
    const book = new BlockBook();
    book.add(block('anonymous'));
    expect(book.of(principal({ id: 'anonymous/10.0.0.1', entry: 'anonymous' }), 0)).toBeDefined();
    expect(book.of(principal(), 0)).toBeUndefined();
  });

  it('ends by itself; of several for one the longest counts', () => {
    const book = new BlockBook();
    book.add(block('corp/ada', { id: 'short', until: 10 }));
    book.add(block('corp/ada', { id: 'long', until: 20 }));
    expect([book.of(principal(), 10)?.id, book.of(principal(), 20), book.any]).toEqual(['long', undefined, false]);
  });

  it('that was read from storage is news only where it was not known', () => {
    const book = new BlockBook();
    expect(book.load([block('corp/ada')])).toBe(true);
    expect(book.load([block('corp/ada')])).toBe(false);
    expect([book.load([]), book.any]).toEqual([false, false]);
  });

  it.each([
    '',
    'ada',
    '*',
    'corp/',
    'corp@acme',
    'corp@/ada',
    '@acme/ada',
    'role:x',
    'tenant:',
    'corp/a\nb',
    `corp/${'x'.repeat(2100)}`,
  ])('cannot name %j', (who) => {
    expect(isWho(who)).toBe(false);
  });

  it('tells the caller until when, and not why', () => {
    const told = blockedError(block('corp/ada', { until: 0, reason: 'secret reason' }), 'tg-1');
    expect([told.http, told.rpc, JSON.stringify([told.message, told.data]).includes('secret')]).toEqual([
      403,
      403,
      false,
    ]);
    expect(told.message).toMatch(/until 1970-01-01T00:00:00.000Z.*\[tg-1\]$/);
  });
});
