import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createFakeClock, type FakeClock } from '@tollgate/testkit/fake-clock';
import { verifies } from '@tollgate/testkit/verifies';
import { waitUntil } from '@tollgate/testkit/wait';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silentLog } from '../core/log.ts';
import { keyId } from '../identity/key-format.ts';
import type { Storage } from '../store/storage.ts';
import { openStore, type Store } from '../store/store.ts';
import { Books } from './books.ts';
import { KeyAdministration } from './key-administration.ts';
import { KeyBook, type KeyRequest } from './key-book.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
let dataDir: string;
let store: Store;
let clock: FakeClock;
const open: KeyBook[] = [];

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'tollgate-keys-'));
  clock = createFakeClock(Date.UTC(2026, 10, 21));
  store = await openStore({ dataDir, sql: { kind: 'sqlite', file: 'x.db' } }, { log: silentLog, clock });
});
afterEach(async () => {
  for (const book of open.splice(0)) await book.close();
  await store.close();
  await rm(dataDir, { recursive: true });
});

async function bookOn(shared = true, storage: Storage = store): Promise<KeyBook> {
  const book = await KeyBook.open({ clock, log: silentLog, storage, shared, poll: 20 });
  open.push(book);
  return book;
}

const wanted = (more: Partial<KeyRequest> = {}): KeyRequest => ({
  entry: 'keys',
  subject: 'ada',
  tenant: 'acme',
  tier: undefined,
  roles: ['user'],
  scopes: ['read'],
  label: undefined,
  expiresAt: undefined,
  ...more,
});

/** A storage that is away when `away` says so. */
function failing(away: () => boolean): Storage {
  const keys = new Proxy(store.keys, {
    get: (target, name) =>
      away()
        ? () => Promise.reject(Object.assign(new Error('away')))
        : (Reflect.get(target, name) as (...args: unknown[]) => unknown),
  });
  return { ...store, keys };
}

describe('the book of keys', () => {
  it('accepts a key here at once, elsewhere within a second, and after a restart', async () => {
    const [first, second] = [await bookOn(), await bookOn()];
    const { key, info } = await first.create(wanted(), 'ops/admin');
    expect(keyId(key)).toBe(info.id);
    expect(first.find(info.id)).toMatchObject({ subject: 'ada', tenant: 'acme' });
    await waitUntil('the key', () => second.find(info.id) !== undefined);
    expect((await bookOn(false)).of('keys', 'ada')).toHaveLength(1);
  });

  it('refuses a revoked key here at once, elsewhere within a second, and tells who must end what it opened', async () => {
    const [first, second] = [await bookOn(), await bookOn()];
    const { info } = await first.create(wanted(), 'ops/admin');
    await waitUntil('the key', () => second.find(info.id) !== undefined);
    const told: string[] = [];
    first.whenWithdrawn(() => told.push('first'));
    second.whenWithdrawn(() => told.push('second'));
    const before = [first.revision, second.revision];
    const revoked = first.revoke(info.id, 'ops/admin');
    expect([first.find(info.id), told, first.revision > before[0]!]).toEqual([undefined, ['first'], true]);
    expect(await revoked).toBe(true);
    await waitUntil('the revocation', () => second.find(info.id) === undefined);
    expect([told, second.revision > before[1]!]).toEqual([['first', 'second'], true]);
    expect(await second.revoke(info.id, 'ops/admin')).toBe(false);
    expect((await first.list({})).items[0]).toMatchObject({ state: 'revoked', revokedBy: 'ops/admin' });
  });

  it('refuses a revoked key although that cannot be stored, and stores it as soon as it can', async () => {
    let away = false;
    const book = await bookOn(
      true,
      failing(() => away),
    );
    const other = await bookOn();
    const { info } = await book.create(wanted(), 'ops/admin');
    await waitUntil('the key', () => other.find(info.id) !== undefined);
    away = true;
    await expect(book.revoke(info.id, 'ops/admin')).rejects.toThrow('away');
    expect(book.find(info.id)).toBeUndefined();
    away = false;
    await waitUntil('the revocation elsewhere', () => other.find(info.id) === undefined);
    expect(book.find(info.id)).toBeUndefined();
  });

  it('CVE-2026-12796: a replaced key ends at once, or after its overlap, and cannot be brought back', async () => {
    const book = await bookOn(false);
    const old = (await book.create(wanted(), 'ops/admin')).info;
    const next = (await book.create(wanted(), 'ops/admin', { id: old.id, overlap: 0 })).info;
    expect([book.find(old.id), book.find(next.id)?.subject]).toEqual([undefined, 'ada']);
    const last = (await book.create(wanted(), 'ops/admin', { id: next.id, overlap: HOUR })).info;
    expect(book.find(next.id)?.expiresAt).toBe(clock.wall() + HOUR);
    clock.advance(HOUR);
    const restarted = await bookOn();
    expect([restarted.find(old.id), restarted.find(next.id), restarted.find(last.id)?.id]).toEqual([
      undefined,
      undefined,
      last.id,
    ]);
    await book.revoke(last.id, 'ops/admin');
    await expect(book.create(wanted(), 'ops/admin', { id: last.id, overlap: HOUR })).rejects.toMatchObject({
      code: 'invalid_params',
    });
  });

  it('accepts no key when it was out of touch for five minutes: a revocation may have been missed', async () => {
    let away = false;
    const book = await bookOn(
      true,
      failing(() => away),
    );
    const { info } = await book.create(wanted(), 'ops/admin');
    away = true;
    clock.advance(4 * MINUTE);
    expect(book.find(info.id)).toBeDefined();
    clock.advance(2 * MINUTE);
    await waitUntil('closed', () => book.find(info.id) === undefined);
    expect(book.known).toBeUndefined();
    away = false;
    await waitUntil('open again', () => book.find(info.id) !== undefined);
  });

  it('ends what a key opened when the key expires', async () => {
    const book = await bookOn(false);
    const { info } = await book.create(wanted({ expiresAt: clock.wall() + HOUR }), 'ops/admin');
    let told = 0;
    book.whenWithdrawn(() => told++);
    clock.advance(HOUR);
    await waitUntil('the end', () => told === 1);
    expect(book.find(info.id)).toBeUndefined();
  });

  it('writes the last use late and coarse, and shows it before it is written', async () => {
    const book = await bookOn(false);
    const { info } = await book.create(wanted(), 'ops/admin');
    book.used(info.id, clock.wall() + 1);
    expect((await book.list({})).items[0]).toMatchObject({ lastUsedAt: clock.wall() + 1 });
    expect((await store.keys.get(info.id))!.lastUsedAt).toBeUndefined();
    clock.advance(MINUTE);
    await waitUntil('the use', async () => (await store.keys.get(info.id))!.lastUsedAt !== undefined);
  });

  it('keeps no key that anybody could use: not in the database, its log, or a list (MetaMCP)', async () => {
    verifies('R2-22');
    const book = await bookOn(false);
    const { key, info } = await book.create(wanted(), 'ops/admin');
    const secret = key.slice(key.lastIndexOf('_') + 1);
    const texts = await Promise.all(
      (await readdir(dataDir)).map((name) => readFile(join(dataDir, name)).catch(() => '')),
    );
    expect(texts.some((text) => text.includes(info.id))).toBe(true);
    expect(texts.some((text) => text.includes(secret))).toBe(false);
    expect(JSON.stringify([(await book.list({})).items, info])).not.toContain(secret);
    expect(JSON.stringify((await book.list({})).items)).not.toContain(book.find(info.id)!.digest.toString('hex'));
  });
});

