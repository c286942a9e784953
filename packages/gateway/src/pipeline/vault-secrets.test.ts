import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { verifies } from '@tollgate/testkit/verifies';
import { describe, expect, it } from 'vitest';
import { explainConfig } from '../config/explain.ts';
import { loadConfigObject } from '../config/load.ts';
import { systemClock } from '../core/clock.ts';
import { silentLog } from '../core/log.ts';
import type { SecretId } from '../core/secrets.ts';
import { createGateway, TollgateError } from '../index.ts';
import { withSecrets } from './secret-source.ts';
import { GatewayState } from './state.ts';
import { statusReport } from './status-report.ts';
import { type Json, type ScriptedServer, startGateway, startScripted, tool } from './testing.ts';
import { VaultAdministration } from './vault-administration.ts';

const CANARY = 'canary-5d1e8f';
const id = (name: string, user?: string): SecretId => ({
  owner: user === undefined ? { kind: 'gateway' } : { kind: 'principal', principal: user },
  purpose: 'secret',
  name,
});
const hints = { ttlMs: 60_000, cacheScope: 'private' };
const TOOLS = { 'tools/list': () => ({ tools: [tool('work')], ...hints }) };
const TOKENS = ['ada', 'bob'].map((name) => ({
  name,
  bearer: { token: `token-of-${name}-0123456789`, subject: name },
}));

async function setup(headers: Json, more: Json = {}, handlers: Parameters<typeof startScripted>[0] = {}) {
  const stack = new AsyncDisposableStack();
  const server = stack.use(await startScripted({ ...TOOLS, ...handlers }));
  const state = await GatewayState.transient({ clock: systemClock, log: silentLog });
  stack.defer(() => state.close());
  const gateway = stack.use(
    await startGateway({ servers: { fake: { url: server.url, headers } }, ...more }, { state }),
  );
  return { stack, server, vault: state.vault, gateway };
}

const work = { name: 'work', arguments: {} };
const sent = (server: ScriptedServer, header: string): unknown =>
  server.seen.filter(({ method }) => method === 'tools/call').at(-1)?.headers[header];

describe('a secret in the headers of a server', () => {
  it('is put in place at each use, changes without a restart, and is shown nowhere', async () => {
    verifies('R2-22');
    const stack = new AsyncDisposableStack();
    await using _ = stack;
    const state = await GatewayState.transient({ clock: systemClock, log: silentLog });
    stack.defer(() => state.close());
    const server = stack.use(await startScripted(TOOLS));
    await state.vault.put(id('key'), `${CANARY}-1`, { by: 'test' });
    const servers = { fake: { url: server.url, headers: { 'x-api-key': 'k ${vault:key}' } } };
    const gateway = stack.use(await startGateway({ servers }, { state }));
    const first = await gateway.call('tools/call', work);
    expect(sent(server, 'x-api-key')).toBe(`k ${CANARY}-1`);
    await state.vault.put(id('key'), `${CANARY}-2`, { by: 'test' });
    const second = await gateway.call('tools/call', work);
    expect(sent(server, 'x-api-key')).toBe(`k ${CANARY}-2`);
    const status = statusReport(gateway.gateway, { configuration: 'x', reloadProblem: undefined });
    const explained = explainConfig(loadConfigObject({ servers }));
    const shown = JSON.stringify([first, second, status, explained, gateway.gateway.calls.recent()]);
    expect(shown).not.toContain(CANARY);
    expect(shown).toContain('x-api-key');
    // A mark that somebody finds would still be no secret; it is not shown either.
    expect(shown).not.toContain('vault-reference');
  });

  it('that is missing, expired, revoked or another server’s is refused with the way out', async () => {
    verifies('R2-44');
    const { stack, vault, gateway, server } = await setup({ 'x-api-key': '${vault:key}' });
    await using _ = stack;
    const said = async (): Promise<string> => JSON.stringify((await gateway.call('tools/call', work)).body);
    await vault.put(id('key'), 'x', { by: 'test' });
    await expect.poll(said).toContain('ran');
    await vault.put(id('key'), 'x', { by: 'test', expiresAt: Date.now() + 1 });
    await expect.poll(said).toMatch(/key expired on .* tollgate vault set key/);
    await vault.put(id('key'), 'x', { by: 'test', labels: { server: 'other' } });
    expect(await said()).toContain('for the server other alone');
    await vault.revoke(id('key'), 'ops', 'seen');
    expect(await said()).toMatch(/key was revoked.*tollgate vault set key/);
    await vault.remove(id('key'), 'ops');
    expect(await said()).toMatch(/key is not in the vault.*tollgate vault set key/);
    const before = server.seen.length;
    await said();
    expect(server.seen.length).toBe(before);
  });

  it('of the caller goes with the calls of that caller only', async () => {
    verifies('R2-48');
    const { stack, vault, gateway, server } = await setup(
      { authorization: 'Bearer ${vault:user/fake}' },
      { auth: TOKENS },
    );
    await using _ = stack;
    await vault.put(id('fake', 'ada/ada'), 'of-ada', { by: 'ada/ada' });
    const as = (name: string) => gateway.call('tools/call', work, { token: `token-of-${name}-0123456789` });
    const refused = await as('bob');
    expect(JSON.stringify(refused.body)).toContain('tollgate vault set fake --user bob/bob');
    await as('ada');
    expect(sent(server, 'authorization')).toBe('Bearer of-ada');
    await vault.put(id('fake', 'bob/bob'), 'of-bob', { by: 'bob/bob' });
    await Promise.all(Array.from({ length: 20 }, (_, i) => as(i % 2 === 0 ? 'ada' : 'bob')));
    const calls = server.seen.filter(({ method }) => method === 'tools/call');
    expect(calls.filter(({ headers }) => headers['authorization'] === 'Bearer of-ada')).toHaveLength(11);
    expect(calls.filter(({ headers }) => headers['authorization'] === 'Bearer of-bob')).toHaveLength(10);
    // The gateway reads the lists with nobody's.
    const lists = server.seen.filter(({ method }) => method === 'tools/list');
    expect(lists.every(({ headers }) => headers['authorization'] === undefined)).toBe(true);
  });

  it('gives way to the version before, or to its backup, where the server refuses it', async () => {
    verifies('R2-34');
    let accepted = 'old';
    const { stack, vault, gateway, server } = await setup(
      { 'x-api-key': '${vault:key}' },
      {},
      {
        'tools/call': (_params, response) => {
          if (server.seen.at(-1)?.headers['x-api-key'] === accepted) return { content: [] };
          response.writeHead(401).end();
          return undefined;
        },
      },
    );
    await using _ = stack;
    await vault.put(id('key'), 'old', { by: 'test' });
    const calls = () => server.seen.filter(({ method }) => method === 'tools/call').length;
    const ok = async () => (await gateway.call('tools/call', work)).body.result !== undefined;
    await expect.poll(ok).toBe(true);
    await vault.put(id('key'), 'new', { by: 'test', overlap: 60_000 });
    expect(await ok()).toBe(true);
    await vault.put(id('key'), 'third', { by: 'test' });
    const before = calls();
    expect((await gateway.call('tools/call', work)).body.error?.message ?? '').toContain(
      'does not accept our credential',
    );
    expect(calls() - before).toBe(1);
    accepted = 'spare';
    await vault.put(id('key.backup'), 'spare', { by: 'test' });
    expect(await ok()).toBe(true);
    expect(sent(server, 'x-api-key')).toBe('spare');
  });
});

