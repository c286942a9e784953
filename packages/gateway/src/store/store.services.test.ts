import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { verifies } from '@tollgate/testkit';
import { canary } from '@tollgate/testkit/canaries';
import { emptyDatabase as emptyDatabaseOn } from '@tollgate/testkit/databases';
import { createFakeClock } from '@tollgate/testkit/fake-clock';
import { startTcpProxy } from '@tollgate/testkit/tcp-proxy';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { waitUntil } from '@tollgate/testkit/wait';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { systemClock } from '../core/clock.ts';
import { silentLog } from '../core/log.ts';
import { fileKeys } from '../vault/file-keys.ts';
import { vaultRecordsContract } from '../vault/fixtures/records-contract.ts';
import { Vault } from '../vault/vault.ts';
import { storageContract } from './fixtures/contract.ts';
import { migrationContract } from './fixtures/migration-contract.ts';
import { lockState } from './lock.ts';
import type { PostgresOptions, Retention, StoreOptions } from './options.ts';
import { openPostgres } from './postgres.ts';
import { openStore, type Store } from './store.ts';

const deps = { log: silentLog, clock: createFakeClock() };

async function administer(statement: string): Promise<void> {
  const client = new Client({ connectionString: inject('postgresUrl') });
  await client.connect();
  await client.query(statement).finally(() => client.end());
}

async function emptyDatabase(): Promise<AsyncDisposable & { sql: PostgresOptions }> {
  const database = await emptyDatabaseOn(inject('postgresUrl'));
  return {
    sql: { kind: 'postgres', url: database.url.href, poolMax: 4, connectTimeoutMs: 10_000, statementTimeoutMs: 10_000 },
    [Symbol.asyncDispose]: () => database[Symbol.asyncDispose](),
  };
}

/** A store on a database of its own, reached through a proxy that can fail. */
async function proxied(more: Partial<PostgresOptions> & { keep?: Retention } = {}) {
  const stack = new AsyncDisposableStack();
  const database = stack.use(await emptyDatabase());
  const folder = stack.use(await temporaryDirectory('store'));
  const url = new URL(database.sql.url);
  const proxy = stack.use(await startTcpProxy(url.hostname, Number(url.port)));
  url.port = String(proxy.port);
  url.hostname = '127.0.0.1';
  const { keep, ...sql } = more;
  const options: StoreOptions = {
    dataDir: folder.path,
    sql: { ...database.sql, url: url.href, ...sql },
    ...(keep === undefined ? {} : { keep }),
  };
  return { stack, proxy, options, database };
}

storageContract('PostgreSQL', async () => {
  const { stack, options } = await proxied({ keep: { admissions: 1000, accessRefusals: 200 } });
  const store = await openStore(options, deps);
  return {
    storage: store,
    close: async () => {
      await store.close();
      await stack.disposeAsync();
    },
  };
});

describe('secrets', () => {
  let stores: readonly Store[] = [];
  let stack: AsyncDisposableStack;
  beforeAll(async () => {
    const opened = await proxied();
    stack = opened.stack;
    stores = await Promise.all([openStore(opened.options, deps), openStore(opened.options, deps)]);
  });
  afterAll(async () => {
    await Promise.all(stores.map((store) => store.close()));
    await stack.disposeAsync();
    rmSync(keys, { recursive: true, force: true });
  });
  const keys = mkdtempSync(join(tmpdir(), 'vault-'));
  const file = join(keys, 'master.key');
  let next = 0;

  it('leave nothing of a value in any table of PostgreSQL', async () => {
    verifies('R2-14', 'R2-12');
    await using database = await emptyDatabase();
    await using folder = await temporaryDirectory('store');
    const store = await openStore({ dataDir: folder.path, sql: database.sql }, deps);
    const vault = new Vault({ records: store.vault, provider: fileKeys(join(folder.path, 'master.key')), ...deps });
    const value = canary('store');
    const id = { owner: { kind: 'gateway' }, purpose: 'secret', name: 'canary' } as const;
    await vault.put(id, value, { by: 'test', labels: { shown: 'label-that-is-no-secret' } });
    expect(await vault.get(id, 'test')).toBe(value);
    const client = new Client({ connectionString: database.sql.url });
    await client.connect();
    const { rows: tables } = await client.query("select tablename from pg_tables where schemaname = 'public'");
    let whole = '';
    for (const { tablename } of tables) whole += JSON.stringify((await client.query(`table "${tablename}"`)).rows);
    // Bytes are lists of numbers in JSON: their text is looked for, too.
    for (const [, list = ''] of whole.matchAll(/"data":\[([\d,]*)\]/g)) {
      whole += Buffer.from(list.split(',').map(Number)).toString('latin1');
    }
    await client.end();
    await vault.close();
    await store.close();
    // The search would find it: what is kept openly is there.
    expect(whole).toContain('label-that-is-no-secret');
    for (const form of ['utf8', 'hex', 'base64', 'base64url'] as const) {
      expect(whole).not.toContain(Buffer.from(value).toString(form).slice(0, 20));
    }
  });

  vaultRecordsContract(
    'PostgreSQL',
    () => stores[next++ % 2]!.vault,
    () => fileKeys(file),
  );
});

