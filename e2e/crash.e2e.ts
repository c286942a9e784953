/** kill -9 at every step of a hold, and state that is damaged between two starts: what was spent stays spent. */
import { readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { awayFromTurn } from '@tollgate/testkit/calendar';
import { type FakeHttpServer, startFakeHttp } from '@tollgate/testkit/fake-http';
import { type RunningGateway, startGateway } from '@tollgate/testkit/gateway';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { callTool } from '@tollgate/testkit/tool-call';
import { verifies } from '@tollgate/testkit/verifies';
import { waitUntil } from '@tollgate/testkit/wait';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ask, budget, drift, problems } from './state.ts';

const FULL = process.env['TOLLGATE_PROOF'] === 'full';
const PRICE = 10_000;
const PATIENCE = FULL ? 3_600_000 : 240_000;

let server: FakeHttpServer;
beforeAll(async () => {
  server = await startFakeHttp('modern', { keep: 10 });
});
afterAll(() => server[Symbol.asyncDispose]());
beforeEach(() => awayFromTurn('day'));

const config = (more: object = {}) => ({
  version: 1,
  servers: { fake: { url: server.url } },
  unpriced: 'free',
  tools: {
    'fake/echo': { price: { each: '0.01 USD' } },
    'fake/ask': { price: { each: '0.01 USD' } },
    'fake/metered': { price: { from: 'result._meta.usageTotalUsd', hold: '0.5 USD', max: '5 USD' } },
  },
  limits: {
    spend: { by: 'principal', limit: '50 USD/day' },
    rate: { tool: 'fake/bytes', by: 'principal', limit: '5/day', algorithm: 'fixed-window' },
    ...more,
  },
  tiers: { gold: { spend: '80 USD/day' } },
});

async function kill(gateway: RunningGateway): Promise<void> {
  gateway.child.signal('SIGKILL');
  await gateway.child.exited;
}

/** What the ledger says, from its file. */
function ledger(folder: string): { readonly settled: number; readonly open: number; readonly calls: number } {
  const database = new DatabaseSync(join(folder, '.tollgate/tollgate.db'), { readOnly: true });
  try {
    const sum = (where: string): number =>
      Number(
        (
          database
            .prepare(
              `select coalesce(sum(a.amount), 0) as total from tg_amounts a join tg_entries e on e.id = a.entry_id where ${where}`,
            )
            .get() as { total: number }
        ).total,
      );
    const { calls } = database.prepare('select count(*) as calls from tg_entries').get() as { calls: number };
    return { settled: sum("e.state <> 'open'"), open: sum("e.state = 'open'"), calls };
  } finally {
    database.close();
  }
}

