import { expect, it } from 'vitest';
import { GrantBook } from '../admission/grants.ts';
import { TierBook } from '../admission/tiers.ts';
import { compile } from '../config/compile.ts';
import { loadConfigObject } from '../config/load.ts';
import { type Log, silentLog } from '../core/log.ts';
import type { Ledger, Settings } from '../store/storage.ts';
import { tellRenamedCallers } from './renamed-callers.ts';

it('tells once whose budgets begin anew, and which stored names are nobody with a tenant', async () => {
  const told: unknown[] = [];
  const log: Log = { ...silentLog, warn: (details: unknown) => void told.push(details) };
  const kept = new Map<string, string>();
  const settings = {
    get: async (name: string) => kept.get(name),
    set: async (name: string, value: string) => void kept.set(name, value),
  } as Partial<Settings> as Settings;
  const rows = [
    { principal: 'dev/ada', tenant: 'acme' },
    { principal: 'dev@beta/bob', tenant: 'beta' },
    { principal: 'dev/none', tenant: undefined },
  ];
  let away = true;
  const ledger = {
    usage: async () => {
      if (away) throw new Error('away');
      return rows.map((group) => ({ group, unit: 'USD', calls: 1, settled: 1, open: 0 }));
    },
  } as Partial<Ledger> as Ledger;
  const secret = 'a-secret-of-more-than-32-characters-0123';
  const { identity } = compile(
    loadConfigObject({
      servers: { s: { url: 'http://127.0.0.1:9/mcp' } },
      auth: [
        { name: 'ci', bearer: { token: 'token-of-ci-0123456789', tenant: 'acme' } },
        { name: 'dev', jwt: { issuer: 'dev', secret }, map: { tenant: 'org' } },
        { name: 'flat', jwt: { issuer: 'flat', secret } },
      ],
    }).config,
  );
  const tiers = new TierBook();
  tiers.load(['ci/ci', 'ci@acme/ci', 'dev/ada', 'dev@acme/ada', 'flat/ada', 'ops/x'].map((name) => [name, 'gold']));
  const grants = new GrantBook();
  const grant = { rule: 'r', amount: 1, unit: 'requests', until: 10, reason: 'r', by: 'b', at: 0 };
  grants.add({ ...grant, id: 'one', principal: 'dev/bob' });
  grants.add({ ...grant, id: 'all' });
  const books = { tiers, grants };
  const tell = () =>
    tellRenamedCallers({ store: { settings, ledger }, books, keys: { of: () => [] }, identity, wall: 1, log });
  await tell();
  expect([told, kept.size]).toEqual([[], 0]);
  away = false;
  await tell();
  expect(told).toEqual([
    { callers: ['dev/ada of acme is dev@acme/ada'], count: 1 },
    { callers: ['dev/bob', 'ci/ci', 'dev/ada'], count: 3 },
  ]);
  await tell();
  expect(told).toHaveLength(2);
});
