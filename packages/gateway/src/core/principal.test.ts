import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { callerPrincipal, PrincipalKeys } from '../identity/principals.ts';
import { canonicalPrincipalId, idInTenant, principalId, readPrincipalId } from './principal.ts';

const unit = fc.constantFrom('a', 'b', '@', '/', '%', '\0', '0', '2', 'f', '\u007f', '\ud800', '\udc00', 'é', '%002f');
const text = fc.array(unit, { maxLength: 6 }).map((units) => units.join(''));
const somebody = fc.record({
  entry: fc.constantFrom('a', 'b', 'corp', 'corp-2'),
  tenant: fc.option(text, { nil: undefined }),
  subject: text,
});
const numRuns = process.env['TOLLGATE_PROOF'] === 'full' ? 200_000 : 5000;

describe('the id of a principal', () => {
  it('is shared by no two of entry, tenant and subject, whatever they hold, nor is anything kept by it', () => {
    const keys = new PrincipalKeys();
    const none = { tier: undefined, roles: [], scopes: undefined, clientId: undefined };
    fc.assert(
      fc.property(somebody, somebody, (one, other) => {
        const same = one.entry === other.entry && one.tenant === other.tenant && one.subject === other.subject;
        const [a, b] = [callerPrincipal(keys, { ...none, ...one }), callerPrincipal(keys, { ...none, ...other })];
        expect([a.id === b.id, a.key === b.key, a.lanes.join() === b.lanes.join()]).toEqual([same, same, same]);
      }),
      { numRuns },
    );
  });

  it('says whom it means, in one spelling, and fits a database and a log', () => {
    fc.assert(
      fc.property(somebody, ({ entry, tenant, subject }) => {
        const person = `${entry}/${subject}`;
        const id = principalId({ person, tenant });
        expect(readPrincipalId(id)).toEqual({ person, tenant });
        expect(canonicalPrincipalId(id)).toBe(id);
        expect(idInTenant(person, tenant)).toBe(id);
        expect(idInTenant(id, 'another')).toBe(tenant === undefined ? idInTenant(person, 'another') : id);
        expect(/[\p{Cc}\p{Cs}]/u.test(id.slice(0, id.indexOf('/')))).toBe(false);
      }),
      { numRuns },
    );
  });

  it.each([
    ['corp/ada', { person: 'corp/ada', tenant: undefined }, 'corp/ada'],
    ['corp@acme/ada', { person: 'corp/ada', tenant: 'acme' }, 'corp@acme/ada'],
    ['corp/ada@example.com', { person: 'corp/ada@example.com', tenant: undefined }, 'corp/ada@example.com'],
    ['corp@50%/ada', { person: 'corp/ada', tenant: '50%' }, 'corp@50%0025/ada'],
    ['corp@a%002Fb/ada', { person: 'corp/ada', tenant: 'a/b' }, 'corp@a%002fb/ada'],
    ['anonymous', { person: 'anonymous', tenant: undefined }, 'anonymous'],
    ['ada@example.com', { person: 'ada@example.com', tenant: undefined }, 'ada@example.com'],
  ])('%s that somebody wrote means %j', (written, name, id) => {
    expect([readPrincipalId(written), canonicalPrincipalId(written)]).toEqual([name, id]);
  });
});
