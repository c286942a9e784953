/** Every feature that takes a URL of a stranger, against the table of those that nothing is fetched from. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, it } from 'vitest';
import { systemClock } from '../core/clock.ts';
import type { Egress } from '../core/egress.ts';
import { TollgateError } from '../core/errors.ts';
import { silentLog } from '../core/log.ts';
import { createEgress, type EgressOptions } from '../egress/egress.ts';
import { FORBIDDEN_LITERALS, FORBIDDEN_NAMES, NAMES } from '../egress/testing.ts';
import { keySourceOf } from '../identity/key-sources.ts';
import type { TokenEntry } from '../identity/options.ts';
import { Clients } from '../oauth-bridge/clients.ts';
import { MemoryRecords } from '../oauth-bridge/memory-records.ts';

const URLS = [...FORBIDDEN_LITERALS, ...FORBIDDEN_NAMES];

/** The real client, its resolver replaced; `outcomes` tells what became of each fetch. */
function watched(options: EgressOptions = {}): { readonly egress: Egress; readonly outcomes: string[] } {
  const outcomes: string[] = [];
  const egress = createEgress({
    ...options,
    resolve: async (name) => (NAMES[name] ?? []).map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
  });
  return {
    outcomes,
    egress: async (url, init) => {
      try {
        const response = await egress(url, init);
        outcomes.push(`HTTP ${response.status}`);
        return response;
      } catch (error) {
        outcomes.push(TollgateError.from(error).code);
        throw error;
      }
    },
  };
}

it('a client id of the bridge leads to none of them', async () => {
  const { egress, outcomes } = watched();
  const clients = new Clients({ clock: systemClock, records: new MemoryRecords(), egress });
  for (const url of URLS) {
    const id = url.endsWith('/') ? `${url}client.json` : url;
    await expect(clients.resolve(id), id.slice(0, 80)).rejects.toMatchObject({ code: 'oauth_refused' });
  }
  expect(new Set(outcomes)).toEqual(new Set(['egress_refused']));
  // The others are no client ids at all, or the same one in another spelling.
  expect(outcomes.length).toBeGreaterThan(50);
});

it('the keys of an issuer lead to none of them, wherever its metadata points', async () => {
  let pointed = '';
  const issuer = createServer((_request, response) => {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ issuer: origin, jwks_uri: pointed }));
  });
  await new Promise<void>((done) => issuer.listen(0, '127.0.0.1', done));
  const origin = `http://127.0.0.1:${(issuer.address() as AddressInfo).port}`;
  const { egress, outcomes } = watched({ trusted: [origin] });
  const entry = { kind: 'oidc', name: 'idp', keys: { kind: 'discovery' }, rules: { issuer: origin } } as TokenEntry;
  try {
    for (const url of URLS) {
      pointed = url;
      outcomes.length = 0;
      const source = keySourceOf(entry, { egress, clock: systemClock, log: silentLog });
      expect(await source.get({ alg: 'RS256', kid: 'a' }), url.slice(0, 80)).toBe('unavailable');
      source.close();
      expect(outcomes.slice(0, 2), url.slice(0, 80)).toEqual(['HTTP 200', 'egress_refused']);
    }
  } finally {
    await new Promise<void>((done) => issuer.close(() => done()));
  }
});
