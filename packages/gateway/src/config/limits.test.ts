import { verifies } from '@tollgate/testkit/verifies';
import { describe, expect, it } from 'vitest';
import { TollgateError } from '../core/errors.ts';
import { compile, restartOnlyChanges } from './compile.ts';
import { explainCall, formatCall } from './explain-call.ts';
import { describeLimits } from './explain-limits.ts';
import { parseConfigObject } from './load.ts';
import { formatProblems } from './problems.ts';
import type { ConfigInput } from './schema.ts';
import { loadText } from './testing.ts';

const servers = { a: { command: 'x' }, b: { command: 'x' } };
const compiled = (input: Omit<ConfigInput, 'servers'>) =>
  compile(parseConfigObject({ servers, unpriced: 'free', ...input }, { env: {} }), {});
const limitOf = (limit: NonNullable<ConfigInput['limits']>[string], rest: Omit<ConfigInput, 'servers'> = {}) =>
  compiled({ limits: { it: limit }, ...rest }).admission.limits[0]!;
const mistakes = (input: unknown): string => {
  try {
    parseConfigObject(input, { env: {} });
  } catch (error) {
    if (TollgateError.is(error)) return error.message;
    throw error;
  }
  return '';
};

describe('a limit', () => {
  it('has a default for everything but its number and its counter', () => {
    expect(limitOf({ by: 'principal', limit: '30/min', burst: 10 })).toEqual({
      name: 'it',
      was: undefined,
      on: undefined,
      tool: undefined,
      resource: undefined,
      prompt: undefined,
      server: undefined,
      endpoint: undefined,
      tenant: undefined,
      tier: undefined,
      when: undefined,
      by: ['principal'],
      quota: { kind: 'rate', count: 30, period: { kind: 'length', ms: 60_000 }, burst: 10 },
      rows: new Map(),
      algorithm: 'token-bucket',
      cost: undefined,
      hits: false,
      // biome-ignore lint/suspicious/noThenProperty: a list, and a key of the product's configuration.
      then: [{ kind: 'refuse' }],
      mode: 'enforce',
      onError: 'local',
      replaces: [],
      latch: false,
      alerts: [],
      timezone: 'UTC',
      message: undefined,
      disclose: 'mine',
      origin: 'file',
    });
  });

  it('hands over all that was written', () => {
    const { limits } = compiled({
      auth: [{ name: 'ci', bearer: { token: 'a-token-of-16-chars', tenant: 'acme', tier: 'gold' } }],
      limits: {
        other: { by: 'everyone', limit: '5 at once' },
        it: {
          on: 'tools/call',
          tool: ['read_*', 'a/x'],
          server: 'a',
          endpoint: '/mcp',
          tenant: 'ac*',
          tier: 'gold',
          when: 'size(args) > 1',
          by: ['session', 'tool', 'args', 'tenant', 'client', 'ip'],
          limit: '100/month',
          cost: 'size(args)',
          hits: true,
          // biome-ignore lint/suspicious/noThenProperty: a list, and a key of the product's configuration.
          then: ['wait 10s', 'wait 5s', 'refuse'],
          onError: 'open',
          replaces: 'other',
          was: 'old',
          alerts: ['95%', '80%', '0.5%'],
          timezone: 'Europe/Berlin',
          message: 'Ask.',
          disclose: 'full',
        },
      },
    }).admission;
    expect(limits[1]).toEqual({
      name: 'it',
      was: 'old',
      on: ['tools/call'],
      tool: ['*/read_*', 'a/x'],
      resource: undefined,
      prompt: undefined,
      server: ['a'],
      endpoint: ['/mcp'],
      tenant: ['ac*'],
      tier: ['gold'],
      when: 'size(args) > 1',
      by: ['session', 'tool', 'args', 'tenant', 'client', 'ip'],
      quota: { kind: 'rate', count: 100, period: { kind: 'calendar', page: 'month' }, burst: 0 },
      rows: new Map(),
      algorithm: 'fixed-window',
      cost: { kind: 'expression', source: 'size(args)' },
      hits: true,
      // biome-ignore lint/suspicious/noThenProperty: a list, and a key of the product's configuration.
      then: [{ kind: 'wait', ms: 10_000 }, { kind: 'wait', ms: 5000 }, { kind: 'refuse' }],
      mode: 'enforce',
      onError: 'open',
      replaces: ['other'],
      latch: false,
      alerts: [0.005, 0.8, 0.95],
      timezone: 'Europe/Berlin',
      message: 'Ask.',
      disclose: 'full',
      origin: 'file',
    });
  });

  it('has one of three algorithms, by default that of its number', () => {
    const of = (limit: string, algorithm?: 'token-bucket' | 'sliding-window' | 'fixed-window') => {
      const { algorithm: used, quota } = limitOf({ by: 'principal', limit, ...(algorithm && { algorithm }) });
      return [used, quota !== undefined && 'period' in quota ? quota.period : undefined];
    };
    const minute = { kind: 'length', ms: 60_000 };
    expect(of('5/min')).toEqual(['token-bucket', minute]);
    expect(of('5/min', 'sliding-window')).toEqual(['sliding-window', minute]);
    expect(of('5/min', 'fixed-window')).toEqual(['fixed-window', { kind: 'calendar', page: 'minute' }]);
    expect(of('5/60s', 'fixed-window')).toEqual(['fixed-window', minute]);
    expect(of('5 USD/day')).toEqual(['fixed-window', { kind: 'calendar', page: 'day' }]);
    expect(of('5 USD/5m')).toEqual(['fixed-window', { kind: 'length', ms: 300_000 }]);
    expect(of('5 USD/day', 'token-bucket')).toEqual(['token-bucket', { kind: 'length', ms: 86_400_000 }]);
    expect(of('5 USD/day', 'sliding-window')).toEqual(['sliding-window', { kind: 'length', ms: 86_400_000 }]);
  });

  it('on an amount is closed whatever happens', () => {
    for (const limit of ['5 USD/day', '5 USD total', '5 USD/call', '5 credits/month']) {
      expect(limitOf({ by: 'principal', limit }).onError).toBe('closed');
    }
  });

  it('on an amount has a burst in its unit', () => {
    const limit = limitOf({ by: 'principal', limit: '5 USD/day', algorithm: 'token-bucket', burst: '0.5 USD' });
    expect(limit.quota).toMatchObject({ burst: 500_000 });
  });

  it('that is off does not exist', () => {
    expect(compiled({ limits: { it: { by: 'principal', limit: '5/min', mode: 'off' } } }).admission.limits).toEqual([]);
    expect(limitOf({ by: 'principal', limit: '5/min', mode: 'shadow' }).mode).toBe('shadow');
  });
});

