import { describe, expect, it } from 'vitest';
import type { AdmissionOptions } from '../admission/options.ts';
import { compile } from '../config/compile.ts';
import { loadConfigObject } from '../config/load.ts';
import type { DecisionDocument } from '../telemetry/decisions/record.ts';
import { replay, simulate } from './simulation.ts';

const START = Date.UTC(2026, 2, 4, 10);

function policy(config: Record<string, unknown>): AdmissionOptions {
  const base = { version: 1, servers: { math: { url: 'http://127.0.0.1:1/mcp' } }, dataDir: '/nonexistent' };
  return compile(loadConfigObject({ ...base, ...config }).config).admission;
}

let nextId = 0;

function record(seconds: number, more: Partial<DecisionDocument> = {}): DecisionDocument {
  return {
    v: 1,
    id: `tg-${nextId++}`,
    at: new Date(START + seconds * 1000).toISOString(),
    verdict: 'admitted',
    method: 'tools/call',
    endpoint: '/mcp',
    object: 'math/add',
    server: 'math',
    caller: { id: 'keys/ada', tier: 'default', roles: [] },
    rules: [],
    ...more,
  };
}

/** Calls of one caller, one a second. */
const calls = (count: number, more: (i: number) => Partial<DecisionDocument> = () => ({})) =>
  Array.from({ length: count }, (_, i) => record(i, more(i)));

const allowed = async (records: readonly DecisionDocument[], config: Record<string, unknown>) =>
  (await replay(records, policy(config))).verdicts.map((verdict) => verdict?.allowed);

const BY_PRINCIPAL = [['by', 'principal']] as const;
const PER_MINUTE = (count: number) => ({ limits: { calls: { by: 'principal', limit: `${count}/min` } } });

describe('replaying records', () => {
  it('decides by the times, callers and objects of the records', async () => {
    const records = [
      record(0),
      record(1),
      record(1, { caller: { id: 'keys/bob', tier: 'default', roles: [] } }),
      record(61),
    ];
    expect(await allowed(records, PER_MINUTE(1))).toEqual([true, false, true, true]);
    const onlyDiv = { limits: { calls: { by: 'everyone', limit: '1/min', tool: 'math/div' } } };
    expect(await allowed(records, onlyDiv)).toEqual([true, true, true, true]);
  });

  it('uses recorded values of expressions over arguments, also of one that failed', async () => {
    const large = { limits: { large: { by: 'everyone', limit: '1/h', when: 'size(args.pages) > 3' } } };
    const of = (value: boolean | null) => ({ expressions: { 'size(args.pages) > 3': value } });
    const records = calls(5, (i) => of([true, false, true, null, false][i]!));
    // A condition that fails applies.
    expect(await allowed(records, large)).toEqual([true, true, false, false, true]);
  });

  it('works out expressions that read no arguments, and leaves out what nobody knows', async () => {
    const records = calls(2, (i) => ({ caller: { id: 'keys/ada', tier: 'default', roles: i === 0 ? ['staff'] : [] } }));
    const staff = { limits: { none: { by: 'everyone', limit: '1/h', cost: '"staff" in caller.roles ? 1 : 2' } } };
    expect(await allowed(records, staff)).toEqual([true, false]);
    const unknown = { limits: { large: { by: 'everyone', limit: '1/h', when: 'args.n > 3', tool: 'math/add' } } };
    expect(await allowed([record(0), record(1, { object: 'math/div' })], unknown)).toEqual([undefined, true]);
  });

  it('counts by args through their digest', async () => {
    const loop = { limits: { loop: { by: ['principal', 'args'], limit: '1/min' } } };
    const shape = { type: 'object', size: 0, keys: {} } as const;
    const records = calls(3, (i) => ({ arguments: { size: 2, digest: ['aa', 'bb', 'aa'][i]!, shape } }));
    expect(await allowed(records, loop)).toEqual([true, true, false]);
  });

  it('prices calls, and computed prices by their recorded values', async () => {
    const priced = {
      tools: { 'math/add': { price: { each: '0.01 USD', times: 'size(args.pages)' } } },
      limits: { spend: { by: 'principal', limit: '0.05 USD/day' } },
    };
    const records = calls(3, (i) => ({ expressions: { 'size(args.pages)': [2, 3, 1][i]! } }));
    const { verdicts } = await replay(records, policy(priced));
    expect(verdicts.map((verdict) => [verdict?.allowed, verdict?.cost['USD']])).toEqual([
      [true, 20_000],
      [true, 30_000],
      [false, undefined],
    ]);
  });

  it('lets a call that may wait have its turn, and the calls between it theirs', async () => {
    const patient = (limit: string) => ({
      limits: { calls: Object.fromEntries([...BY_PRINCIPAL, ['limit', limit], ['then', ['wait 5s', 'refuse']]]) },
    });
    const records = [record(0), record(0), record(0.5), record(3)];
    expect(await allowed(records, patient('1/s'))).toEqual([true, true, true, true]);
    expect(await allowed([record(0), record(1)], patient('1/min'))).toEqual([true, false]);
  });
});

