/** Who is believed about the client's address, scheme and host. */
import { describe, expect, it } from 'vitest';
import { modernPost, optionsOf, type Rig, startEdge } from './fakes.ts';
import { Proxies } from './proxies.ts';
import { RequestHead } from './request-head.ts';

function settled(networks: readonly string[], peer: string | undefined, headers: Partial<RequestHead>): RequestHead {
  const head = Object.assign(new RequestHead(), { host: 'inner' }, headers);
  new Proxies(networks).settle(head, peer, false);
  return head;
}

describe('the address of a client', () => {
  const trusted = ['10.0.0.0/8', '192.0.2.7', '2001:db8:1::/48'];

  it.each([
    // peer, X-Forwarded-For, address
    ['203.0.113.9', '1.2.3.4', '203.0.113.9'],
    ['203.0.113.9', '10.0.0.1', '203.0.113.9'],
    ['10.0.0.1', undefined, '10.0.0.1'],
    ['10.0.0.1', '', '10.0.0.1'],
    ['10.0.0.1', '1.2.3.4', '1.2.3.4'],
    ['::ffff:10.0.0.1', '1.2.3.4', '1.2.3.4'],
    ['2001:db8:1::5', '1.2.3.4', '1.2.3.4'],
    ['2001:db8:2::5', '1.2.3.4', '2001:db8:2::5'],
    // What stands left of the first hop that is no proxy was written by the client itself.
    ['10.0.0.1', '6.6.6.6, 1.2.3.4', '1.2.3.4'],
    ['10.0.0.1', '127.0.0.1,1.2.3.4,10.9.9.9', '1.2.3.4'],
    ['10.0.0.1', '6.6.6.6, 1.2.3.4, 192.0.2.7', '1.2.3.4'],
    ['10.0.0.1', '10.0.0.3, 10.0.0.2', '10.0.0.3'],
    // Forms.
    ['10.0.0.1', '1.2.3.4:5678', '1.2.3.4'],
    ['10.0.0.1', '[2a00::1]:443', '2a00::1'],
    ['10.0.0.1', '[2a00::1]', '2a00::1'],
    ['10.0.0.1', '::ffff:1.2.3.4', '1.2.3.4'],
    // What no proxy writes.
    ['10.0.0.1', 'unknown', '10.0.0.1'],
    ['10.0.0.1', '1.2.3.4, <script>', '10.0.0.1'],
    ['10.0.0.1', '1.2.3.4, 10.0.0.2, 999.1.1.1', '10.0.0.1'],
    ['10.0.0.1', '1.2.3.4, fe80::1%eth0', '10.0.0.1'],
    ['10.0.0.1', '1.2.3.4,,', '10.0.0.1'],
    [undefined, '1.2.3.4', undefined],
  ])('from %s with %s is %s', (peer, forwardedFor, address) => {
    expect(settled(trusted, peer, { forwardedFor }).address).toBe(address);
  });

  it('is that of the socket where no proxy is configured, whatever is sent', () => {
    const head = settled([], '127.0.0.1', { forwardedFor: '1.2.3.4', forwardedHost: 'evil', forwardedProto: 'https' });
    expect([head.address, head.host, head.secure]).toEqual(['127.0.0.1', 'inner', false]);
  });

  it('is looked for in so many hops and no more', () => {
    const hops = Array.from({ length: 1000 }, (_, i) => `10.0.${i >> 8}.${i & 255}`);
    expect(settled(trusted, '10.0.0.1', { forwardedFor: hops.join(',') }).address).toBe('10.0.3.200');
  });
});

describe('host and scheme', () => {
  it('are those that the nearest proxy tells, and only when it is one', () => {
    const told = { forwardedHost: 'evil.example, gw.example', forwardedProto: 'http,https' };
    expect(settled(['10.0.0.1'], '10.0.0.1', told)).toMatchObject({ host: 'gw.example', secure: true });
    expect(settled(['10.0.0.1'], '10.0.0.2', told)).toMatchObject({ host: 'inner', secure: false });
  });
});

