/** Which servers are believed over TLS, and which are not, whatever they show. */
import { writeFile } from 'node:fs/promises';
import type { RequestListener } from 'node:http';
import https from 'node:https';
import type net from 'node:net';
import { join } from 'node:path';
import { makeCertificate, type TestCertificate } from '@tollgate/testkit/certificates';
import { type TemporaryDirectory, temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { verifies } from '@tollgate/testkit/verifies';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { silentLog } from '../core/log.ts';
import { DEFAULT_SCAN_CAPS } from '../protocol/json/caps.ts';
import { run } from './fixtures/raw-http.ts';
import { HttpClient } from './http-client.ts';
import { createModernHttp } from './http-modern.ts';
import { signInFetch } from './oauth-fetch.ts';
import type { ServerTls } from './options.ts';
import { secureConnect } from './secure-connect.ts';

let folder: TemporaryDirectory;
let shown: TestCertificate;
let other: TestCertificate;
let server: https.Server;
let old: https.Server;
let reached = 0;
let ca: string;

beforeAll(async () => {
  folder = await temporaryDirectory('tls-out');
  [shown, other] = await Promise.all([makeCertificate(['127.0.0.1', 'mcp.internal']), makeCertificate()]);
  ca = join(folder.path, 'ca.pem');
  await writeFile(ca, shown.cert);
  await writeFile(join(folder.path, 'other.pem'), other.cert);
  const answer: RequestListener = async (request, response) => {
    reached++;
    let body = '';
    for await (const part of request) body += String(part);
    const { id } = JSON.parse(body) as { id: unknown };
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ jsonrpc: '2.0', id, result: { resultType: 'complete' } }));
  };
  server = https.createServer(shown, answer);
  old = https.createServer({ ...shown, maxVersion: 'TLSv1.2' }, answer);
  for (const one of [server, old]) await new Promise<void>((done) => one.listen(0, '127.0.0.1', done));
});

afterAll(async () => {
  for (const one of [server, old]) {
    one.close();
    one.closeAllConnections();
  }
  await folder[Symbol.asyncDispose]();
});

const system: ServerTls = { ca: undefined, pins: undefined, serverName: undefined, minVersion: 'TLSv1.3' };

/** Calls the server once; the failure's code and message, or undefined. */
async function call(tls: Partial<ServerTls>, at = server): Promise<string | undefined> {
  const url = new URL(`https://127.0.0.1:${(at.address() as net.AddressInfo).port}/mcp`);
  const client = new HttpClient(
    {
      name: 'notes',
      target: { kind: 'http', url, headers: {}, tls: { ...system, ...tls } },
      protocol: 'auto',
      auth: undefined,
      timeout: { connect: 30_000, firstByte: 30_000, idle: 30_000, request: 30_000 },
      instances: { mode: 'auto', max: 1, idle: 1_000 },
      pool: { max: 2 },
      maxResponse: 100_000,
    },
    { log: silentLog, caps: DEFAULT_SCAN_CAPS },
  );
  try {
    const info = { version: '2026-07-28', capabilities: {}, serverInfo: undefined, instructions: undefined };
    const { failures } = await run(createModernHttp(client).connection(info));
    return failures[0] === undefined ? undefined : `${failures[0].code} ${failures[0].message}`;
  } finally {
    await client.close();
  }
}

describe('a server over TLS', () => {
  it('is believed for an authority, its name and a pinned key', async () => {
    verifies('R2-20', 'C-23');
    expect(await call({ ca })).toBeUndefined();
    expect(await call({ ca, pins: [shown.pin] })).toBeUndefined();
    expect(await call({ ca, pins: [other.pin, shown.pin] })).toBeUndefined();
    expect(await call({ ca, serverName: 'mcp.internal', pins: [shown.pin] })).toBeUndefined();
  });

  it('is not, and gets nothing, when one of them is wrong, whatever the process was told', async () => {
    verifies('R2-20', 'C-23');
    const before = [reached, process.env['NODE_TLS_REJECT_UNAUTHORIZED']] as const;
    process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0';
    try {
      for (const [tls, words] of [
        [{}, /self-signed/],
        [{ ca: join(folder.path, 'other.pem') }, /self-signed|not trusted/],
        [{ pins: [shown.pin] }, /self-signed/],
        [{ ca, pins: [other.pin] }, /no key of its certificate chain is pinned/],
        [{ ca, serverName: 'evil.internal' }, /for another host/],
        [{ ca, serverName: 'evil.internal', pins: [shown.pin] }, /for another host/],
      ] as const) {
        expect(await call(tls), JSON.stringify(tls)).toMatch(/^server_unavailable /);
        expect(await call(tls)).toMatch(words);
      }
    } finally {
      if (before[1] === undefined) delete process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
      else process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = before[1];
    }
    expect(reached).toBe(before[0]);
  });

  it('is recognised in the same way during a sign-in', async () => {
    const url = new URL(`https://127.0.0.1:${(server.address() as net.AddressInfo).port}/mcp`);
    const init = { method: 'POST', body: '{"id":1}' };
    const signIn = (tls: Partial<ServerTls>) =>
      signInFetch(url, AbortSignal.timeout(60_000), [], secureConnect('notes', { ...system, ...tls }));
    expect((await (await signIn({ ca, pins: [shown.pin] }))(url, init)).status).toBe(200);
    const before = reached;
    for (const tls of [{}, { ca, pins: [other.pin] }, { ca, serverName: 'evil.internal' }]) {
      await expect((await signIn(tls))(url, init)).rejects.toMatchObject({ code: 'egress_failed' });
    }
    expect(reached).toBe(before);
  });

  it('is spoken to in TLS 1.3, in 1.2 only where that is written', async () => {
    verifies('R2-19');
    expect(await call({ ca }, old)).toMatch(/speaks no version of TLS that is allowed/);
    expect(await call({ ca, minVersion: 'TLSv1.2' }, old)).toBeUndefined();
  });

  it('whose authorities cannot be read is a mistake of the configuration, named', async () => {
    await expect(call({ ca: '/nonexistent/ca.pem' })).rejects.toMatchObject({
      code: 'config_invalid',
      message: expect.stringContaining('servers.notes.tls.ca: /nonexistent/ca.pem'),
    });
  });
});
