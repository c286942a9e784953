/** One contract for all key providers. Helper and transit engine are stand-ins (fixtures, and below), not real products. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { verifies } from '@tollgate/testkit';
import { createFakeClock } from '@tollgate/testkit/fake-clock';
import { afterAll, describe, expect, it } from 'vitest';
import { silentLog } from '../core/log.ts';
import type { SecretId } from '../core/secrets.ts';
import { fileKeys } from './file-keys.ts';
import { processChannel, socketChannel } from './json-lines.ts';
import type { KeyProvider } from './key-provider.ts';
import { memoryRecords } from './memory-records.ts';
import { remoteKeys } from './remote-keys.ts';
import { transitKeys } from './transit-keys.ts';
import { Vault } from './vault.ts';

const HELPER = join(import.meta.dirname, 'fixtures/key-helper.ts');
const folder = mkdtempSync(join(tmpdir(), 'keys-'));
const cleanup: (() => Promise<unknown> | unknown)[] = [];
afterAll(async () => {
  for (const end of cleanup) await end();
  rmSync(folder, { recursive: true, force: true });
});

interface Subject {
  readonly provider: KeyProvider;
  /** Takes the provider away, and brings it back. Undefined: it cannot be away. */
  readonly outage: { begin(): Promise<unknown> | unknown; end(): Promise<unknown> | unknown } | undefined;
}

function keyProvider(name: string, open: () => Promise<Subject>): void {
  describe(`the key provider ${name}`, () => {
    it('wraps for one context, rotates, and forgets', async () => {
      verifies('R2-13', 'C-23');
      const { provider } = await open();
      cleanup.push(() => provider.close());
      const first = (await provider.keys())[0] ?? (await provider.create());
      expect(await provider.keys()).toEqual([first]);
      const [key, context, other] = [randomBytes(32), randomBytes(300), randomBytes(300)];
      const wrapped = await provider.wrap(first, key, context);
      expect(wrapped).not.toContain(key.toString('base64').slice(0, 20));
      expect((await provider.unwrap(first, wrapped, context)).equals(key)).toBe(true);
      const wrong = { code: 'vault_key_wrong' };
      await expect(provider.unwrap(first, wrapped, other)).rejects.toMatchObject(wrong);
      await expect(provider.unwrap(first, `${wrapped.slice(0, -6)}AAAAAA`, context)).rejects.toMatchObject(wrong);
      await expect(provider.unwrap('no-such-key', wrapped, context)).rejects.toMatchObject(wrong);
      const many = await Promise.all(Array.from({ length: 30 }, () => provider.wrap(first, key, context)));
      expect(new Set(many).size).toBe(30);

      const second = await provider.rotate();
      expect(await provider.keys()).toEqual([second, first]);
      expect((await provider.unwrap(first, wrapped, context)).equals(key)).toBe(true);
      const under = await provider.wrap(second, key, context);
      await provider.destroy(first);
      await provider.destroy(first);
      expect(await provider.keys()).toEqual([second]);
      await expect(provider.unwrap(first, wrapped, context)).rejects.toMatchObject(wrong);
      expect((await provider.unwrap(second, under, context)).equals(key)).toBe(true);
    });

    it('carries a vault through its rotation, and fails closed five minutes after it went away (F46)', async () => {
      const { provider, outage } = await open();
      const clock = createFakeClock();
      const make = () => new Vault({ records, provider, clock, log: silentLog });
      const records = memoryRecords();
      const vault = make();
      cleanup.push(() => vault.close());
      const id = (text: string): SecretId => ({ owner: { kind: 'gateway' }, purpose: 'secret', name: text });
      await vault.put(id('used'), 'one', { by: 'test' });
      await vault.put(id('unused'), 'two', { by: 'test' });
      await vault.rotation.rotate('ops');
      expect(await vault.rotation.rewrap('ops')).toEqual({ rewrapped: 2, left: 0, failed: 0 });
      expect(await vault.get(id('used'), 't')).toBe('one');
      if (outage === undefined) return;
      await outage.begin();
      const away = { code: 'vault_unavailable' };
      expect(await vault.get(id('used'), 't')).toBe('one');
      await expect(vault.get(id('unused'), 't')).rejects.toMatchObject(away);
      await expect(vault.put(id('new'), 'x', { by: 'test' })).rejects.toMatchObject(away);
      // Nobody can tell whether the key is the right one: that is no proof that it is wrong.
      await expect(make().verify()).rejects.toMatchObject(away);
      clock.advance(5 * 60_000);
      await expect(vault.get(id('used'), 't')).rejects.toMatchObject(away);
      await outage.end();
      expect(await vault.get(id('used'), 't')).toBe('one');
      expect(await vault.get(id('unused'), 't')).toBe('two');
    });
  });
}

