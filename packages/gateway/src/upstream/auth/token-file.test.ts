import { chmod, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { expect, it } from 'vitest';
import { MapSecrets } from '../fixtures/secrets.ts';
import { GATEWAY, Grants } from './grants.ts';
import { importTokenFile } from './token-file.ts';

const URL_ = 'https://notes.example/mcp';
const OLD = {
  version: 1,
  servers: {
    notes: {
      url: URL_,
      issuer: 'https://as.example',
      authorizationServer: 'https://as.example',
      metadata: { issuer: 'https://as.example', token_endpoint: 'https://as.example/token' },
      resource: URL_,
      clients: { 'https://as.example': { client_id: 'c1' } },
      tokens: { accessToken: 'access-old', refreshToken: 'refresh-old', useUntil: 4_000_000_000_000 },
    },
    half: { url: URL_, metadata: undefined, clients: {} },
  },
};

it('moves the sign-ins of the old file into the vault, once', async () => {
  await using folder = await temporaryDirectory('token-file');
  const file = join(folder.path, 'oauth.json');
  const secrets = new MapSecrets();
  expect(await importTokenFile(file, secrets)).toEqual([]);
  await writeFile(file, JSON.stringify(OLD), { mode: 0o600 });
  expect(await importTokenFile(file, secrets)).toEqual(['notes']);
  await expect(stat(file)).rejects.toMatchObject({ code: 'ENOENT' });
  const grant = await new Grants(secrets).read('notes', GATEWAY, URL_);
  expect(grant).toMatchObject({ tokens: { refreshToken: 'refresh-old' }, client: { client_id: 'c1' } });
  // What was signed in since wins.
  await new Grants(secrets).write('notes', GATEWAY, { ...grant!, tokens: { accessToken: 'newer' } }, 'cli');
  await writeFile(file, JSON.stringify(OLD), { mode: 0o600 });
  expect(await importTokenFile(file, secrets)).toEqual([]);
  expect((await new Grants(secrets).read('notes', GATEWAY, URL_))?.tokens?.accessToken).toBe('newer');
});

it('keeps the file where the vault cannot take it', async () => {
  await using folder = await temporaryDirectory('token-file');
  const file = join(folder.path, 'oauth.json');
  await writeFile(file, JSON.stringify(OLD), { mode: 0o600 });
  const secrets = new MapSecrets();
  secrets.failure = new Error('sealed');
  await expect(importTokenFile(file, secrets)).rejects.toThrow('sealed');
  expect((await stat(file)).size).toBeGreaterThan(0);
});

it('reads no file that others may open, no link and no damaged file, and quotes none', async () => {
  await using folder = await temporaryDirectory('token-file');
  const file = join(folder.path, 'oauth.json');
  await writeFile(file, JSON.stringify(OLD), { mode: 0o600 });
  for (const mode of [0o644, 0o640, 0o604]) {
    await chmod(file, mode);
    await expect(importTokenFile(file, new MapSecrets())).rejects.toMatchObject({
      code: 'config_invalid',
      message: expect.stringContaining('chmod 600'),
    });
  }
  await chmod(file, 0o600);
  const link = join(folder.path, 'link.json');
  await symlink(file, link);
  await expect(importTokenFile(link, new MapSecrets())).rejects.toMatchObject({ code: 'config_invalid' });
  await writeFile(file, '{"version":1,"servers":{"notes":"s3cret"}}');
  await expect(importTokenFile(file, new MapSecrets())).rejects.toMatchObject({
    code: 'config_invalid',
    message: expect.not.stringContaining('s3cret'),
  });
});