describe('rows of tiers', () => {
  const auth = [{ name: 'ci', bearer: { token: 'a-token-of-16-chars', tier: 'lead' } }];

  it('replace limit and burst; a limit without a number of its own has one for every tier', () => {
    const { limits, tiers } = compiled({
      auth,
      limits: { calls: { by: 'principal', limit: '30/min', burst: 10 }, spend: { by: 'principal', limit: 'tier' } },
      tiers: {
        default: { spend: '20 USD/day' },
        gold: { spend: '50 USD/day', calls: { limit: '150/min', burst: 50 } },
      },
    }).admission;
    expect(tiers).toEqual(['default', 'gold', 'lead']);
    expect([...limits[0]!.rows]).toEqual([['gold', expect.objectContaining({ count: 150, burst: 50 })]]);
    expect(limits[1]!.quota).toBeUndefined();
    const amounts = [...limits[1]!.rows].map(([tier, quota]) => [tier, 'amount' in quota ? quota.amount.micros : 0]);
    expect(amounts).toEqual([
      ['default', 20_000_000],
      ['gold', 50_000_000],
      ['lead', 20_000_000],
    ]);
  });

  it('are needed only for callers that the limit covers', () => {
    const only = { servers, unpriced: 'free', tiers: { gold: { it: '5/min' } } };
    expect(mistakes({ ...only, limits: { it: { by: 'principal', limit: 'tier', tier: 'gold' } } })).toBe('');
    expect(mistakes({ ...only, limits: { it: { by: 'principal', limit: 'tier' } } })).toContain('tier "default"');
  });
});