/** Names under which gateways and proxies pass on who somebody is. Clients know them, too. */
const INTERNAL = [
  'X-Forwarded-For: 10.1.1.1',
  'X-Forwarded-Host: gw.example',
  'X-Forwarded-Proto: https',
  'X-Forwarded-User: admin',
  'X-Forwarded-Email: admin@gw.example',
  'X-Forwarded-Groups: admin',
  'X-Forwarded-Access-Token: t',
  'X-Forwarded-Client-Cert: Subject="CN=admin"',
  'X-Forwarded-Prefix: /team',
  'X-Original-URL: /team',
  'X-Rewrite-URL: /team',
  'X-HTTP-Method-Override: DELETE',
  'Forwarded: for=10.1.1.1;host=gw.example;proto=https',
  'X-Real-IP: 10.1.1.1',
  'True-Client-IP: 10.1.1.1',
  'CF-Connecting-IP: 10.1.1.1',
  'X-Client-IP: 10.1.1.1',
  'X-Cluster-Client-IP: 10.1.1.1',
  'X-User-Id: admin',
  'X-Remote-User: admin',
  'Remote-User: admin',
  'X-Auth-Request-User: admin',
  'X-Auth-Request-Access-Token: t',
  'X-Authenticated-Userid: admin',
  'X-Consumer-Id: admin',
  'X-Credential-Identifier: admin',
  'X-Tenant-Id: acme',
  'X-Roles: admin',
  'X-Scopes: *',
  'X-Tollgate-Principal: admin',
  'X-Tollgate-Internal: 1',
  'X-Gateway-Key: default',
  'X-Internal-Auth: 1',
  'X-Mcp-Authorized: {"servers":["*"]}',
  'X-Mcp-Virtualserver: team',
  'Mcp-Init-Host: evil.example',
  'Router-Key: secret',
  'X-Api-Key: secret',
  'Proxy-Authorization: Bearer a',
  'Cookie: session=a; token=a',
];

describe('headers that other gateways believe', () => {
  async function seenBy(rig: Rig, lines: readonly string[]) {
    const before = rig.mcp.calls.length;
    const sent = modernPost('tools/call', { name: 'x' }).replace('\r\n\r\n', ['', ...lines, '', ''].join('\r\n'));
    const got = await rig.send(sent);
    const { principal, address, endpoint, session } = rig.mcp.calls[before]!;
    return { status: got.status, body: got.body, principal: principal.id, address, endpoint, session };
  }

  it('have no effect, alone and all together (Kuadrant GHSA-g53w-w6mj-hrpp)', async () => {
    const rig = await startEdge(optionsOf({}, { allowedHosts: ['gw.example'] }));
    const plain = await seenBy(rig, []);
    expect(plain.principal).toBe('test/nobody');
    for (const line of [...INTERNAL.map((one) => [one]), INTERNAL, INTERNAL.flatMap((one) => [one, one])]) {
      expect(await seenBy(rig, line), line.join('\n')).toEqual(plain);
    }
    await rig.stop();
  });

  it('count from a trusted proxy as far as they tell of the way, and never of the person', async () => {
    const rig = await startEdge(optionsOf({}, { trustedProxies: ['127.0.0.1'], allowedHosts: ['gw.example'] }));
    const seen = await seenBy(rig, INTERNAL);
    expect(seen).toMatchObject({ status: 200, principal: 'test/nobody', address: '10.1.1.1', endpoint: '/mcp' });
    const evil = modernPost('tools/list', {}, { 'X-Forwarded-Host': 'evil.example' });
    expect((await rig.send(evil)).status).toBe(403);
    rig.edge.reconfigure(optionsOf({}, { allowedHosts: ['gw.example'] }));
    expect((await seenBy(rig, INTERNAL)).address).toBe('127.0.0.1');
    await rig.stop();
  });
});
