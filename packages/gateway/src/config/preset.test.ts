import { verifies } from '@tollgate/testkit/verifies';
import { describe, expect, it } from 'vitest';
import { METHODS } from '../protocol/methods.ts';
import { compile } from './compile.ts';
import { explainConfig } from './explain.ts';
import { explainCall, formatCall } from './explain-call.ts';
import { loadConfigObject } from './load.ts';
import type { ConfigInput } from './schema.ts';
import { loadText } from './testing.ts';

const servers = { a: { command: 'x' } };
const load = (input: Omit<ConfigInput, 'servers'>) => loadConfigObject({ servers, ...input }, { env: {} });
const limitsOf = (input: Omit<ConfigInput, 'servers'>) => compile(load(input).config, {}).admission;
const preset = limitsOf({ preset: 'mcp' });
const limit = (name: string, from = preset) => from.limits.find((candidate) => candidate.name === name)!;

/** Count per minute and burst, or micro-units, of a limit for a tier. */
function numbers(name: string, tier: string, from = preset): readonly unknown[] {
  const quota = limit(name, from).rows.get(tier) ?? limit(name, from).quota!;
  switch (quota.kind) {
    case 'rate':
      return [quota.count, quota.burst, quota.period];
    case 'concurrency':
      return [quota.count];
    case 'amount':
      return [quota.amount.micros / 1_000_000, quota.amount.unit, quota.period];
    default:
      return [quota.amount.micros / 1_000_000, quota.amount.unit, quota.kind];
  }
}

