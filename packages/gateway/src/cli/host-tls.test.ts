/** The command line and a gateway that speaks TLS, whose certificate is for another name than the one asked. */
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { makeCertificate } from '@tollgate/testkit/certificates';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { verifies } from '@tollgate/testkit/verifies';
import { expect, it } from 'vitest';
import { silentLog } from '../core/log.ts';
import { loadForCommand } from './configuration.ts';
import { Host } from './host.ts';
import { control } from './running.ts';

it('finds its gateway by the pinned key, also after the certificate was replaced, and tells the token to no other', async () => {
  verifies('R2-19');
  await using folder = await temporaryDirectory('host-tls');
  const file = join(folder.path, 'tollgate.yaml');
  const [first, second, foreign] = await Promise.all([1, 2, 3].map(() => makeCertificate(['gw.example'])));
  const put = async ({ cert, key }: { cert: string; key: string }): Promise<void> => {
    await writeFile(join(folder.path, 'cert.pem'), cert);
    await writeFile(join(folder.path, 'key.pem'), key, { mode: 0o600 });
  };
  await put(first!);
  const config = {
    listen: '127.0.0.1:0',
    tls: { cert: './cert.pem', key: './key.pem' },
    servers: { s: { url: 'http://127.0.0.1:1/mcp' } },
  };
  await writeFile(file, JSON.stringify(config));
  const command = await loadForCommand(file);
  const host = await Host.start(command, { log: silentLog, listen: undefined });
  try {
    expect(host.gateway.listening?.url).toMatch(/^https:\/\/127\.0\.0\.1:\d+$/);
    expect((await control(command.dataDir, '/status')).status).toBe(200);
    await put(second!);
    await host.reload();
    expect(host.gateway.controlPin).toBe(second!.pin);
    await expect.poll(async () => (await control(command.dataDir, '/status')).status).toBe(200);
    // A bad certificate refuses the reload and changes nothing.
    await put({ cert: first!.cert, key: second!.key });
    await expect(host.reload()).rejects.toMatchObject({ code: 'config_invalid' });
    expect((await control(command.dataDir, '/status')).status).toBe(200);

    const seen: unknown[] = [];
    const impostor = createServer(foreign!, (request, response) => {
      seen.push(request.headers.authorization);
      response.end('{}');
    });
    await new Promise<void>((done) => impostor.listen(0, '127.0.0.1', done));
    const record = join(command.dataDir, 'gateway.json');
    const text = await readFile(record, 'utf8');
    const elsewhere = `https://127.0.0.1:${(impostor.address() as AddressInfo).port}`;
    await writeFile(record, text.replaceAll(host.gateway.listening!.control, elsewhere));
    await expect(control(command.dataDir, '/status')).rejects.toMatchObject({ code: 'gateway_not_running' });
    expect(seen).toEqual([]);
    await new Promise<void>((done) => impostor.close(() => done()));
  } finally {
    await host.stop();
  }
});
