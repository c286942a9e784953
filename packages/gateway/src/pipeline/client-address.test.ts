/** Limits by address: whom they meet behind proxies, and that nobody gets a fresh one by writing a header. */
import { expect, it } from 'vitest';
import { startGateway, startScripted, tool } from './testing.ts';

const config = (url: string, more: object) => ({
  servers: { s: { url } },
  limits: { each: { by: 'ip', limit: '2/h' } },
  ...more,
});
const ask = { name: 'read', arguments: {} };
const server = () =>
  startScripted({ 'tools/list': () => ({ tools: [tool('read')], ttlMs: 60_000, cacheScope: 'private' }) });

it('behind a trusted proxy counts each client, spelled in either family, and not what the client wrote (CVE-2026-30827)', async () => {
  await using scripted = await server();
  await using gateway = await startGateway(
    config(scripted.url, { trustedProxies: ['127.0.0.1', '10.0.0.0/8'], auth: [{ anonymous: { public: true } }] }),
  );
  const allowed = async (forwarded: string): Promise<boolean> => {
    const { body } = await gateway.call('tools/call', ask, { headers: { 'x-forwarded-for': forwarded } });
    return body.error === undefined;
  };
  expect([await allowed('192.0.2.1'), await allowed('192.0.2.1'), await allowed('192.0.2.1')]).toEqual([
    true,
    true,
    false,
  ]);
  // Other IPv4 clients have counters of their own, also in the form a dual-stack proxy writes.
  expect([await allowed('::ffff:192.0.2.2'), await allowed('192.0.2.2'), await allowed('192.0.2.2')]).toEqual([
    true,
    true,
    false,
  ]);
  for (const spelled of [
    '6.6.6.6, 192.0.2.1',
    '192.0.2.1, 10.1.2.3',
    '::ffff:192.0.2.1',
    '192.0.2.1:4711',
    '192.0.2.9,192.0.2.1,10.0.0.1',
  ]) {
    expect(await allowed(spelled), spelled).toBe(false);
  }
  // A client has a /64: who walks through it walks on one counter.
  expect([await allowed('2001:db8::1'), await allowed('2001:db8::2'), await allowed('2001:db8::3')]).toEqual([
    true,
    true,
    false,
  ]);
});

it('without a trusted proxy is that of the socket, whatever headers say', async () => {
  await using scripted = await server();
  await using gateway = await startGateway(config(scripted.url, {}));
  const outcomes: boolean[] = [];
  for (const name of [
    'x-forwarded-for',
    'forwarded',
    'x-real-ip',
    'true-client-ip',
    'cf-connecting-ip',
    'x-client-ip',
  ]) {
    const { body } = await gateway.call('tools/call', ask, { headers: { [name]: `203.0.113.${outcomes.length}` } });
    outcomes.push(body.error === undefined);
  }
  expect(outcomes).toEqual([true, true, false, false, false, false]);
});

it('makes anonymous callers behind a proxy as many principals as they have addresses', async () => {
  await using scripted = await server();
  await using gateway = await startGateway({
    servers: { s: { url: scripted.url } },
    trustedProxies: ['127.0.0.1'],
    auth: [{ anonymous: { public: true } }],
    limits: { each: { by: 'principal', limit: '1/h' } },
  });
  const allowed = async (forwarded: string): Promise<boolean> =>
    (await gateway.call('tools/call', ask, { headers: { 'x-forwarded-for': forwarded } })).body.error === undefined;
  expect([await allowed('192.0.2.1'), await allowed('192.0.2.2'), await allowed('192.0.2.1')]).toEqual([
    true,
    true,
    false,
  ]);
});

it('through a proxy lets nobody in unless that is written, also on loopback', async () => {
  const open = { servers: { s: { url: 'http://127.0.0.1:1/mcp' } }, trustedProxies: ['127.0.0.1'] };
  await expect(startGateway(open)).rejects.toMatchObject({
    message: expect.stringContaining('reachable from other machines through a proxy'),
  });
  await expect(startGateway({ ...open, auth: [{ anonymous: true }] })).rejects.toMatchObject({
    message: expect.stringContaining('could call without a credential'),
  });
});