describe('prices', () => {
  const { pricesOf } = compiled({
    tools: {
      'a/*': { price: { each: '0.005 USD', cached: '0.001 USD' } },
      'a/render': { price: { each: '0.002 USD', times: 'size(args.pages)', max: '5 USD' } },
      'b/*': { price: [{ from: 'result._meta.usd', hold: '0.10 USD', max: '5 USD' }, { each: '2 credits' }] },
      'b/free': { price: { each: '0 USD' } },
      'b/x': { timeout: '5s' },
    },
  }).admission;
  const none = {
    each: undefined,
    times: undefined,
    from: undefined,
    hold: undefined,
    max: undefined,
    cached: undefined,
  };
  const usd = (micros: number) => ({ unit: 'USD', micros });

  it('are those of the most specific pattern that has any, whole', () => {
    expect(pricesOf('a/read')).toEqual([{ ...none, each: usd(5000), cached: usd(1000) }]);
    expect(pricesOf('a/render')).toEqual([
      { ...none, each: usd(2000), times: 'size(args.pages)', max: usd(5_000_000) },
    ]);
    expect(pricesOf('b/free')).toEqual([{ ...none, each: usd(0) }]);
    expect(pricesOf('c/x')).toBeUndefined();
    for (const id of ['b/x', 'b/y']) {
      expect(pricesOf(id)).toEqual([
        { ...none, from: ['_meta', 'usd'], hold: usd(100_000), max: usd(5_000_000) },
        { ...none, each: { unit: 'credits', micros: 2_000_000 } },
      ]);
    }
  });

  it('that nothing has are doubted where a limit on their unit was written', () => {
    const warned = (yaml: string) =>
      formatProblems(loadText(`servers: { a: { command: x } }\n${yaml}\n`).warnings, '/project');
    const limits = 'limits: { l: { by: principal, limit: 5 usd/day } }';
    expect(warned(limits)).toContain('limits.l.limit: warning: No tool has a price in usd');
    expect(warned(`${limits}\ntools: { "a/*": { price: { each: 1 USD } } }`)).toContain('Did you mean "USD"?');
    expect(warned(`${limits}\ntools: { "a/*": { price: { each: 1 usd } } }`)).toBe('');
    expect(warned(`${limits}\nunpriced: free`)).toBe('');
    expect(warned('limits: { l: { by: principal, limit: 5 usd/day, cost: 1 } }')).toBe('');
  });
});

describe('limits of routes', () => {
  it('count by principal what the route takes, under a name of their own', () => {
    const result = compiled({
      limits: { calls: { by: 'principal', limit: '30/min' }, 'route-x': { by: 'principal', limit: '9/min' } },
      routes: [
        { tool: 'math_add', to: 'a' },
        { tool: 'math_*', to: ['a', 'b'], limit: '5/min' },
        { tool: 'x', to: 'a', limit: { limit: '6/min', burst: 2, replaces: ['calls'] } },
        { resource: 'data://*', to: 'a', limit: '2 at once' },
        { to: 'a', limit: '1 USD/day' },
      ],
    });
    const { limits } = result.admission;
    const digest = limits[3]!.name.slice('route-x-'.length);
    expect(digest).toMatch(/^[0-9a-f]{6}$/);
    expect(limits.map(({ name }) => name)).toEqual([
      'calls',
      'route-x',
      'route-math_',
      `route-x-${digest}`,
      'route-data',
      'route-default',
    ]);
    expect([...result.routeOfLimit.values()]).toEqual([1, 2, 3, 4]);
    const route = { by: ['principal'], origin: 'route', mode: 'enforce', disclose: 'mine' };
    expect(limits[2]).toMatchObject({
      ...route,
      tool: ['*/math_*'],
      server: ['a', 'b'],
      quota: { kind: 'rate', count: 5 },
    });
    expect(limits[3]).toMatchObject({ ...route, quota: { count: 6, burst: 2 }, replaces: ['calls'] });
    expect(limits[4]).toMatchObject({
      ...route,
      tool: undefined,
      resource: ['data://*'],
      quota: { kind: 'concurrency' },
    });
    expect(limits[5]).toMatchObject({
      ...route,
      tool: undefined,
      resource: undefined,
      server: ['a'],
      onError: 'closed',
    });
  });

  it('keep their name when routes before them change', () => {
    const name = (routes: ConfigInput['routes']) => compiled({ routes }).admission.limits.at(-1)!.name;
    const route = { tool: 'math_*', to: 'a', limit: '5/min' };
    expect(name([{ tool: 'y', to: 'b' }, route])).toBe(name([route]));
  });
});

