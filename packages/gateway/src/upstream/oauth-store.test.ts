import { lstat, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { expect, it } from 'vitest';
import { type OAuthEntry, OAuthStore } from './oauth-store.ts';

it('writes tokens through no link that lies in wait', async () => {
  await using folder = await temporaryDirectory('oauth');
  const victim = join(folder.path, 'victim');
  await writeFile(victim, 'readable by all', { mode: 0o644 });
  const file = join(folder.path, 'oauth.json');
  await symlink(victim, `${file}.${process.pid}.tmp`);
  const entry: OAuthEntry = {
    url: 'https://a.example/mcp',
    metadata: {},
    clients: {},
    tokens: { accessToken: 'secret' },
  };
  const store = new OAuthStore(file);
  await store.update('a', () => Promise.resolve(entry));
  expect(await readFile(victim, 'utf8')).toBe('readable by all');
  expect((await lstat(file)).isFile()).toBe(true);
  expect(await store.read('a')).toMatchObject({ tokens: { accessToken: 'secret' } });
});