keyProvider('file', async () => ({
  provider: fileKeys(join(folder, `${randomBytes(4).toString('hex')}.key`)),
  outage: undefined,
}));

keyProvider('command', async () => {
  const file = join(folder, randomBytes(4).toString('hex'));
  const open = (patience: number) =>
    remoteKeys('command', () => processChannel([process.execPath, HELPER, file], folder), patience);
  // It hangs: the worst way of being away. While it does, nobody has to wait as long as for a start on a busy machine.
  const [patient, hasty] = [open(20_000), open(300)];
  let provider = patient;
  const begin = (): void => {
    writeFileSync(`${file}.hang`, '');
    provider = hasty;
  };
  const end = (): void => {
    rmSync(`${file}.hang`);
    provider = patient;
  };
  cleanup.push(() => Promise.all([patient.close(), hasty.close()]));
  const now: KeyProvider = {
    ...patient,
    keys: () => provider.keys(),
    create: () => provider.create(),
    rotate: () => provider.rotate(),
    wrap: (...asked) => provider.wrap(...asked),
    unwrap: (...asked) => provider.unwrap(...asked),
    destroy: (key) => provider.destroy(key),
  };
  return { provider: now, outage: { begin, end } };
});

keyProvider('socket', async () => {
  const file = join(folder, randomBytes(4).toString('hex'));
  let child: ChildProcess;
  const begin = async (): Promise<void> => {
    child = spawn(process.execPath, [HELPER, file, `${file}.sock`], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(child.stdout!, 'data');
  };
  const end = async (): Promise<void> => {
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  };
  await begin();
  cleanup.push(end);
  return {
    provider: remoteKeys('socket', () => socketChannel(`${file}.sock`)),
    outage: { begin: end, end: begin },
  };
});

/** A stand-in of the transit engine: the paths, names, statuses and texts of its HTTP interface, with keys in memory. */
async function startTransit(token: string) {
  const keys = new Map([[1, randomBytes(32)]]);
  let oldest = 1;
  let sealed = false;
  const seen: IncomingMessage['headers'][] = [];
  const derived = (version: number, context: string) =>
    createHmac('sha256', keys.get(version)!).update(Buffer.from(context, 'base64')).digest();
  const routes: Record<string, (body: Record<string, string & number>) => unknown> = {
    'GET keys/tollgate': () => ({
      latest_version: Math.max(...keys.keys()),
      min_decryption_version: oldest,
      derived: true,
    }),
    'GET keys/plain': () => ({ latest_version: 1, min_decryption_version: 1, derived: false }),
    'POST keys/tollgate/rotate': () => void keys.set(Math.max(...keys.keys()) + 1, randomBytes(32)),
    'POST keys/tollgate/config': (body) => {
      oldest = body['min_decryption_version']!;
    },
    'POST keys/tollgate/trim': (body) => {
      for (const version of keys.keys()) if (version < body['min_available_version']!) keys.delete(version);
    },
    'POST encrypt/tollgate': ({ plaintext, context, key_version: version }) => {
      const nonce = randomBytes(12);
      const cipher = createCipheriv('aes-256-gcm', derived(version!, context!), nonce, { authTagLength: 16 });
      const body = Buffer.concat([nonce, cipher.update(plaintext!, 'base64'), cipher.final(), cipher.getAuthTag()]);
      return { ciphertext: `vault:v${version}:${body.toString('base64')}` };
    },
    'POST decrypt/tollgate': ({ ciphertext, context }) => {
      const [, v, text] = /^vault:v(\d+):(.*)$/.exec(ciphertext!)!;
      if (Number(v) < oldest) throw new Error('ciphertext or signature version is disallowed by policy (too old)');
      const bytes = Buffer.from(text!, 'base64');
      const cipher = createDecipheriv('aes-256-gcm', derived(Number(v), context!), bytes.subarray(0, 12), {
        authTagLength: 16,
      });
      cipher.setAuthTag(bytes.subarray(-16));
      const plain = Buffer.concat([cipher.update(bytes.subarray(12, -16)), cipher.final()]);
      return { plaintext: plain.toString('base64') };
    },
  };
  const server = createServer((request, response) => {
    seen.push(request.headers);
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const reply = (status: number, body: object): void => void response.writeHead(status).end(JSON.stringify(body));
      if (sealed) return reply(503, { errors: ['Vault is sealed'] });
      if (request.headers['x-vault-token'] !== token) return reply(403, { errors: ['permission denied'] });
      const route = routes[`${request.method} ${request.url!.replace('/v1/team/transit/', '')}`];
      if (route === undefined) return reply(404, { errors: [] });
      try {
        const text = Buffer.concat(chunks).toString();
        return reply(200, { data: route(text === '' ? {} : JSON.parse(text)) });
      } catch (error) {
        return reply(400, { errors: [(error as Error).message] });
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanup.push(() => server.close());
  cleanup.push(() => server.closeAllConnections());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const seal = (on: boolean): void => {
    sealed = on;
  };
  return { url, seen, seal };
}

const TOKEN = 'hvs.token-of-the-test';

async function transit(key = 'tollgate', token = TOKEN) {
  const engine = await startTransit(TOKEN);
  const tokenFile = join(folder, `token-${randomBytes(4).toString('hex')}`);
  writeFileSync(tokenFile, `${token}\n`);
  const options = { kind: 'transit', url: engine.url, mount: 'team/transit', key, tokenFile, ca: undefined } as const;
  return { engine, tokenFile, provider: transitKeys({ ...options, namespace: 'ns1' }) };
}

keyProvider('transit', async () => {
  const { engine, provider } = await transit();
  return { provider, outage: { begin: () => engine.seal(true), end: () => engine.seal(false) } };
});

describe('the transit engine', () => {
  it('is asked with a token that an agent may renew, in its namespace', async () => {
    const { engine, tokenFile, provider } = await transit('tollgate', 'ended');
    await expect(provider.keys()).rejects.toMatchObject({ code: 'vault_unavailable' });
    writeFileSync(tokenFile, TOKEN);
    expect(await provider.keys()).toEqual(['team/transit/tollgate:v1']);
    expect(engine.seen.at(-1)).toMatchObject({ 'x-vault-namespace': 'ns1', 'x-vault-token': TOKEN });
    await provider.close();
  });

  it('must have the key, and one that is bound to contexts', async () => {
    for (const [key, message] of [
      ['plain', 'not derived'],
      ['none', 'derived=true'],
    ] as const) {
      const { provider } = await transit(key);
      await expect(provider.keys()).rejects.toMatchObject({
        code: 'vault_key_wrong',
        message: expect.stringContaining(message),
      });
      await provider.close();
    }
  });
});

describe('a helper that misbehaves', () => {
  it.each([
    ['is not there', ['/no/such/program']],
    ['ends at once', [process.execPath, '-e', '0']],
    ['writes without end', [process.execPath, '-e', 'setInterval(() => process.stdout.write("x".repeat(9999)), 1)']],
    [
      'answers with something else',
      [process.execPath, '-e', 'console.log(`{"id":1,"result":{"keys":7}}`); setInterval(() => 0, 999)'],
    ],
  ])('%s: refused in bounded time, and nothing crashes', async (_, command) => {
    const provider = remoteKeys('command', () => processChannel(command as [string, ...string[]], folder), 2_000);
    await expect(provider.keys()).rejects.toMatchObject({ code: 'vault_unavailable' });
    await provider.close();
  });
});