describe('the session guard', () => {
  it('is off unless its key is present, with 120 requests in 60 s by default', () => {
    verifies('X4-01');
    expect(compiled({}).admission.sessionGuard).toBeUndefined();
    expect(compiled({ sessionGuard: {} }).admission.sessionGuard).toEqual({ limit: 120, periodMs: 60_000 });
    expect(compiled({ sessionGuard: { limit: '2/5m' } }).admission.sessionGuard).toEqual({
      limit: 2,
      periodMs: 300_000,
    });
    expect(compiled({ sessionGuard: { enabled: false } }).admission.sessionGuard).toBeUndefined();
    for (const limit of ['0/60s', '-1/60s', '5/0s', '5/month', '5 at once']) {
      expect(mistakes({ servers, sessionGuard: { limit } }), limit).toContain('sessionGuard.limit: ');
    }
  });

  it('takes its settings from the environment as the documentation says', () => {
    const text = `servers: { a: { command: x } }
sessionGuard:
  enabled: "\${env:MCP_RATE_LIMIT_ENABLED:-true}"
  limit: "\${env:MCP_RATE_LIMIT_REQUESTS:-120}/\${env:MCP_RATE_LIMIT_WINDOW_SECONDS:-60}s"
`;
    const guard = (env: Record<string, string>) => compile(loadText(text, env).config, {}).admission.sessionGuard;
    expect(guard({})).toEqual({ limit: 120, periodMs: 60_000 });
    expect(guard({ MCP_RATE_LIMIT_REQUESTS: '2', MCP_RATE_LIMIT_WINDOW_SECONDS: '5' })).toEqual({
      limit: 2,
      periodMs: 5000,
    });
    expect(guard({ MCP_RATE_LIMIT_ENABLED: 'false' })).toBeUndefined();
  });
});

describe('the number of limits', () => {
  const many = (count: number, make: (i: number) => object) =>
    mistakes({
      servers,
      limits: Object.fromEntries(
        Array.from({ length: count }, (_, i) => [`l${i}`, { by: 'principal', limit: '5/min', ...make(i) }]),
      ),
    });

  it('that can cover one call is bounded', () => {
    expect(many(128, () => ({}))).toBe('');
    expect(many(129, () => ({}))).toContain('129 limits can cover one call that "l0" covers; at most 128');
    expect(many(129, (i) => ({ tool: i % 2 === 0 ? 'a/*' : 'a/read_*' }))).toContain('129 limits');
  });

  it('counts only those that meet', () => {
    expect(many(300, (i) => ({ tool: `a/tool_${i}` }))).toBe('');
    expect(many(300, (i) => (i % 2 === 0 ? { tool: `a/t${i}` } : { prompt: `a/t${i}` }))).toBe('');
    expect(many(300, (i) => ({ tool: `a/tool_${i}_*_read` }))).toBe('');
    expect(many(300, (i) => ({ tool: `a/[ab]_${i}?` }))).toBe('');
    expect(many(200, (i) => ({ server: i % 2 === 0 ? 'a' : 'b' }))).toBe('');
    expect(many(300, () => ({ mode: 'off' }))).toBe('');
    expect(many(4097, (i) => ({ tool: `a/tool_${i}` }))).toContain('at most 4096');
  });
});

