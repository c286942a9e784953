import { describe, expect, it } from 'vitest';
import { systemClock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import { silentLog } from '../core/log.ts';
import type { Principal } from '../core/principal.ts';
import { addressPrefix } from './address.ts';
import { createIdentity, type Identity, type IdentityDeps } from './identity.ts';
import type { AuthEntry, IdentityOptions } from './options.ts';
import { AnonymousTable, localPrincipal, PrincipalKeys } from './principals.ts';

const CI: AuthEntry = {
  kind: 'bearer',
  name: 'ci',
  token: 's3cret-token',
  subject: 'robot',
  tenant: 'acme',
  tier: 'gold',
  roles: ['operator'],
  scopes: ['calculate'],
};
const OPS: AuthEntry = { ...CI, name: 'ops', token: 'other-token', subject: 'ops', roles: ['admin'] };
const ANONYMOUS: AuthEntry = { kind: 'anonymous', name: 'anonymous', tier: 'basic' };

function depsOf(keys: PrincipalKeys): IdentityDeps {
  return {
    keys,
    clock: systemClock,
    log: silentLog,
    egress: noEgress,
    resource: (path) => `https://gw.example${path}`,
  };
}

const noEgress = () => Promise.reject(new Error('nothing is fetched here'));

function identityOf(entries: readonly AuthEntry[], more: Partial<IdentityOptions> = {}, keys = new PrincipalKeys()) {
  return createIdentity({ entries, endpointEntries: new Map(), loopback: true, ...more }, depsOf(keys));
}

function accepted(identity: Identity, authorization?: string, endpoint = '/mcp', address = '127.0.0.1'): Principal {
  const who = identity.identify(authorization, endpoint, address);
  if (TollgateError.is(who)) throw who;
  if (who instanceof Promise) throw new Error('was not told at once');
  return who;
}

function refusal(identity: Identity, authorization?: string, endpoint = '/mcp'): TollgateError {
  const who = identity.identify(authorization, endpoint, '127.0.0.1');
  if (!TollgateError.is(who)) throw new Error('accepted');
  return who;
}

describe('static bearer entries', () => {
  it('give the principal of the entry whose token was sent', () => {
    const identity = identityOf([CI, OPS]);
    expect(accepted(identity, 'Bearer s3cret-token')).toMatchObject({
      id: 'ci@acme/robot',
      entry: 'ci',
      subject: 'robot',
      tenant: 'acme',
      tier: 'gold',
      roles: ['operator'],
      scopes: ['calculate'],
    });
    expect(accepted(identity, 'bearer  other-token').id).toBe('ops@acme/ops');
  });

  it('stand for the same object and key on every later request', () => {
    const identity = identityOf([CI]);
    expect(accepted(identity, 'Bearer s3cret-token')).toBe(accepted(identity, 'Bearer s3cret-token'));
  });

  it('keep their keys when the configuration is applied again', () => {
    const keys = new PrincipalKeys();
    const before = accepted(identityOf([CI, OPS], {}, keys), 'Bearer other-token');
    const after = accepted(identityOf([OPS], {}, keys), 'Bearer other-token');
    expect(after.key).toBe(before.key);
  });

  it('refuse everything else, and never fall back to anonymous', () => {
    const identity = identityOf([CI, ANONYMOUS]);
    for (const sent of [
      'Bearer wrong',
      'Bearer s3cret-toke',
      'Bearer s3cret-token2',
      'Bearer S3CRET-TOKEN',
      'Bearer',
      'Bearer ',
      'Bearer s3cret-token extra',
      'Basic czNjcmV0LXRva2Vu',
      's3cret-token',
      '',
      `Bearer ${'x'.repeat(9000)}`,
    ]) {
      expect(refusal(identity, sent).code, sent.slice(0, 40)).toBe('unauthorized');
    }
  });

  it('never repeat the credential in the refusal', () => {
    expect(refusal(identityOf([CI]), 'Bearer hunter2').message).not.toContain('hunter2');
  });

  it('do not mistake tokens that share a long prefix', () => {
    const long = 'k'.repeat(64);
    const identity = identityOf([
      { ...CI, token: `${long}a` },
      { ...OPS, token: `${long}b` },
    ]);
    expect(accepted(identity, `Bearer ${long}a`).id).toBe('ci@acme/robot');
    expect(accepted(identity, `Bearer ${long}b`).id).toBe('ops@acme/ops');
    expect(accepted(identity, `Bearer ${long}a`).id).toBe('ci@acme/robot');
  });
});

describe('anonymous callers', () => {
  it('are refused where no entry allows them', () => {
    expect(refusal(identityOf([CI])).code).toBe('unauthorized');
    expect(refusal(identityOf([])).code).toBe('unauthorized');
  });

  it('are one principal on loopback, with the role user and no scopes', () => {
    const identity = identityOf([ANONYMOUS]);
    const who = accepted(identity, undefined, '/mcp', '127.0.0.1');
    expect(who).toMatchObject({ id: 'anonymous', tier: 'basic', roles: ['user'], scopes: undefined });
    expect(accepted(identity, undefined, '/mcp', '::1')).toBe(who);
  });

  it('are told apart by address prefix beyond loopback', () => {
    const identity = identityOf([ANONYMOUS], { loopback: false });
    const key = (address: string) => accepted(identity, undefined, '/mcp', address).key;
    expect(key('203.0.113.7')).toBe(key('::ffff:203.0.113.7'));
    expect(key('203.0.113.7')).not.toBe(key('203.0.113.8'));
    expect(key('2001:db8:1:2::1')).toBe(key('2001:db8:1:2:ffff::9'));
    expect(key('2001:db8:1:2::1')).not.toBe(key('2001:db8:1:3::1'));
  });

  it('cannot fill memory with random addresses, and never inherit the key of one pushed out', () => {
    const table = new AnonymousTable(new PrincipalKeys(), undefined, 3);
    const first = table.get('10.0.0.1').key;
    const seen = new Set([first]);
    for (let i = 2; i < 50; i++) seen.add(table.get(`10.0.0.${i}`).key);
    expect(table.size).toBe(3);
    expect(seen.size).toBe(49);
    expect(seen.has(table.get('10.0.0.1').key)).toBe(false);
  });
});

describe('entries of an endpoint', () => {
  it('restrict who is accepted there; an empty list is nobody', () => {
    const identity = identityOf([CI, OPS, ANONYMOUS], {
      endpointEntries: new Map([
        ['/team', ['ops']],
        ['/none', []],
      ]),
    });
    expect(accepted(identity, 'Bearer other-token', '/team').id).toBe('ops@acme/ops');
    expect(refusal(identity, 'Bearer s3cret-token', '/team').code).toBe('unauthorized');
    expect(refusal(identity, undefined, '/team').code).toBe('unauthorized');
    expect(refusal(identity, 'Bearer other-token', '/none').code).toBe('unauthorized');
    expect(accepted(identity, undefined, '/mcp').id).toBe('anonymous');
  });
});

describe('localPrincipal', () => {
  it('is the local user with the role user', () => {
    expect(localPrincipal(new PrincipalKeys(), 'ada')).toMatchObject({
      id: 'local/ada',
      roles: ['user'],
      scopes: undefined,
    });
  });
});

describe('addressPrefix', () => {
  it.each([
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['::FFFF:c000:201', '192.0.2.1'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['64:ff9b::192.0.2.33', '64:ff9b:0:0::/64'],
    ['nonsense', 'unknown'],
    [undefined, 'unknown'],
  ])('%s is %s', (address, prefix) => {
    expect(addressPrefix(address)).toBe(prefix);
  });
});

describe('a reload', () => {
  it('keeps who is unchanged, anonymous callers included, and recognises nobody else', () => {
    const keys = new PrincipalKeys();
    const entries = [CI, OPS, ANONYMOUS];
    const before = identityOf(entries, { loopback: false }, keys);
    const from = (identity: Identity, address: string) => accepted(identity, undefined, '/mcp', address);
    const [ci, ops, stranger] = [
      accepted(before, 'Bearer s3cret-token'),
      accepted(before, 'Bearer other-token'),
      from(before, '192.0.2.1'),
    ];
    const options: IdentityOptions = {
      entries: [CI, { ...OPS, token: 'rotated-token' }, ANONYMOUS],
      endpointEntries: new Map([['/closed', ['ops']]]),
      loopback: false,
    };
    const after = createIdentity(options, depsOf(keys), before);
    expect(from(after, '192.0.2.1').key).toBe(stranger.key);
    expect(accepted(after, 'Bearer s3cret-token')).toBe(ci);
    const recognised = [ci, ops, stranger, localPrincipal(keys, 'ada')].map((who) => after.recognises(who, '/mcp'));
    expect(recognised).toEqual([true, false, true, true]);
    expect(after.recognises(ci, '/closed')).toBe(false);
    expect(after.recognises(stranger, '/closed')).toBe(false);
    expect(identityOf([CI], {}, keys).recognises(stranger, '/mcp')).toBe(false);
  });
});
