import http from 'node:http';
import https from 'node:https';
import type net from 'node:net';
import { gzipSync } from 'node:zlib';
import { makeCertificate } from '@tollgate/testkit/certificates';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Egress } from '../core/egress.ts';
import { createEgress, type EgressOptions, type ResolvedAddress } from './egress.ts';
import { FORBIDDEN_LITERALS, FORBIDDEN_NAMES, NAMES } from './testing.ts';

const resolve = async (name: string): Promise<readonly ResolvedAddress[]> =>
  (NAMES[name] ?? []).map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));

/** Every request that reached one of the two servers on loopback: `host url`. */
const seen: string[] = [];
let tlsServer: https.Server;
let plainServer: http.Server;
let tlsPort: number;
let plainPort: number;
let ca: string;

const answer = (request: http.IncomingMessage, response: http.ServerResponse): void => {
  const url = request.url ?? '';
  seen.push(`${request.headers.host} ${(request.socket as { servername?: string }).servername ?? ''} ${url}`);
  if (url.startsWith('/to/')) response.writeHead(302, { location: decodeURIComponent(url.slice(4)) }).end();
  else if (url === '/large') response.end(Buffer.alloc(5_000));
  else if (url === '/bomb') {
    response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(Buffer.alloc(10_000_000)));
  } else if (url === '/layers') {
    response.writeHead(200, { 'content-encoding': 'gzip, gzip' }).end(gzipSync(gzipSync('{}')));
  } else if (url === '/gzip') response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync('{"a":1}'));
  else if (url === '/hangs') response.writeHead(200).write('{');
  else response.end('{"a":1}');
};

beforeAll(async () => {
  const { cert, key } = await makeCertificate(['docs.example', 'rebind.example']);
  ca = cert;
  tlsServer = https.createServer({ key, cert }, answer);
  plainServer = http.createServer(answer);
  for (const server of [tlsServer, plainServer]) {
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  }
  tlsPort = (tlsServer.address() as net.AddressInfo).port;
  plainPort = (plainServer.address() as net.AddressInfo).port;
});

afterAll(() => {
  for (const server of [tlsServer, plainServer]) {
    server.close();
    server.closeAllConnections();
  }
});

/** A client that may go to this machine, where the two servers stand for the internet. */
function local(options: EgressOptions = {}): Egress {
  return createEgress({
    reach: 'loopback',
    ca,
    resolve: async () => [{ address: '127.0.0.1', family: 4 }],
    ...options,
  });
}

describe('a URL of a stranger', () => {
  const egress = createEgress({ resolve });

  it.each(
    [...FORBIDDEN_LITERALS, ...FORBIDDEN_NAMES].map((url) => [url.slice(0, 60), url]),
  )('like %s is never fetched', async (_title, url) => {
    await expect(egress(url)).rejects.toMatchObject({ code: 'egress_refused' });
  });

  it('may lead into private networks only where that is allowed, and even then nowhere else', async () => {
    const asked: string[] = [];
    const inside = createEgress({
      reach: 'private',
      resolve: async (name) => {
        asked.push(name);
        // Refused for its second address, so nothing is connected to.
        return [
          { address: '10.0.0.5', family: 4 },
          { address: '169.254.169.254', family: 4 },
        ];
      },
    });
    await expect(inside('https://idp.example/')).rejects.toMatchObject({ code: 'egress_refused' });
    expect(asked).toEqual(['idp.example']);
    for (const url of ['https://127.0.0.1/', 'https://[::1]/', 'http://10.0.0.5/', 'https://[64:ff9b::a00:5]/']) {
      await expect(inside(url)).rejects.toMatchObject({ code: 'egress_refused' });
    }
  });

  it('reaches the address that was checked, under its own name, and asks the resolver once (rebinding)', async () => {
    let asked = 0;
    const rebinding = local({
      resolve: async () => [{ address: asked++ === 0 ? '127.0.0.1' : '169.254.169.254', family: 4 }],
    });
    seen.length = 0;
    const response = await rebinding(`https://rebind.example:${tlsPort}/x`);
    expect(await response.json()).toEqual({ a: 1 });
    expect(seen).toEqual([`rebind.example:${tlsPort} rebind.example /x`]);
    expect(asked).toBe(1);
  });

  it('with plain HTTP reaches this machine alone, and only where that is allowed', async () => {
    expect((await local()(`http://127.0.0.1:${plainPort}/`)).status).toBe(200);
    await expect(createEgress()(`http://127.0.0.1:${plainPort}/`)).rejects.toMatchObject({ code: 'egress_refused' });
    const elsewhere = local({ resolve: async () => [{ address: '93.184.216.34', family: 4 }] });
    await expect(elsewhere('http://docs.example:8080/')).rejects.toMatchObject({ code: 'egress_refused' });
  });

  it('is not believed without a certificate for its name, whatever the process was told', async () => {
    const before = process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
    process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0';
    try {
      await expect(local()(`https://other.example:${tlsPort}/`)).rejects.toMatchObject({ code: 'egress_failed' });
      const unknown = createEgress({ reach: 'loopback', resolve: async () => [{ address: '127.0.0.1', family: 4 }] });
      await expect(unknown(`https://docs.example:${tlsPort}/`)).rejects.toMatchObject({ code: 'egress_failed' });
    } finally {
      if (before === undefined) delete process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
      else process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = before;
    }
  });
});