describe('a gateway that is killed', () => {
  it('never counts less than the server has executed, however often and at whatever step', {
    timeout: PATIENCE,
  }, async () => {
    verifies('R0-21');
    await using folder = await temporaryDirectory('crash');
    const before = server.count('tools/call');
    for (let round = 0; round < (FULL ? 20 : 3); round++) {
      const gateway = await startGateway(config(), { folder: folder.path });
      const lost: Promise<unknown>[] = [];
      // Calls are at every step when it dies: some before the server, some there, some being settled.
      for (let i = 0; i < 150; i++) {
        lost.push(callTool(gateway.url(), 'echo', { text: 'x', delay: i % 3 === 0 ? 30 : 0 }).catch(() => undefined));
        if (i % 10 === 9) await sleep(1);
      }
      const executed = server.count('tools/call');
      await waitUntil('some calls', () => server.count('tools/call') > executed - 1);
      await sleep(round * 25);
      await kill(gateway);
      await Promise.all(lost);
    }
    const executed = server.count('tools/call') - before;
    await using last = await startGateway(config(), { folder: folder.path });
    const { used, held } = await budget(last);
    expect(used).toBeGreaterThanOrEqual(executed * PRICE);
    // Only what ran when it died is more than what the server has seen, until its holds expire: nobody knows whether it did.
    if (!FULL) expect(used - held).toBeLessThanOrEqual(executed * PRICE);
    expect(await drift(last)).toBe(0);
    const booked = ledger(folder.path);
    expect(booked.settled + booked.open).toBe(used);
  });

  it('keeps a parked round, a hold of another system, rates, tiers and grants', async () => {
    verifies('R0-21');
    await using folder = await temporaryDirectory('crash');
    const first = await startGateway(config(), { folder: folder.path });
    const capabilities = { roots: {} };
    const asked = await callTool(first.url(), 'ask', {}, { capabilities });
    expect(asked.result?.['requestState']).toBeDefined();
    for (let i = 0; i < 3; i++) expect((await callTool(first.url(), 'bytes', { size: 1 })).error).toBeUndefined();
    const held = { client_id: 'anonymous', endpoint: 'tools/call', estimated_cost: 2, ttl_seconds: 1 };
    await ask(first, '/v1/holds', held);
    await ask(first, '/v1/ops', { operation: 'set_client_tier', client_id: 'anonymous', tier: 'gold' });
    const grant = { limit: 'spend', principal: 'anonymous', amount: '5 USD', until: '1h', reason: 'demo' };
    await ask(first, '/api/v1/grants', grant);
    await kill(first);
    await using second = await startGateway(config(), { folder: folder.path });
    // The parked round stays held; what the other system never ended is spent when its time is over.
    await waitUntil('the end of the hold', async () => (await budget(second)).held === PRICE);
    expect(await budget(second)).toMatchObject({ used: 2_000_000 + PRICE, capacity: 85_000_000 });
    expect((await callTool(second.url(), 'bytes', { size: 1 })).error).toBeUndefined();
    expect((await callTool(second.url(), 'bytes', { size: 1 })).error).toBeUndefined();
    expect((await callTool(second.url(), 'bytes', { size: 1 })).error?.code).toBe(429);
    expect(await drift(second)).toBe(0);
    await waitUntil('the expiry in the ledger', () => ledger(folder.path).settled === 2_000_000);
  });
});

describe('state that is damaged between two starts', () => {
  it.each(['flipped', 'cut', 'deleted'] as const)('is rebuilt exactly from the ledger when it is %s', async (how) => {
    verifies('R0-22');
    await using folder = await temporaryDirectory('damage');
    const first = await startGateway(config(), { folder: folder.path });
    for (let i = 0; i < 3; i++) await callTool(first.url(), 'bytes', { size: 1 });
    await callTool(first.url(), 'metered', { usd: 0.25 });
    await waitUntil('the settlement', async () => (await budget(first)).held === 0);
    // What was given back is not charged again because it stands in the ledger.
    await ask(first, '/api/v1/budgets/reset', { limit: 'spend', principal: 'anonymous', reason: 'new month' });
    await Promise.all(Array.from({ length: 20 }, () => callTool(first.url(), 'echo', { text: 'x' })));
    await callTool(first.url(), 'metered', { usd: 0.125 });
    await waitUntil('the settlements', async () => (await budget(first)).held === 0);
    await drift(first);
    await kill(first);
    const spent = 20 * PRICE + 125_000;
    const files = (await readdir(join(folder.path, '.tollgate'), { recursive: true }))
      .filter((name) => /(journal|snapshot)-/.test(name))
      .map((name) => join(folder.path, '.tollgate', name));
    expect(files.length).toBeGreaterThan(0);
    for (const file of files) {
      const bytes = await readFile(file);
      if (how === 'deleted') await rm(file);
      else if (how === 'cut') await truncate(file, Math.floor(bytes.length * 0.6));
      else {
        bytes[Math.floor(bytes.length / 2)]! ^= 0xff;
        await writeFile(file, bytes);
      }
    }
    await using second = await startGateway(config(), { folder: folder.path });
    expect(await budget(second)).toMatchObject({ used: spent, held: 0 });
    expect(await drift(second)).toBe(0);
    if (how === 'flipped') {
      expect(await problems(second)).toMatch(
        /state of the limits was damaged and moved to .*corrupt.*budgets were read back/,
      );
      await second.child.waitFor(/moved aside/);
    }
    expect((await callTool(second.url(), 'echo', { text: 'x' })).result).toBeDefined();
  });

  it('stops money when the ledger is lost too, until an admin accepts it', async () => {
    verifies('R0-22');
    await using folder = await temporaryDirectory('lost');
    const first = await startGateway(config(), { folder: folder.path });
    await callTool(first.url(), 'echo', { text: 'x' });
    await kill(first);
    const data = join(folder.path, '.tollgate');
    for (const name of await readdir(data, { recursive: true })) {
      if (/(journal|snapshot)-/.test(name) || name === 'tollgate.db') {
        await writeFile(join(data, name), 'this is neither a journal nor a database');
      }
    }
    await rm(join(data, 'tollgate.db-wal'), { force: true });
    // A second start finds nothing damaged any more, and must not take that for nothing lost.
    const between = await startGateway(config(), { folder: folder.path });
    await kill(between);
    await using second = await startGateway(config(), { folder: folder.path });
    expect((await callTool(second.url(), 'bytes', { size: 1 })).result).toBeDefined();
    const refused = await callTool(second.url(), 'echo', { text: 'x' });
    expect(refused.error).toMatchObject({ data: { reason: 'limit_unavailable', executed: 'no' } });
    expect(await problems(second)).toMatch(/lost together.*tollgate budget reset --lost/);
    await ask(second, '/api/v1/budgets/accept-loss', { reason: 'the disk broke' });
    expect((await callTool(second.url(), 'echo', { text: 'x' })).result).toBeDefined();
    expect(await problems(second)).toBe('');
    expect(await budget(second)).toMatchObject({ used: PRICE });
  });
});