describe('the words for a limit', () => {
  it('say what its numbers let through', () => {
    const by = 'everyone' as const;
    const words = describeLimits(
      compiled({
        limits: {
          bucket: { by, limit: '30/min', burst: 10 },
          sliding: { by, limit: '30/min', algorithm: 'sliding-window' },
          page: { by, limit: '30/h', algorithm: 'fixed-window', timezone: 'Europe/Berlin' },
          length: { by, limit: '120/90s', algorithm: 'fixed-window' },
          busy: { by: 'server', limit: '20 at once' },
          month: { by: ['tenant', 'tool'], limit: '100 credits/month', mode: 'shadow' },
          call: { by: 'principal', limit: '1 USD/call' },
          stop: { by, limit: '1000 USD total', latch: true },
          spend: { by: 'principal', limit: 'tier' },
        },
        tiers: { default: { spend: '0.5 USD/day' }, gold: { spend: '5 USD/day', bucket: '60/min' } },
        sessionGuard: {},
      }),
    );
    expect(words).toEqual([
      'bucket: steady 30/min, at once 40, worst minute 70, one counter for everyone; gold: steady 60/min, at once 60, worst minute 120',
      'sliding: never more than 30 in any minute, one counter for everyone',
      'page: 30 each hour of the calendar (Europe/Berlin), worst hour 60, one counter for everyone',
      'length: 120/90s from the first call on, worst 90s 240, one counter for everyone',
      'busy: 20 at once, one counter for each server',
      'month: 100 credits each month of the calendar (UTC), worst month 200 credits, one counter for each tenant and tool (shadow: refuses nothing)',
      'call: at most 1 USD a call, each call by itself',
      'stop: 1000 USD in all, then shut until an admin resets it, one counter for everyone',
      'spend: one counter for each principal; default: 0.5 USD each day of the calendar (UTC), worst day 1 USD; gold: 5 USD each day of the calendar (UTC), worst day 10 USD',
      'session guard: 120 requests in 1m of each session',
    ]);
  });

  it('explain a call with the numbers of the caller’s tier, its price, and where each was written', () => {
    const loaded = loadText(
      `
servers: { a: { command: x }, b: { command: x } }
auth: [{ name: ci, bearer: { token: "\${env:TOKEN}", tier: gold, tenant: acme } }, { anonymous: true }]
tools: { "a/*": { price: { each: 0.002 USD, times: "size(args.pages)", max: 5 USD } } }
limits:
  calls: { by: principal, limit: 30/min }
  spend: { by: principal, limit: tier, when: "size(args) > 3", then: [wait 10s, refuse] }
  theirs: { by: principal, limit: 5/min, tenant: acme, cost: 2 }
tiers: { default: { spend: 20 USD/day }, gold: { spend: 50 USD/day } }
routes:
  - { tool: "a/x", to: a }
  - { tool: "a/*", to: a, limit: { limit: 5/min, replaces: [calls] } }
  - { to: b }
`,
      { TOKEN: 'value-of-TOKEN-0123456789' },
    );
    const lines = (caller: string, tool: string) =>
      formatCall(explainCall(loaded, { caller, tool }))
        .split('\n')
        .filter((line) => /^ {2}(limit|price|tier)/.test(line));
    expect(lines('ci', 'a/y')).toEqual([
      '  price: 0.002 USD × size(args.pages), at most 5 USD (tollgate.yaml:4:19)',
      '  tier: gold',
      '  limit calls: steady 30/min, at once 30, worst minute 60, one counter for each principal, replaced by route-a (tollgate.yaml:6:3)',
      '  limit spend: 50 USD each day of the calendar (UTC), worst day 100 USD, one counter for each principal, when size(args) > 3, waits 10s for room (tollgate.yaml:7:3, tier gold tollgate.yaml:9:50)',
      '  limit theirs: steady 5/min, at once 5, worst minute 10, one counter for each principal, a call weighs 2 (tollgate.yaml:8:3)',
      '  limit route-a: steady 5/min, at once 5, worst minute 10, one counter for each principal (route tollgate.yaml:12:27)',
    ]);
    // An earlier route takes it, and nobody gave this caller a tenant or a tier.
    expect(lines('anonymous', 'a/x')).toEqual([
      '  price: 0.002 USD × size(args.pages), at most 5 USD (tollgate.yaml:4:19)',
      '  limit calls: steady 30/min, at once 30, worst minute 60, one counter for each principal (tollgate.yaml:6:3)',
      '  limit spend: 20 USD each day of the calendar (UTC), worst day 40 USD, one counter for each principal, when size(args) > 3, waits 10s for room (tollgate.yaml:7:3, tier default tollgate.yaml:9:21)',
    ]);
  });
});

describe('a running gateway', () => {
  it('cannot change where its state is', () => {
    const before = compiled({});
    expect(restartOnlyChanges(before, compiled({ limits: { l: { by: 'everyone', limit: '1/s' } } }))).toEqual([]);
    expect(
      restartOnlyChanges(
        before,
        compiled({ storage: 'postgres://h/db', state: 'redis://h', dataDir: '/x', listen: '127.0.0.1:1' }),
      ),
    ).toEqual(['listen', 'admin', 'dataDir', 'storage', 'state']);
  });
});