describe('a secret of one server alone', () => {
  it('is no backup of another server’s', async () => {
    const { stack, vault, gateway, server } = await setup(
      { 'x-api-key': '${vault:key}' },
      {},
      { 'tools/call': (_params, response) => void response.writeHead(401).end() },
    );
    await using _ = stack;
    await vault.put(id('key'), 'refused', { by: 'test' });
    await vault.put(id('key.backup'), `${CANARY}-other`, { by: 'test', labels: { server: 'other' } });
    const tried = () => server.seen.filter(({ method }) => method === 'tools/call');
    await expect
      .poll(async () => (await gateway.call('tools/call', work)).body.error?.message ?? '')
      .toContain('does not accept our credential');
    expect(tried().every(({ headers }) => headers['x-api-key'] === 'refused')).toBe(true);
    await vault.put(id('key.backup'), `${CANARY}-own`, { by: 'test', labels: { server: 'fake' } });
    await gateway.call('tools/call', work);
    expect(sent(server, 'x-api-key')).toBe(`${CANARY}-own`);
  });

  it('goes to no webhook and no other server’s sign-in', async () => {
    const state = await GatewayState.transient({ clock: systemClock, log: silentLog });
    try {
      const oauth = (name: string) => {
        const client = { issuer: 'https://as.example', clientId: 'c', clientSecret: '${vault:x}' };
        return { [name]: { url: 'https://h.example/mcp', auth: { oauth: client } } };
      };
      await state.vault.put(id('x'), 'https://evil.example/', { by: 'test', labels: { server: 'one' } });
      const hooks = loadConfigObject({ servers: { a: { command: 'x' } }, webhooks: [{ url: '${vault:x}' }] });
      const other = loadConfigObject({ servers: oauth('two') });
      for (const loaded of [hooks, other]) {
        await expect(withSecrets(loaded, state.vault)).rejects.toMatchObject({
          code: 'secret_missing',
          message: expect.stringContaining('x is for the server one alone'),
        });
      }
      const own = await withSecrets(loadConfigObject({ servers: oauth('one') }), state.vault);
      expect(JSON.stringify(own.config.servers)).toContain('evil.example');
    } finally {
      await state.close();
    }
  });

  it('stays so with its next value, until it is removed', async () => {
    const state = await GatewayState.transient({ clock: systemClock, log: silentLog });
    try {
      const administration = new VaultAdministration(state.vault);
      const bound = async (server?: string) =>
        (await administration.set({ name: 'x', value: 'v', server }, 'ops')).labels['server'];
      expect([await bound('one'), await bound(), await bound('two'), await bound()]).toEqual([
        'one',
        'one',
        'two',
        'two',
      ]);
      await administration.remove({ name: 'x' }, 'ops');
      expect(await bound()).toBeUndefined();
    } finally {
      await state.close();
    }
  });
});

