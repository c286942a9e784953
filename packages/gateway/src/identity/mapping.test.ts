import { verifies } from '@tollgate/testkit/verifies';
import { describe, expect, it } from 'vitest';
import type { ClaimMap } from './options.ts';
import { PrincipalKeys } from './principals.ts';
import { bench, NO_MAP, token, tokenEntry } from './testing.ts';

async function mapped(map: Partial<ClaimMap>, more: Record<string, unknown>) {
  const { ask } = bench([tokenEntry(undefined, { map: { ...NO_MAP, ...map }, tier: 'basic' })]);
  return await ask(token({ claims: more }));
}
const grant = new Map([
  ['gw-admins', ['admin', 'operator']],
  ['readers', ['auditor']],
]);

describe('claims', () => {
  it('give tenant, tier and subject where they are mapped, by name or by path', async () => {
    verifies('R2-16');
    const url = 'https://idp.example/tenant';
    expect(await mapped({ tenant: url }, { [url]: 'acme' })).toMatchObject({ tenant: 'acme', tier: 'basic' });
    expect(await mapped({ tenant: 'org.id', tier: 'plan' }, { org: { id: 'acme' }, plan: 'gold' })).toMatchObject({
      tenant: 'acme',
      tier: 'gold',
    });
    expect(await mapped({ subject: 'email' }, { email: 'ada@acme.example' })).toMatchObject({
      id: 'idp/ada@acme.example',
    });
    // What cannot be a tier is none; a subject or tenant that is none is a refusal.
    expect(await mapped({ tier: 'plan' }, { plan: ['gold'] })).toMatchObject({ tier: 'basic' });
    expect(await mapped({ tier: 'constructor' }, {})).toMatchObject({ tier: 'basic' });
    for (const wrong of [['acme'], 7, '', ' acme', 'a\nb', 'x'.repeat(300), { toString: 'acme' }]) {
      expect(await mapped({ tenant: 'org' }, { org: wrong })).toMatchObject({ code: 'unauthorized' });
      expect(await mapped({ subject: 'org' }, { org: wrong })).toMatchObject({ code: 'unauthorized' });
    }
  });

  it('say only tenants that the entry allows, to the letter: white space makes another one (ContextForge 1.0.0 to 1.0.8)', async () => {
    const only = { tenant: 'org', tenants: ['acme', 'beta'] };
    expect(await mapped(only, { org: 'beta' })).toMatchObject({ tenant: 'beta' });
    for (const org of ['evil', 'ACME', 'acme ', undefined, null]) {
      expect(await mapped(only, { org })).toMatchObject({ code: 'unauthorized' });
    }
    expect(await mapped({ tenant: 'org', tenants: [] }, { org: 'acme' })).toMatchObject({ code: 'unauthorized' });
  });

  it('open the admin surfaces only through a grant, whatever they call themselves', async () => {
    const roles = { claim: 'groups', grant };
    expect(await mapped({ roles }, { groups: ['gw-admins', 'engineer', 'readers'] })).toMatchObject({
      roles: ['admin', 'operator', 'engineer', 'auditor'],
    });
    expect(await mapped({ roles }, { groups: ['admin', 'operator', 'auditor', 'user', 'engineer'] })).toMatchObject({
      roles: ['engineer'],
    });
    expect(await mapped({ roles: { claim: 'groups', grant: new Map() } }, { groups: 'admin' })).toMatchObject({
      roles: [],
    });
    const nobody = { groups: ['__proto__', 'constructor'], role: 'admin', roles: ['admin'], scope: 'admin operator' };
    expect(await mapped({ roles }, nobody)).toMatchObject({ roles: ['__proto__', 'constructor'] });
    expect(await mapped({}, { groups: ['gw-admins'] })).toMatchObject({ roles: [] });
    for (const groups of [{ admin: true }, [['gw-admins']], 7, Array.from({ length: 501 }, (_, i) => `g${i}`)]) {
      expect(await mapped({ roles }, { groups })).toMatchObject({ code: 'unauthorized' });
    }
  });

  it('say the session, in the characters that sessions have', async () => {
    verifies('X4-04');
    const session = await mapped({ session: 'sid' }, { sid: 'a.b_c-1' });
    expect(session).toMatchObject({ session: { id: 'idp/ada/a.b_c-1' } });
    expect(await mapped({ session: 'sid' }, {})).not.toHaveProperty('session');
    for (const sid of ['', 'a b', 'a/b', 'x'.repeat(129), 7]) {
      expect(await mapped({ session: 'sid' }, { sid })).toMatchObject({ code: 'unauthorized' });
    }
  });
});

describe('keys of callers', () => {
  it('are remembered within bounds, and never given to somebody else', () => {
    const keys = new PrincipalKeys(100);
    const ada = keys.ofCaller('idp/ada');
    expect(keys.ofCaller('idp/ada')).toBe(ada);
    const seen = new Set([ada]);
    for (let i = 0; i < 1000; i++) seen.add(keys.ofCaller(`idp/${i}`));
    expect(seen.size).toBe(1001);
    expect(keys.callers).toBeLessThanOrEqual(100);
    expect(seen.has(keys.ofCaller('idp/ada'))).toBe(false);
    // A configured one is the same, and is not forgotten.
    const ci = keys.of('ci/ci');
    for (let i = 0; i < 1000; i++) keys.ofCaller(`again/${i}`);
    expect(keys.ofCaller('ci/ci')).toBe(ci);
  });
});