describe('simulating a change', () => {
  it('of nothing changes nothing, whatever was recorded', async () => {
    const records = calls(20, (i) => (i % 3 === 0 ? {} : { verdict: 'refused', reason: 'rate_limited' }));
    const result = await simulate(records, policy(PER_MINUTE(5)), policy(PER_MINUTE(5)));
    expect(result).toMatchObject({ nowRefused: 0, nowAdmitted: 0, changes: [], comparedWith: 'current limits' });
  });

  it('says who would be refused or admitted, by which limit, in the order of the calls', async () => {
    const records = calls(10).reverse();
    const stricter = await simulate(records, policy(PER_MINUTE(2)), policy(PER_MINUTE(4)));
    expect(stricter).toMatchObject({ nowRefused: 2, nowAdmitted: 0, records: 10, decided: 10 });
    expect(stricter).toMatchObject({ admittedBefore: 4, admittedAfter: 2 });
    expect(stricter.callers).toEqual([{ caller: 'keys/ada', calls: 10, nowRefused: 2, nowAdmitted: 0 }]);
    expect(stricter.changes[0]).toMatchObject({ after: 'refused', rule: 'calls', reason: 'rate_limited' });
    const looser = await simulate(records, policy(PER_MINUTE(4)), policy(PER_MINUTE(2)));
    expect(looser).toMatchObject({ nowRefused: 0, nowAdmitted: 2 });
    expect(looser.changes[0]).toMatchObject({ before: 'refused', after: 'admitted', rule: 'calls' });
  });

  it('compares with what was recorded where the current limits are not given', async () => {
    const refused = { verdict: 'refused', reason: 'rate_limited' } as const;
    const records = calls(4, (i) => (i < 2 ? { cost: { USD: 10_000 } } : refused));
    const result = await simulate(records, policy(PER_MINUTE(1)), undefined);
    expect(result).toMatchObject({ comparedWith: 'recorded verdicts', nowRefused: 1, nowAdmitted: 0 });
    expect(result.cost).toEqual({ USD: { before: 20_000, after: 0, difference: -20_000 } });
  });

  it('tells the difference in cost by unit, and the share that cannot be decided', async () => {
    const priced = (each: string, extra = {}) => ({
      tools: { 'math/*': { price: { each } } },
      limits: { spend: { by: 'principal', limit: '100 USD/day' }, ...extra },
    });
    const odd = { odd: { by: 'everyone', limit: '1000/h', when: 'args.odd', tool: 'math/div' } };
    const records = calls(4, (i) => ({ object: i === 0 ? 'math/div' : 'math/add' }));
    const result = await simulate(records, policy(priced('0.02 USD', odd)), policy(priced('0.01 USD')));
    expect(result).toMatchObject({ undecidable: 1, decided: 3, undecidableShare: 0.25 });
    expect(result.cost).toEqual({ USD: { before: 30_000, after: 60_000, difference: 30_000 } });
  });

  it('leaves out and names limits on calls at once, and refusals from before the first admission', async () => {
    const busy = { limits: { busy: { by: 'server', limit: '1 at once' } } };
    const records = [record(0, { verdict: 'refused' }), ...calls(3), ...calls(3)];
    const result = await simulate(records, policy(busy), policy({}));
    expect(result).toMatchObject({ leftOut: ['busy'], nowRefused: 0, records: 6 });
  });
});
