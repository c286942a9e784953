/** TLS of the listener: versions, certificates that change, and connections that are no TLS. */
import { rename, writeFile } from 'node:fs/promises';
import { request as httpsRequest } from 'node:https';
import { connect as connectTcp } from 'node:net';
import { join } from 'node:path';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { makeCertificate, type TestCertificate } from '@tollgate/testkit/certificates';
import { type TemporaryDirectory, temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { verifies } from '@tollgate/testkit/verifies';
import { waitUntil } from '@tollgate/testkit/wait';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Log, silentLog } from '../core/log.ts';
import { head, modernPost, optionsOf, post, type Rig, startEdge } from './fakes.ts';
import type { ListenerTls } from './options.ts';

let folder: TemporaryDirectory;
let first: TestCertificate;
let second: TestCertificate;

beforeAll(async () => {
  folder = await temporaryDirectory('tls');
  [first, second] = await Promise.all([makeCertificate(), makeCertificate()]);
});
afterAll(async () => await folder[Symbol.asyncDispose]());

let count = 0;

/** Files of a certificate of their own. */
async function files(certificate: TestCertificate): Promise<ListenerTls> {
  const at = (name: string): string => join(folder.path, `${count}-${name}`);
  count++;
  const tls = { cert: at('cert.pem'), key: at('key.pem'), minVersion: 'TLSv1.3' } as const;
  await put(tls, certificate);
  return tls;
}

async function put({ cert, key }: ListenerTls, certificate: Pick<TestCertificate, 'cert' | 'key'>): Promise<void> {
  // Renamed into place, as tools that renew certificates do.
  for (const [file, text] of [
    [key, certificate.key],
    [cert, certificate.cert],
  ] as const) {
    await writeFile(`${file}.new`, text, { mode: 0o600 });
    await rename(`${file}.new`, file);
  }
}

const start = (tls: ListenerTls, log: Log = silentLog): Promise<Rig> =>
  startEdge(optionsOf({}, { tls }), { certificateEvery: 20, log });

/** Fingerprint of the certificate that a new connection is shown, and the version that was agreed. */
function handshake(
  port: number,
  options: ConnectionOptions = {},
): Promise<{ fingerprint: string; version: string | null }> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', ca: [first.cert, second.cert], ...options });
    socket.once('error', reject);
    socket.once('secureConnect', () => {
      const seen = { fingerprint: socket.getPeerCertificate().fingerprint256, version: socket.getProtocol() };
      socket.destroy();
      resolve(seen);
    });
  });
}