migrationContract('PostgreSQL', 'postgres', async () => {
  const database = await emptyDatabase();
  const db = await openPostgres(database.sql);
  return {
    db,
    close: async () => {
      await db.destroy();
      await database[Symbol.asyncDispose]();
    },
  };
});

const hold = (id: string, at = 1) => ({
  id,
  at,
  principal: 'ci/ci',
  server: 'exa',
  tool: 'exa/search',
  endpoint: '/mcp',
  expiresAt: 1000,
  estimate: { USD: 100 },
  postings: [{ rule: 'spend', key: '00000000000000aa', windowStart: 0, unit: 'USD' }],
});

describe('a PostgreSQL that fails', () => {
  it.each(['lose', 'lose-answer'] as const)('charges once when the connection breaks in COMMIT (%s)', async (mode) => {
    verifies('R0-29');
    const { stack, proxy, options } = await proxied();
    await using _ = stack;
    const store = await openStore(options, deps);
    try {
      proxy.atCommit = mode;
      // Committed already when only the answer was lost: then the repeat finds the entry and changes nothing.
      expect(await store.ledger.open([hold('h1')])).toEqual([{ id: 'h1', state: 'open', changed: mode === 'lose' }]);
      proxy.atCommit = mode;
      const settled = await store.ledger.settle([{ id: 'h1', at: 2, amounts: { USD: 30 }, source: 'reported' }]);
      expect(settled[0]!.state).toBe('settled');
      expect(proxy.atCommit).toBe('pass');
      expect(await store.ledger.spent({ rule: 'spend' })).toEqual({ settled: 30, open: 0, total: 30 });
      expect(store.health().sql).toBe('up');
    } finally {
      await store.close();
    }
  });

  it('says so in bounded time while it is away, hides its password, and recovers by itself', async () => {
    const { stack, proxy, options } = await proxied({ connectTimeoutMs: 2_000, statementTimeoutMs: 2_000 });
    await using _ = stack;
    const url = new URL((options.sql as PostgresOptions).url);
    url.password = 'hunter2-secret';
    const store = await openStore({ ...options, sql: { ...(options.sql as PostgresOptions), url: url.href } }, deps);
    try {
      await store.ledger.open([hold('h1')]);
      await proxy.stop();
      await expect(store.ledger.settle([{ id: 'h1', at: 2, source: 'fixed' }])).rejects.toMatchObject({
        code: 'storage_unavailable',
        http: 503,
        rpc: 503,
      });
      await waitUntil('down', () => store.health().sql === 'down');
      expect(store.health().lastError).not.toContain('hunter2');
      await expect(store.tiers.tier('a')).rejects.toMatchObject({ code: 'storage_unavailable' });
      await proxy.resume();
      await waitUntil('up again', () => store.health().sql === 'up');
      expect(await store.ledger.settle([{ id: 'h1', at: 2, source: 'fixed' }])).toMatchObject([{ changed: true }]);
      // A server that takes connections and never answers.
      proxy.hang = true;
      const answers = await Promise.allSettled([
        store.ledger.spent({ rule: 'spend' }),
        store.ledger.open([hold('h2')]),
        store.ledger.entry('h1'),
      ]);
      expect(answers.map((answer) => (answer as { reason?: { code: string } }).reason?.code)).toEqual(
        Array.from(answers, () => 'storage_unavailable'),
      );
      proxy.hang = false;
      proxy.cut();
      await waitUntil('up again', () => store.health().sql === 'up');
      expect(await store.ledger.spent({ rule: 'spend' })).toMatchObject({ settled: 100 });
    } finally {
      await store.close();
    }
  });

  it('opens while the server is away and migrates when it comes', async () => {
    const { stack, proxy, options } = await proxied({ connectTimeoutMs: 2_000 });
    await using _ = stack;
    await proxy.stop();
    const store = await openStore(options, deps);
    try {
      expect(store.health().sql).toBe('down');
      await expect(store.settings.ledgerId()).rejects.toMatchObject({ code: 'storage_unavailable' });
      await proxy.resume();
      await waitUntil('up', () => store.health().sql === 'up');
      expect(await store.settings.ledgerId()).toHaveLength(26);
    } finally {
      await store.close();
    }
  });

  it('does not call one slow or refused statement an outage, and refuses writes of a read-only server', async () => {
    const { stack, options, database } = await proxied({ connectTimeoutMs: 2_000, statementTimeoutMs: 2_000 });
    await using _ = stack;
    const store = await openStore(options, deps);
    const other = new Client({ connectionString: database.sql.url });
    await other.connect();
    try {
      await other.query('begin; lock table tg_tiers');
      await expect(store.tiers.tier('a')).rejects.toMatchObject({ code: 'storage_unavailable' });
      await other.query('rollback');
      expect(await store.tiers.tier('a')).toBeUndefined();
      const name = new URL(database.sql.url).pathname.slice(1);
      await other.query(`alter database ${name} set default_transaction_read_only = on`);
      await administer(
        `select pg_terminate_backend(pid) from pg_stat_activity where datname = '${name}' and application_name = 'tollgate'`,
      );
      await expect(store.tiers.setTier('a', 'basic', 'ops', 1)).rejects.toMatchObject({ code: 'storage_unavailable' });
      await waitUntil('down', () => store.health().sql === 'down');
    } finally {
      await other.end();
      await store.close();
    }
  });

  it('writes one by one what another gateway cannot let happen together', async () => {
    const { stack, options, database } = await proxied();
    await using _ = stack;
    const store = await openStore(options, deps);
    const other = new Client({ connectionString: database.sql.url });
    await other.connect();
    try {
      // Of two transactions that wait for each other PostgreSQL ends one: here each that holds more than one row.
      await other.query(`
        create function deadlock() returns trigger language plpgsql as $$ begin
          if (select count(*) > 1 from tg_tiers where xmin::text = txid_current()::text) then
            raise exception 'deadlock detected' using errcode = '40P01';
          end if;
          return null;
        end $$`);
      await other.query('create trigger deadlock after insert on tg_tiers for each row execute function deadlock()');
      const who = ['a', 'b', 'c'];
      await Promise.all(who.map((principal) => store.tiers.setTier(principal, 'basic', 'ops', 1)));
      for (const principal of who)
        expect(await store.tiers.tier(principal)).toMatchObject({ principal, tier: 'basic' });
    } finally {
      await other.end();
      await store.close();
    }
  });

  it('is shared by gateways that write at once', async () => {
    const { stack, options } = await proxied();
    await using _ = stack;
    const stores: Store[] = await Promise.all([openStore(options, deps), openStore(options, deps)]);
    try {
      expect(new Set(await Promise.all(stores.map((store) => store.settings.ledgerId()))).size).toBe(1);
      const ids = Array.from({ length: 100 }, (_, i) => `both-${i}`);
      const opened = await Promise.all(ids.flatMap((id) => stores.map((store) => store.ledger.open([hold(id)]))));
      expect(opened.flat().filter((result) => result.changed)).toHaveLength(100);
      const ended = await Promise.all(
        ids.flatMap((id) => [
          stores[0]!.ledger.settle([{ id, at: 2, amounts: { USD: 1 }, source: 'reported' }]),
          stores[1]!.ledger.release([{ id, at: 2 }]),
        ]),
      );
      const settled = ended.filter((_, i) => i % 2 === 0).filter(([result]) => result!.changed).length;
      expect(ended.flat().filter((result) => result.changed)).toHaveLength(100);
      expect(await stores[0]!.ledger.spent({ rule: 'spend' })).toMatchObject({ total: settled, open: 0 });
    } finally {
      await Promise.all(stores.map((store) => store.close()));
    }
  });
});

