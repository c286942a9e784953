import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { verifies } from '@tollgate/testkit';
import { createFakeClock } from '@tollgate/testkit/fake-clock';
import { afterAll, describe, expect, it } from 'vitest';
import { silentLog } from '../core/log.ts';
import type { SecretId } from '../core/secrets.ts';
import type { VaultRecords } from '../core/vault-records.ts';
import { envKeys } from './env-keys.ts';
import { fileKeys } from './file-keys.ts';
import type { KeyProvider } from './key-provider.ts';
import { memoryRecords } from './memory-records.ts';
import { Vault, type VaultEvent } from './vault.ts';

const id = (name: string, tenant?: string): SecretId => ({
  owner: tenant === undefined ? { kind: 'gateway' } : { kind: 'tenant', tenant },
  purpose: 'secret',
  name,
});
const folder = mkdtempSync(join(tmpdir(), 'vault-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const keyFile = (): string => join(mkdtempSync(join(folder, 'key-')), 'master.key');

function made(records: VaultRecords = memoryRecords(), provider: KeyProvider = fileKeys(keyFile())) {
  const clock = createFakeClock();
  const events: VaultEvent[] = [];
  const vault = new Vault({ records, provider, clock, log: silentLog, onEvent: (event) => events.push(event) });
  return { vault, clock, events, records };
}

describe('a secret', () => {
  it('ends with its time, says so, and leaves the others as they are', async () => {
    verifies('R2-44', 'R2-02');
    const { vault, clock } = made();
    await vault.put(id('short'), 'one', { by: 'ada', expiresAt: clock.wall() + 1000 });
    await vault.put(id('long'), 'two', { by: 'ada' });
    expect(await vault.get(id('short'), 'test')).toBe('one');
    clock.advance(1000);
    expect(await vault.get(id('short'), 'test')).toBeUndefined();
    expect(await vault.info(id('short'))).toMatchObject({ state: 'expired' });
    expect(await vault.get(id('long'), 'test')).toBe('two');
    await vault.put(id('short'), 'renewed', { by: 'ada' });
    expect(await vault.get(id('short'), 'test')).toBe('renewed');
  });

  it('gives the version before while the overlap lasts', async () => {
    const { vault, clock } = made();
    await vault.put(id('x'), 'old', { by: 'ada' });
    await vault.put(id('x'), 'new', { by: 'ada', overlap: 5000 });
    expect([await vault.get(id('x'), 't'), await vault.previous(id('x'), 't')]).toEqual(['new', 'old']);
    clock.advance(5000);
    expect(await vault.previous(id('x'), 't')).toBeUndefined();
    await vault.put(id('x'), 'newer', { by: 'ada' });
    expect(await vault.previous(id('x'), 't')).toBeUndefined();
  });

  it('that is encrypted anew is the same value, as old as before, of a newer version', async () => {
    const { vault, clock } = made();
    await vault.put(id('x'), 'kept', { by: 'ada', expiresAt: clock.wall() + 60_000 });
    const before = await vault.info(id('x'));
    clock.advance(5000);
    expect(await vault.rotation.reencrypt('ops')).toBe(1);
    expect(await vault.info(id('x'))).toEqual({ ...before, version: before!.version + 1 });
    expect(await vault.get(id('x'), 't')).toBe('kept');
    expect(await vault.previous(id('x'), 't')).toBeUndefined();
  });

  it('is one owner’s alone and shows a fingerprint in place of its value', async () => {
    verifies('R2-22');
    const { vault } = made();
    await vault.put(id('x', 'acme'), 'value-of-acme', { by: 'ada' });
    await vault.put(id('x', 'other'), 'value-of-acme', { by: 'ada' });
    expect(await vault.get(id('x', 'third'), 't')).toBeUndefined();
    expect(await vault.get({ ...id('x', 'acme'), purpose: 'provider-key' }, 't')).toBeUndefined();
    const infos = await vault.list('all');
    expect(infos.map(({ fingerprint }) => fingerprint)).toEqual([infos[0]!.fingerprint, infos[0]!.fingerprint]);
    expect(infos[0]!.fingerprint).toMatch(/^[0-9a-f]{12}$/);
    expect(JSON.stringify(infos)).not.toContain('value-of-acme');
  });

  it.each([
    ['an empty name', id(''), 'x'],
    ['a long name', id('x'.repeat(201)), 'x'],
    ['a control character', id('a\nb'), 'x'],
    ['a lone surrogate', id('\ud800'), 'x'],
    ['no tenant', id('x', ''), 'x'],
    ['an empty value', id('x'), ''],
    ['a large value', id('x'), 'x'.repeat(65_537)],
  ])('is refused with %s', async (_, secret, value) => {
    const { vault } = made();
    await expect(vault.put(secret, value, { by: 'ada' })).rejects.toMatchObject({ code: 'invalid_params' });
  });

  it('tells what happened to it, and never its value', async () => {
    const { vault, events } = made();
    await vault.put(id('x'), 'hidden-value', { by: 'ada' });
    await vault.get(id('x'), 'server exa');
    await vault.revoke(id('x'), 'ops', 'seen in a log');
    expect(events.map(({ kind, by, reason }) => [kind, by, reason])).toEqual([
      ['set', 'ada', undefined],
      ['used', 'gateway', 'server exa'],
      ['revoked', 'ops', 'seen in a log'],
    ]);
    expect(JSON.stringify(events)).not.toContain('hidden-value');
  });
});

/** Records that somebody with the database can read and change. */
function tampered(change: (name: keyof VaultRecords, answer: unknown) => unknown): VaultRecords {
  const inner = memoryRecords();
  return new Proxy(inner, {
    get:
      (target, name: keyof VaultRecords) =>
      async (...args: never[]) =>
        change(name, await (target[name] as (...given: never[]) => Promise<unknown>)(...args)),
  });
}

type Read = Awaited<ReturnType<VaultRecords['read']>>;

describe('somebody who can write to the database', () => {
  const swaps: readonly [what: string, change: (mine: Read, other: Read) => Read][] = [
    [
      'the value of another secret',
      (mine, other) => ({
        ...mine,
        versions: [{ ...other.versions[0]!, slot: mine.head!.slot, version: mine.head!.version }],
      }),
    ],
    ['the whole record of another tenant', (_, other) => other],
    ['a head with another owner', (mine) => ({ ...mine, head: { ...mine.head!, owner: 'other' } })],
    ['a head that expires later', (mine) => ({ ...mine, head: { ...mine.head!, expiresAt: 9e15 } })],
    ['a head of a higher version', (mine) => ({ ...mine, head: { ...mine.head!, version: 9 } })],
    ['a head without its tag', (mine) => ({ ...mine, head: { ...mine.head!, tag: '' } })],
    ['other labels', (mine) => ({ ...mine, head: { ...mine.head!, labels: '{"server":"mine"}' } })],
  ];
  it.each(swaps)('cannot put in place %s', async (_, change) => {
    verifies('R2-13');
    let other: Read | undefined;
    let active = false;
    const records = tampered((name, answer) => {
      if (name !== 'read') return answer;
      if (!active) other = (answer as Read).head?.owner === 'other' ? (answer as Read) : other;
      return active ? change(answer as Read, other!) : answer;
    });
    const { vault, clock } = made(records);
    await vault.put(id('x', 'acme'), 'mine', { by: 'ada', expiresAt: clock.wall() + 1000 });
    await vault.put(id('x', 'other'), 'theirs', { by: 'ada' });
    expect(await vault.get(id('x', 'other'), 't')).toBe('theirs');
    active = true;
    await expect(vault.get(id('x', 'acme'), 't')).rejects.toMatchObject({
      code: expect.stringMatching(/^vault_(unavailable|key_wrong)$/),
    });
  });

  it('cannot bring back an older value, alone or with its head', async () => {
    let old: Read | undefined;
    let mode: 'honest' | 'value' | 'both' = 'honest';
    const records = tampered((name, answer) => {
      if (name !== 'read') return answer;
      const now = answer as Read;
      if (now.head?.version === 1) old = now;
      if (mode === 'both') return old;
      return mode === 'value' ? { ...now, versions: [{ ...old!.versions[0]!, version: 2 }] } : now;
    });
    const { vault, events } = made(records);
    await vault.put(id('x'), 'leaked', { by: 'ada' });
    expect(await vault.get(id('x'), 't')).toBe('leaked');
    await vault.put(id('x'), 'fresh', { by: 'ada' });
    mode = 'value';
    await expect(vault.get(id('x'), 't')).rejects.toMatchObject({ code: 'vault_key_wrong' });
    mode = 'both';
    // Found by whoever has seen the newer one; a gateway that starts afterwards cannot know (docs/vault.md).
    await expect(vault.get(id('x'), 't')).rejects.toMatchObject({ message: expect.stringContaining('older version') });
    expect(events.at(-1)).toMatchObject({ kind: 'rolled_back' });
  });
});

describe('a master key', () => {
  it('in a file is made once, readable by its owner only, and never anew', async () => {
    verifies('R2-13', 'C-23');
    const file = keyFile();
    const records = memoryRecords();
    const { vault } = made(records, fileKeys(file));
    expect(await vault.verify()).toBe(false);
    expect(() => statSync(file)).toThrow('ENOENT');
    await Promise.all(['a', 'b'].map((name) => vault.put(id(name), 'x', { by: 'ada' })));
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const before = readFileSync(file, 'utf8');
    // Of another vault, or lost: refused with the reason; nothing is written.
    const other = keyFile();
    await made(memoryRecords(), fileKeys(other)).vault.put(id('y'), 'y', { by: 'ada' });
    for (const provider of [fileKeys(other), fileKeys(keyFile())]) {
      const { vault: stranger } = made(records, provider);
      await expect(stranger.verify()).rejects.toMatchObject({ code: 'vault_key_wrong' });
      await expect(stranger.put(id('a'), 'over', { by: 'eve' })).rejects.toMatchObject({ code: 'vault_key_wrong' });
    }
    expect(readFileSync(file, 'utf8')).toBe(before);
    expect(await made(records, fileKeys(file)).vault.get(id('a'), 't')).toBe('x');
  });

  it('in a file that others may read, that is a link, or that holds something else is refused', async () => {
    const file = keyFile();
    const provider = () => made(memoryRecords(), fileKeys(file)).vault.put(id('x'), 'x', { by: 'ada' });
    const good = Buffer.from(Array.from({ length: 32 }, (_, i) => (i * i * 91 + 7) % 256)).toString('base64');
    for (const [text, mode] of [
      [good, 0o644],
      [good, 0o640],
      ['', 0o600],
      ['changeme', 0o600],
      [Buffer.alloc(32).toString('base64'), 0o600],
      [Buffer.from('a readable passphrase of 32 chars').subarray(0, 32).toString('base64'), 0o600],
      [Buffer.from(Array.from({ length: 32 }, (_, i) => i)).toString('base64'), 0o600],
      [good.slice(0, 30), 0o600],
    ] as const) {
      writeFileSync(file, text);
      chmodSync(file, mode);
      await expect(provider(), `${text} ${mode}`).rejects.toMatchObject({ code: 'vault_key_wrong' });
    }
    chmodSync(file, 0o600);
    writeFileSync(file, good);
    await provider();
    const link = keyFile();
    symlinkSync(file, link);
    // The opening of a pipe would wait for somebody who writes.
    const pipe = keyFile();
    execFileSync('mkfifo', ['-m', '600', pipe]);
    for (const other of [link, pipe]) {
      await expect(made(memoryRecords(), fileKeys(other)).vault.put(id('x'), 'x', { by: 'a' })).rejects.toMatchObject({
        code: 'vault_key_wrong',
      });
    }
  });

  it('in a variable has no default, and rotates by a second one before it', async () => {
    verifies('X2-04');
    for (const value of [undefined, '', 'default-password', 'password', Buffer.alloc(32, 'a').toString('base64')]) {
      const { vault } = made(memoryRecords(), envKeys('KEY', value));
      await expect(vault.put(id('x'), 'x', { by: 'ada' })).rejects.toMatchObject({ code: 'vault_key_wrong' });
    }
    const [one, two] = [7, 11].map((step) =>
      Buffer.from(Array.from({ length: 32 }, (_, i) => (i * i * step + 3) % 256)).toString('base64'),
    );
    const records = memoryRecords();
    const before = made(records, envKeys('KEY', one)).vault;
    await before.put(id('x'), 'kept', { by: 'ada' });
    await expect(before.rotation.rotate('ops')).rejects.toMatchObject({ code: 'usage' });
    const both = made(records, envKeys('KEY', `${two},${one}`)).vault;
    expect(await both.rotation.rotate('ops')).toMatchObject({ version: 2 });
    expect(await both.rotation.rewrap('ops')).toEqual({ rewrapped: 1, left: 0, failed: 0 });
    expect(await made(records, envKeys('KEY', two)).vault.get(id('x'), 't')).toBe('kept');
    await expect(made(records, envKeys('KEY', one)).vault.get(id('x'), 't')).rejects.toMatchObject({
      code: 'vault_key_wrong',
    });
  });
});