describe('a secret elsewhere in the configuration', () => {
  const config = {
    servers: { a: { command: 'x' } },
    auth: [{ name: 'ci', bearer: { token: '${vault:ci}', subject: 'ci' } }],
    webhooks: [{ url: '${vault:alerts}', secret: '${vault:alerts-key}' }],
  };

  it('is read when the configuration is applied; what is missing is named all at once', async () => {
    const state = await GatewayState.transient({ clock: systemClock, log: silentLog });
    try {
      const loaded = loadConfigObject(config);
      expect(loaded.secrets.names).toEqual(['ci', 'alerts', 'alerts-key']);
      await expect(withSecrets(loaded, state.vault)).rejects.toMatchObject({
        code: 'secret_missing',
        message: expect.stringMatching(/vault set ci;.*vault set alerts;.*vault set alerts-key$/),
      });
      await state.vault.put(id('ci'), 'token-0123456789abcdef', { by: 'test' });
      await state.vault.put(id('alerts'), 'https://hooks.example/x', { by: 'test' });
      await state.vault.put(id('alerts-key'), 'short', { by: 'test' });
      // The rules for secrets count for values of the vault too, and do not quote them.
      const short = await withSecrets(loaded, state.vault).catch((error: unknown) => error);
      expect(TollgateError.is(short) && short.message).toMatch(/webhooks\[0\]\.secret.*fewer than 16/);
      await state.vault.put(id('alerts-key'), 'long-enough-0123456789', { by: 'test' });
      const resolved = await withSecrets(loaded, state.vault);
      expect(resolved.config.auth?.[0]).toMatchObject({ bearer: { token: 'token-0123456789abcdef' } });
      expect(resolved.config.webhooks[0]?.url).toBe('https://hooks.example/x');
      expect(JSON.stringify(explainConfig(resolved))).not.toMatch(/0123456789|hooks\.example/);
      // Revoked while the gateway runs: closed for everybody, not open and not the old one.
      await state.vault.revoke(id('ci'), 'ops', 'seen');
      const closed = await withSecrets(resolved, state.vault, { lenient: true });
      expect(closed.config.auth?.[0]?.bearer?.token).toMatch(/^vault-reference-[0-9a-f]{32}/);
    } finally {
      await state.close();
    }
  });

  it.each([
    [{ storage: { sqlite: 'x.db', encryptionKey: '${vault:x}' } }, /vault is kept in `storage`/],
    [{ vault: { keys: { file: '${vault:x}' } } }, /vault is kept in `storage`/],
    [{ publicUrl: '${vault:x}' }, /publicUrl/],
    [{ auth: [{ name: '${vault:x}', bearer: { token: 'token-0123456789abcdef', subject: 'a' } }] }, /auth/],
    [{ auth: [{ name: 'a', bearer: { token: '${vault:user/x}', subject: 'a' } }] }, /belongs to a caller/],
    [{ servers: { a: { command: 'x', args: ['${vault:x}'] } } }, /command line/],
    [{ servers: { a: { command: 'x', env: { A: '${vault:user/x}' }, instances: 'shared' } } }, /per-principal/],
    [{ servers: { a: { command: 'x', env: { A: '${vault:a b}' } } } }, /names no secret/],
  ])('is refused where it cannot stand (%j)', (value, message) => {
    expect(() => loadConfigObject(value)).toThrow(message);
  });
});

describe('a gateway and its vault', () => {
  it('refuses to start with another master key, and touches nothing', async () => {
    verifies('R2-13');
    await using folder = await temporaryDirectory('vault');
    const file = join(folder.path, 'tollgate.yaml');
    writeFileSync(
      file,
      'listen: 127.0.0.1:0\nservers: { a: { url: http://127.0.0.1:9/ } }\nvault: { keys: { env: MASTER } }\n',
    );
    const key = (step: number): string =>
      Buffer.from(Array.from({ length: 32 }, (_, i) => (i * i * step + 3) % 256)).toString('base64');
    const { compile } = await import('../config/compile.ts');
    const { loadConfig } = await import('../config/load.ts');
    const deps = { clock: systemClock, log: silentLog };
    const state = await GatewayState.open(compile((await loadConfig(file)).config, { MASTER: key(7) }), deps);
    await state.vault.put(id('x'), 'kept', { by: 'test' });
    await state.close();
    for (const env of [{ MASTER: key(11) }, {}, { MASTER: 'changeme' }]) {
      await expect(createGateway(file, { env })).rejects.toMatchObject({ code: 'vault_key_wrong' });
    }
    const again = await GatewayState.open(compile((await loadConfig(file)).config, { MASTER: key(7) }), deps);
    expect(await again.vault.get(id('x'), 'test')).toBe('kept');
    expect((await again.store!.actions.list()).items.map(({ action }) => action)).toContain('vault_set');
    await again.close();
  });
});