describe('preset: mcp', () => {
  const MINUTE = { kind: 'length', ms: 60_000 };

  it('has a limit for each kind of request, and one for what is not listed', () => {
    verifies('R0-02');
    const base = {
      tools_call: 30,
      resources_read: 60,
      prompts_get: 20,
      server_initialize: 10,
      server_ping: 1000,
      unknown: 30,
    };
    for (const [name, count] of Object.entries(base)) {
      expect(limit(name), name).toMatchObject({ by: ['principal'], algorithm: 'token-bucket', origin: 'preset' });
      expect(limit(name).quota, name).toMatchObject({ kind: 'rate', count, period: MINUTE });
    }
    // Each request of a client is under exactly one of them, but for lists and listen.
    const requests = METHODS.filter(({ kind, from }) => kind === 'request' && from !== 'server').map(
      (info) => info.method,
    );
    const named = Object.keys(base).flatMap((name) => limit(name).on!);
    expect(new Set(named).size).toBe(named.length);
    expect(requests.filter((method) => !named.includes(method))).toEqual([
      'subscriptions/listen',
      'tools/list',
      'prompts/list',
      'resources/list',
      'resources/templates/list',
      'skills/list',
    ]);
    expect(limit('server_initialize').on).toEqual(expect.arrayContaining(['initialize', 'server/discover']));
  });

  it('has the tables of three tiers, of which basic is that of callers without one', () => {
    verifies('R0-04', 'R0-05', 'R0-06', 'R0-07');
    expect(preset.tiers).toEqual(['default', 'basic', 'standard', 'premium']);
    const rates = {
      default: [30, 60, 20, 10],
      basic: [30, 60, 20, 10],
      standard: [150, 300, 100, 50],
      premium: [500, 1000, 300, 200],
    };
    for (const [tier, [tools, resources, prompts, burst]] of Object.entries(rates)) {
      expect(numbers('tools_call', tier), tier).toEqual([tools, burst, MINUTE]);
      expect(numbers('resources_read', tier), tier).toEqual([resources, burst, MINUTE]);
      expect(numbers('prompts_get', tier), tier).toEqual([prompts, burst, MINUTE]);
      expect(numbers('server_initialize', tier), tier).toEqual([10, 0, MINUTE]);
      expect(numbers('unknown', tier), tier).toEqual([30, 0, MINUTE]);
    }
  });

  it('limits costs per call, hour and day of each principal, and in all', () => {
    verifies('R0-11', 'R0-12', 'R0-13', 'R0-17', 'C-08');
    const costs = { default: [1, 50, 500], basic: [1, 50, 500], standard: [5, 200, 2000], premium: [25, 800, 8000] };
    for (const [tier, [call, hour, day]] of Object.entries(costs)) {
      expect(numbers('cost_per_request', tier), tier).toEqual([call, 'USD', 'per-call']);
      expect(numbers('cost_hourly', tier), tier).toEqual([hour, 'USD', { kind: 'calendar', page: 'hour' }]);
      expect(numbers('cost_daily', tier), tier).toEqual([day, 'USD', { kind: 'calendar', page: 'day' }]);
      expect(numbers('emergency_stop', tier), tier).toEqual([1000, 'USD', 'total']);
    }
    for (const name of ['cost_per_request', 'cost_hourly', 'cost_daily']) {
      expect(limit(name)).toMatchObject({ by: ['principal'], onError: 'closed', timezone: 'UTC', latch: false });
    }
    expect(limit('emergency_stop')).toMatchObject({ by: ['everyone'], onError: 'closed', latch: true });
  });

  it('is in the currency of the configuration', () => {
    expect(numbers('cost_daily', 'premium', limitsOf({ preset: 'mcp', currency: 'EUR' }))[1]).toBe('EUR');
  });

  it('lies under what the file says, key by key and row by row', () => {
    verifies('R0-09', 'R0-66');
    const changed = limitsOf({
      preset: 'mcp',
      limits: {
        tools_call: { limit: '60/min' },
        prompts_get: { message: 'Ask.' },
        server_ping: { mode: 'off' },
        emergency_stop: { limit: '20000 USD total' },
        own: { by: 'principal', limit: '5/min' },
      },
      tiers: {
        premium: { cost_daily: '4000 USD/day' },
        basic: { resources_read: '70/min' },
        gold: { tools_call: '90/min' },
      },
    });
    expect(numbers('tools_call', 'default', changed)).toEqual([60, 0, MINUTE]);
    expect(numbers('tools_call', 'standard', changed)).toEqual([150, 50, MINUTE]);
    expect(numbers('tools_call', 'gold', changed)).toEqual([90, 0, MINUTE]);
    expect(numbers('prompts_get', 'basic', changed)).toEqual([20, 10, MINUTE]);
    expect(limit('prompts_get', changed)).toMatchObject({ message: 'Ask.', origin: 'file' });
    // One tier of two names.
    expect(numbers('resources_read', 'default', changed)).toEqual([70, 0, MINUTE]);
    expect(numbers('cost_daily', 'premium', changed)[0]).toBe(4000);
    expect(numbers('cost_hourly', 'premium', changed)[0]).toBe(800);
    expect(numbers('emergency_stop', 'basic', changed)[0]).toBe(20_000);
    expect(limit('emergency_stop', changed).latch).toBe(true);
    expect(limit('server_ping', changed)).toBeUndefined();
    expect(changed.limits.at(-1)!.name).toBe('own');
    expect(changed.tiers).toEqual(['default', 'basic', 'standard', 'premium', 'gold']);
  });

  it('means callers without a tier where a limit names basic', () => {
    const { limits } = limitsOf({ preset: 'mcp', limits: { slow: { by: 'principal', limit: '1/s', tier: 'basic' } } });
    expect(limits.at(-1)!.tier).toEqual(['basic', 'default']);
  });

  it('is told apart from the file', () => {
    const loaded = loadText('preset: mcp\nservers: { a: { command: x } }\nlimits: { tools_call: { burst: 5 } }\n');
    const values = new Map(explainConfig(loaded).map(({ key, value, from }) => [key, `${value} (${from})`]));
    expect(values.get('limits.tools_call.limit')).toBe('30/min (preset mcp)');
    expect(values.get('limits.tools_call.burst')).toBe('5 (tollgate.yaml:3:25)');
    expect(values.get('tiers.premium.cost_daily')).toBe('"8000 USD/day" (preset mcp)');
    expect(formatCall(explainCall(loaded, { tool: 'a/x' }))).toContain(
      'limit cost_hourly: 50 USD each hour of the calendar (UTC), worst hour 100 USD, one counter for each principal (preset mcp)',
    );
  });

  it('warns of no missing prices: the costs may come from elsewhere', () => {
    expect(load({ preset: 'mcp' }).warnings).toEqual([]);
    const lower = { cost_daily: { limit: '9 USD/day' } };
    expect(load({ preset: 'mcp', limits: lower }).warnings).toEqual([]);
  });
});
