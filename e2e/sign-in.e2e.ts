import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startAuthorizationServer } from '@tollgate/testkit/authorization-server';
import { Browser } from '@tollgate/testkit/browser';
import { startChild } from '@tollgate/testkit/child';
import { startGateway, TOLLGATE_BIN } from '@tollgate/testkit/gateway';
import { startGuardedServer } from '@tollgate/testkit/guarded-server';
import { modernBody, modernHeaders } from '@tollgate/testkit/modern-request';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { waitUntil } from '@tollgate/testkit/wait';
import { expect, it } from 'vitest';

const OLD_TOKEN = 'access-of-the-old-file';

it('`tollgate login` beside a running gateway: the next call has the token, which is in the vault alone', async () => {
  await using as = await startAuthorizationServer({ registration: true });
  await using notes = await startGuardedServer(as.issuer);
  await using folder = await temporaryDirectory('sign-in');
  const dataDir = join(folder.path, 'data');
  const config = { version: 1, dataDir, servers: { notes: { url: notes.url, auth: 'oauth' } } };
  await using gateway = await startGateway(config, { folder: folder.path });
  const ask = async (method: string, params = {}): Promise<string> => {
    const response = await fetch(gateway.url(), {
      method: 'POST',
      headers: Object.fromEntries(modernHeaders(method, params)),
      body: modernBody(1, method, params),
    });
    return response.text();
  };

  // A sign-in of a version that kept them in a file: taken over by the first command that needs it.
  const oldFile = join(dataDir, 'oauth.json');
  const entry = {
    url: 'https://elsewhere.example/mcp',
    issuer: as.issuer,
    metadata: { token_endpoint: `${as.issuer}/token` },
    clients: { [as.issuer]: { client_id: 'old' } },
    tokens: { accessToken: OLD_TOKEN },
  };
  await writeFile(oldFile, JSON.stringify({ version: 1, servers: { other: entry } }), { mode: 0o600 });

  await using login = await startChild(
    process.execPath,
    [TOLLGATE_BIN, 'login', 'notes', gateway.configFile, '--no-browser'],
    { cwd: folder.path },
  );
  const page = (await login.waitFor(/^http:\/\/127\.0\.0\.1:\d+\/auth\?\S+$/m))[0];
  expect((await new Browser().follow(page)).text).toContain('You came back');
  expect((await login.exited).code, login.transcript()).toBe(0);
  expect(login.stdout()).toBe('Signed in at notes. The tokens are in the vault.\n');
  // Whoever lists tools has the server tried again, at most every two seconds.
  await waitUntil('the tools', async () => (await ask('tools/list')).includes('echo'), { interval: 200 });
  expect(await ask('tools/call', { name: 'echo', arguments: { text: 'hello' } })).toContain('hello');

  await expect(stat(oldFile)).rejects.toMatchObject({ code: 'ENOENT' });
  const sent = notes.requests.findLast(({ method }) => method === 'tools/call')?.headers.authorization ?? '';
  const token = sent.replace('Bearer ', '');
  expect(token.length).toBeGreaterThan(100);
  const stored = await readFile(join(dataDir, 'tollgate.db'), 'latin1');
  const log = await readFile(join(dataDir, 'tollgate.db-wal'), 'latin1').catch(() => '');
  expect(stored + log).not.toMatch(new RegExp(`${token.slice(-40)}|${OLD_TOKEN}`));
  expect(gateway.child.transcript() + login.transcript()).not.toContain(token.slice(-40));
});