describe('the lock of a PostgreSQL storage', () => {
  it('is held by one gateway, on whatever machine, and goes over when that one is gone', async () => {
    await using database = await emptyDatabase();
    await using here = await temporaryDirectory('lock');
    await using there = await temporaryDirectory('lock');
    const real = { log: silentLog, clock: systemClock };
    const mine = await lockState({ dataDir: here.path, sql: database.sql }, real);
    await expect(lockState({ dataDir: there.path, sql: database.sql }, real)).rejects.toMatchObject({
      code: 'storage_locked',
      message: expect.stringMatching(/state: redis.*tollgate --stdio/),
    });
    await mine.release();
    const theirs = await lockState({ dataDir: there.path, sql: database.sql }, real);
    await theirs.release();
  });

  it('is taken again when its connection breaks, and is lost when another gateway was faster', async () => {
    const { stack, proxy, options, database } = await proxied();
    await using _ = stack;
    await using there = await temporaryDirectory('lock');
    const real = { log: silentLog, clock: systemClock };
    const mine = await lockState(options, real, 5_000);
    const states: string[] = [];
    mine.listen((state) => states.push(state));
    proxy.cut();
    await waitUntil('held again', () => states.at(-1) === 'held');
    expect(states).toEqual(['unsure', 'held']);
    await proxy.stop();
    await waitUntil('unsure', () => mine.state() === 'unsure');
    // The server drops the session of the broken connection first.
    const theirs = await waitUntil('the lock', () =>
      lockState({ dataDir: there.path, sql: database.sql }, real).catch(() => undefined),
    );
    await proxy.resume();
    await waitUntil('lost', () => mine.state() === 'lost');
    await mine.release();
    await theirs.release();
  });
});