describe('the administration of keys', () => {
  it('checks entry, tier and holder, and records who did what without the key', async () => {
    const books = await Books.open({ clock, log: silentLog, storage: store, shared: false });
    books.tiers.know(['gold']);
    const entries = [
      { kind: 'keys', name: 'keys', tier: undefined },
      { kind: 'keys', name: 'robots', tier: undefined },
    ] as const;
    const keys = await bookOn(false);
    const identity = { entries, endpointEntries: new Map(), loopback: true };
    const administration = new KeyAdministration({ clock, keys, books, identity: () => identity });
    const { entry: _, ...order } = wanted();
    await expect(administration.create(order, 'ops/admin')).rejects.toThrow('keys or robots');
    await expect(administration.create({ ...order, entry: 'ci' }, 'ops/admin')).rejects.toThrow('keys or robots');
    const asked = { ...order, entry: 'keys' };
    await expect(administration.create({ ...asked, tier: 'iron' }, 'ops/admin')).rejects.toThrow(
      'There is no tier iron',
    );
    const made = await administration.create({ ...asked, expiresAt: clock.wall() + HOUR }, 'ops/admin');
    // One holder of two tenants would see in one what limits, budgets and secrets keep for the other.
    await expect(administration.create({ ...asked, tenant: 'evil' }, 'ops/admin')).rejects.toThrow('tenant acme');
    clock.advance(HOUR / 2);
    const next = await administration.replace(made.info.id, 0, 'ops/eve');
    expect(next.info).toMatchObject({ subject: 'ada', scopes: ['read'], expiresAt: clock.wall() + HOUR });
    await expect(administration.replace(made.info.id, 0, 'ops/eve')).rejects.toMatchObject({ code: 'not_found' });
    expect(await administration.revoke(next.info.id, 'ops/eve', 'left')).toBe(true);
    expect(await administration.revoke(next.info.id, 'ops/eve', 'left')).toBe(false);
    const actions = (await store.actions.list()).items;
    expect(actions.map(({ action, by }) => `${action} ${by}`).toSorted()).toEqual([
      'key_create ops/admin',
      'key_replace ops/eve',
      'key_revoke ops/eve',
    ]);
    expect(JSON.stringify(actions)).not.toContain(made.key);
    expect(JSON.stringify(actions)).not.toContain(made.key.split('_')[2]);
    books.close();
  });
});