function get(
  port: number,
  path: string,
  headers: Record<string, string> = {},
): Promise<{ status: number; headers: Record<string, unknown> }> {
  return new Promise((resolve, reject) => {
    const sent = httpsRequest(
      { port, host: '127.0.0.1', path, ca: [first.cert, second.cert], agent: false, headers },
      (response) => {
        response.resume();
        response.once('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers }));
      },
    );
    sent.once('error', reject);
    sent.end();
  });
}

async function answerOn(socket: TLSSocket, text: string): Promise<string> {
  socket.write(text);
  return await new Promise((resolve, reject) => {
    socket.once('data', (data) => resolve(String(data)));
    socket.once('close', () => reject(new Error('closed')));
  });
}

describe('TLS', () => {
  it('is 1.3, and nobody talks it down', async () => {
    verifies('R2-19', 'R0-63');
    const rig = await start(await files(first));
    expect(rig.edge.view.connections).toBe(0);
    expect((await handshake(rig.port)).version).toBe('TLSv1.3');
    for (const version of ['TLSv1.2', 'TLSv1.1', 'TLSv1'] as const) {
      const old = { maxVersion: version, minVersion: version, ciphers: 'DEFAULT@SECLEVEL=0' } as const;
      await expect(handshake(rig.port, old), version).rejects.toThrow(
        /protocol version|unsupported protocol|no protocols/i,
      );
    }
    const got = await get(rig.port, '/healthz');
    expect(got.status).toBe(200);
    expect(got.headers['strict-transport-security']).toBe('max-age=31536000');
    await rig.stop();
  });

  it('CVE-2026-21637 and CVE-2026-21714 (Node): names that a client asks for are asked of nothing, and HTTP/2 is not spoken', async () => {
    const rig = await start(await files(first));
    for (const servername of ['', 'localhost', 'a'.repeat(255), '*.example', '__proto__', '..', '-', 'x\u00e9']) {
      await handshake(rig.port, { servername, rejectUnauthorized: false }).catch(() => undefined);
    }
    await expect(handshake(rig.port, { ALPNProtocols: ['h2'], rejectUnauthorized: false })).rejects.toThrow();
    const socket = connect({ port: rig.port, host: '127.0.0.1', ca: [first.cert] });
    expect(await answerOn(socket, 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')).toMatch(/^HTTP\/1\.1 4\d\d /);
    socket.destroy();
    expect((await get(rig.port, '/healthz')).status).toBe(200);
    await rig.stop();
  });

  it('is 1.2 too where that is written, and never less', async () => {
    verifies('R2-19');
    const rig = await start({ ...(await files(first)), minVersion: 'TLSv1.2' });
    expect((await handshake(rig.port)).version).toBe('TLSv1.3');
    expect((await handshake(rig.port, { maxVersion: 'TLSv1.2' })).version).toBe('TLSv1.2');
    const old = { maxVersion: 'TLSv1.1', minVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' } as const;
    await expect(handshake(rig.port, old)).rejects.toThrow();
    await rig.stop();
  });

  it('serves MCP to its own pages by https, and tells plain HTTP nothing', async () => {
    const rig = await start(await files(first));
    const socket = connect({ port: rig.port, host: '127.0.0.1', ca: first.cert });
    const own = { Origin: `https://localhost:${rig.port}` };
    expect(await answerOn(socket, modernPost('tools/list', {}, own))).toMatch(/^HTTP\/1.1 200/);
    expect(await answerOn(socket, modernPost('tools/list', {}, { Origin: `http://localhost:${rig.port}` }))).toMatch(
      / 403/,
    );
    socket.destroy();
    const plain = await rig.open();
    plain.write(post('{}'));
    expect(await plain.close()).not.toContain('HTTP/1.1 2');
    const garbage = await rig.open();
    garbage.write(`\x16\x03\x01\x02${'garbage that is no handshake'.repeat(40)}`);
    await garbage.close();
    expect((await get(rig.port, '/healthz')).status).toBe(200);
    await rig.stop();
  });

  it('ends with the gateway also where a handshake never came', async () => {
    const rig = await start(await files(first));
    const silent = connectTcp(rig.port, '127.0.0.1');
    const closed = new Promise<void>((resolve) => silent.once('close', () => resolve()));
    await new Promise<void>((resolve) => silent.once('connect', () => resolve()));
    await rig.stop();
    await closed;
  });
});

describe('a certificate', () => {
  it('that changes is shown to the next handshake; no handshake fails and no connection breaks (F11)', async () => {
    const tls = await files(first);
    const rig = await start(tls);
    const kept = connect({ port: rig.port, host: '127.0.0.1', ca: first.cert });
    expect(await answerOn(kept, head('GET', { Host: '127.0.0.1' }, '/healthz'))).toMatch(/ 200 /);
    const seen = new Set<string>();
    let failed: unknown;
    let stop = false;
    const load = Array.from({ length: 8 }, async () => {
      while (!stop) {
        try {
          seen.add((await handshake(rig.port)).fingerprint);
        } catch (error) {
          failed ??= error;
        }
      }
    });
    for (const next of [second, first, second]) {
      await put(tls, next);
      await waitUntil('the new certificate', async () => (await handshake(rig.port)).fingerprint === next.fingerprint);
    }
    stop = true;
    await Promise.all(load);
    expect(failed).toBeUndefined();
    expect([...seen].toSorted()).toEqual([first.fingerprint, second.fingerprint].toSorted());
    expect(await answerOn(kept, head('GET', { Host: '127.0.0.1' }, '/healthz'))).toMatch(/ 200 /);
    expect(rig.edge.pin).toBe(second.pin);
    kept.destroy();
    await rig.stop();
  });

  it('that is bad does not take the place of one that works, at a change of files or of the configuration', async () => {
    const tls = await files(first);
    let refused = 0;
    const rig = await start(tls, { ...silentLog, error: () => refused++ });
    const ended = await makeCertificate(undefined, { notAfter: new Date(Date.now() - 3_600_000) });
    for (const bad of [
      { cert: 'no PEM', key: second.key },
      { cert: second.cert, key: first.key },
      { cert: second.cert, key: '' },
      ended,
    ]) {
      const before = refused;
      await put(tls, bad);
      await expect(rig.edge.loadCertificate(optionsOf({}, { tls }))).rejects.toMatchObject({ code: 'config_invalid' });
      await waitUntil('a look at the files', () => refused > before);
      expect((await handshake(rig.port)).fingerprint).toBe(first.fingerprint);
    }
    await put(tls, second);
    await waitUntil('the good one', async () => (await handshake(rig.port)).fingerprint === second.fingerprint);
    await rig.stop();
  });

  it('of another configuration is used once that is applied', async () => {
    const rig = await start(await files(first));
    const other = { ...(await files(second)), minVersion: 'TLSv1.2' } as const;
    const use = await rig.edge.loadCertificate(optionsOf({}, { tls: other }));
    expect((await handshake(rig.port)).fingerprint).toBe(first.fingerprint);
    use();
    expect((await handshake(rig.port, { maxVersion: 'TLSv1.2' })).fingerprint).toBe(second.fingerprint);
    await rig.stop();
  });

  it('that cannot serve stops the start, named by file', async () => {
    const tls = await files(first);
    for (const [wrong, words] of [
      [{ ...tls, cert: '/nonexistent/cert.pem' }, /tls\.cert: \/nonexistent\/cert\.pem .*there is no such file/],
      [{ ...tls, key: tls.cert }, /tls\.key/],
      [{ ...tls, key: (await files(second)).key }, /does not belong/],
    ] as const) {
      await expect(start(wrong)).rejects.toMatchObject({
        code: 'config_invalid',
        message: expect.stringMatching(words),
      });
    }
  });
});