describe('a redirect', () => {
  const to = (url: string): string => `https://docs.example:${tlsPort}/to/${encodeURIComponent(url)}`;

  it('is not followed unless asked for', async () => {
    seen.length = 0;
    expect((await local()(to(`https://docs.example:${tlsPort}/next`))).status).toBe(302);
    expect(seen).toHaveLength(1);
  });

  it.each([
    'https://169.254.169.254/latest',
    'http://169.254.169.254/',
    'https://[::ffff:a9fe:a9fe]/',
    'file:///etc/passwd',
  ])('to %s ends there', async (url) => {
    await expect(local({ redirects: 3 })(to(url))).rejects.toMatchObject({ code: 'egress_refused' });
  });

  it('is followed as often as allowed', async () => {
    const twice = local({ redirects: 1 });
    expect(await (await twice(to('/next'))).json()).toEqual({ a: 1 });
    expect((await twice(to(to('/next')))).status).toBe(302);
  });
});

describe('an answer', () => {
  const at = (path: string): string => `https://docs.example:${tlsPort}${path}`;

  it('of one layer of compression is read', async () => {
    const response = await local()(at('/gzip'));
    expect(response.headers.get('content-encoding')).toBeNull();
    expect(await response.json()).toEqual({ a: 1 });
  });

  it('is cut at its size, counted after decompression, and not taken in several layers (undici CVE-2026-22036)', async () => {
    await expect(local()(at('/large'), { maxBytes: 4_999 })).rejects.toMatchObject({ code: 'egress_refused' });
    await expect(local()(at('/bomb'))).rejects.toMatchObject({
      code: 'egress_refused',
      message: expect.stringContaining('1 MiB'),
    });
    await expect(local()(at('/layers'))).rejects.toMatchObject({ code: 'egress_refused' });
  });

  it('that does not end, a resolver that does not answer, and a caller who leaves end the fetch', async () => {
    await expect(local()(at('/hangs'), { timeout: 50 })).rejects.toMatchObject({ code: 'egress_failed' });
    const hangs = local({ resolve: () => new Promise(() => {}) });
    await expect(hangs(at('/'), { timeout: 50 })).rejects.toMatchObject({ code: 'egress_failed' });
    await expect(hangs(at('/'), { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'egress_failed' });
  });

  it('is awaited for so many strangers at once and no more', async () => {
    const hangs = local({ resolve: () => new Promise(() => {}) });
    const leave = new AbortController();
    const waiting = Array.from({ length: 32 }, () => hangs(at('/'), { signal: leave.signal }).catch((error) => error));
    await expect(hangs(at('/'))).rejects.toMatchObject({ message: expect.stringContaining('too many') });
    leave.abort();
    await Promise.all(waiting);
    await expect(hangs(at('/'), { timeout: 1 })).rejects.toMatchObject({ message: expect.stringContaining('in time') });
  });
});