describe('a reload', () => {
  it('keeps what was used over changed, renamed and re-tiered limits, and refuses other storage', async () => {
    verifies('R0-66');
    await using folder = await temporaryDirectory('reload');
    await using gateway = await startGateway(config(), { folder: folder.path });
    for (let i = 0; i < 4; i++) await callTool(gateway.url(), 'bytes', { size: 1 });
    await callTool(gateway.url(), 'echo', { text: 'x' });
    const apply = async (changed: object) => {
      await writeFile(gateway.configFile, JSON.stringify(changed));
      return ask(gateway, '/api/v1/reload', {});
    };
    const { rate, ...limits } = config().limits;
    const renamed = { ...rate, limit: '6/day', was: 'rate' };
    await apply({ ...config(), limits: { ...limits, renamed }, tiers: { default: { spend: '3 USD/day' } } });
    expect(await budget(gateway)).toMatchObject({ used: PRICE, capacity: 3_000_000 });
    expect((await callTool(gateway.url(), 'bytes', { size: 1 })).error).toBeUndefined();
    expect((await callTool(gateway.url(), 'bytes', { size: 1 })).error).toBeUndefined();
    expect((await callTool(gateway.url(), 'bytes', { size: 1 })).error?.code).toBe(429);
    for (const other of [{ storage: 'postgres://nobody@127.0.0.1:1/none' }, { state: 'redis://127.0.0.1:1' }]) {
      await expect(apply({ ...config(), ...other })).rejects.toThrow(/(storage|state) cannot change while/);
    }
    expect(await drift(gateway)).toBe(0);
  });
});

describe('many callers', () => {
  it('cost bounded memory, and none of them makes a live limit forget', { timeout: PATIENCE }, async () => {
    verifies('R0-62');
    const callers = FULL ? 1_000_000 : 20_000;
    await using gateway = await startGateway({
      version: 1,
      servers: { fake: { url: server.url } },
      limits: { rate: { by: 'principal', limit: '3/day', algorithm: 'fixed-window' } },
    });
    const consume = (ids: readonly string[]) =>
      ask<{ readonly allowed: boolean }[]>(
        gateway,
        '/v1/check',
        ids.map((client_id) => ({ client_id, endpoint: 'tools/call', mode: 'consume' })),
      );
    const live = Array.from({ length: 50 }, (_, i) => `live-${i}`);
    for (let i = 0; i < 3; i++) expect((await consume(live)).every(({ allowed }) => allowed)).toBe(true);
    const resident = async () =>
      Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${gateway.child.pid}/status`, 'utf8'))?.[1] ?? 0) / 1024;
    const before = await resident();
    for (let at = 0; at < callers; at += 500) {
      await consume(Array.from({ length: 500 }, (_, i) => `caller-${at + i}`));
    }
    expect((await consume(live)).some(({ allowed }) => allowed)).toBe(false);
    expect((await resident()) - before).toBeLessThan(FULL ? 700 : 200);
  });
});
