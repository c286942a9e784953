/** A repository that brings files of a data folder along: nothing of them is believed, and nothing written through them. */
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { startChild } from '@tollgate/testkit/child';
import { startGateway, TOLLGATE_BIN } from '@tollgate/testkit/gateway';
import { exchange } from '@tollgate/testkit/raw-http';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { describe, expect, it } from 'vitest';

/** A server at a port where nobody is: none of this needs one. */
const CONFIG = JSON.stringify({
  version: 1,
  listen: '127.0.0.1:0',
  servers: { none: { url: 'http://127.0.0.1:1/mcp' } },
});

describe('a data folder that came with a repository', () => {
  it('makes no command show the admin token to its address', async () => {
    await using folder = await temporaryDirectory('planted');
    const seen: (string | undefined)[] = [];
    const thief = createServer((request, response) => {
      seen.push(request.headers.authorization);
      response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
    });
    await new Promise<void>((resolve) => thief.listen(0, '127.0.0.1', resolve));
    try {
      const control = `http://127.0.0.1:${(thief.address() as AddressInfo).port}`;
      await mkdir(join(folder.path, '.tollgate'));
      const record = { pid: process.pid, url: control, control, configuration: '/c', startedAt: 'now' };
      await writeFile(join(folder.path, '.tollgate', 'gateway.json'), JSON.stringify(record), { mode: 0o644 });
      await writeFile(join(folder.path, 'tollgate.yaml'), CONFIG);
      for (const command of ['status', 'tail', 'reload']) {
        await using child = await startChild(process.execPath, [TOLLGATE_BIN, command], { cwd: folder.path });
        expect((await child.exited).code, child.transcript()).not.toBe(0);
        expect(child.transcript()).toContain('No gateway of this configuration is running');
      }
      expect(seen).toEqual([]);
    } finally {
      thief.close();
    }
  });

  it('makes no gateway write its log, its record or its token through a link', async () => {
    await using folder = await temporaryDirectory('planted');
    const dataDir = join(folder.path, '.tollgate');
    await mkdir(dataDir);
    const victim = join(folder.path, 'victim');
    await writeFile(victim, 'precious');
    for (const name of ['gateway.log', 'gateway.json']) await symlink(victim, join(dataDir, name));
    const file = join(folder.path, 'tollgate.yaml');
    await writeFile(file, CONFIG);
    const args = [TOLLGATE_BIN, 'serve', file, '--stdio'];
    await using child = await startChild(process.execPath, args, { cwd: folder.path, input: '' });
    expect((await child.exited).code).not.toBe(0);
    expect(child.stderr()).toContain('gateway.log cannot be written');
    await using gateway = await startGateway(CONFIG, { folder: folder.path });
    expect((await exchange(gateway.port, { method: 'GET', path: '/healthz' })).status).toBe(200);
    expect(await readFile(victim, 'utf8')).toBe('precious');
    expect(JSON.parse(await readFile(join(dataDir, 'gateway.json'), 'utf8'))).toMatchObject({ pid: gateway.child.pid });
  });
});

describe('the control API', () => {
  it('answers nobody without a role, and no page of another origin or name', async () => {
    await using gateway = await startGateway(CONFIG);
    const token = (await readFile(join(gateway.folder, '.tollgate', 'admin.token'), 'utf8')).trim();
    const ask = async (method: string, path: string, headers: [string, string][]) =>
      (await exchange(gateway.port, { method, path, headers, body: '' })).status;
    const admin: [string, string] = ['Authorization', `Bearer ${token}`];
    expect(await ask('GET', '/api/v1/status', [])).toBe(403);
    expect(await ask('POST', '/api/v1/reload', [['Content-Type', 'text/plain']])).toBe(403);
    expect(await ask('GET', '/api/v1/calls', [['Authorization', 'Bearer x']])).toBe(401);
    for (const origin of ['https://evil.example', 'null', 'http://localhost', `http://127.0.0.1:${gateway.port + 1}`]) {
      expect(await ask('POST', '/api/v1/reload', [admin, ['Origin', origin]]), origin).toBe(403);
    }
    expect(await ask('GET', '/api/v1/status', [admin, ['Host', 'rebound.example']])).not.toBe(200);
    for (const path of ['/api/v1/../v1/status', '/API/v1/status', '//api/v1/status', '/api/v1/status/']) {
      expect(await ask('GET', path, []), path).not.toBe(200);
    }
    expect(await ask('GET', '/api/v1/status', [admin])).toBe(200);
  });
});
