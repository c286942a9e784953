import { type Ask, type Limiter, MemoryLimiter, type Standing } from '@tollgate/limiter';
import { createFakeClock } from '@tollgate/testkit/fake-clock';
import { verifies } from '@tollgate/testkit/verifies';
import { describe, expect, it } from 'vitest';
import type { Principal } from '../core/principal.ts';
import type { Call, ClientSession } from '../protocol/call.ts';
import { type Admission, createAdmission } from './admission.ts';
import type { Decision, Verdict } from './decision.ts';
import type { Target } from './limits.ts';
import type { LimitOptions } from './options.ts';

function limit(name: string, options: Partial<LimitOptions>): LimitOptions {
  return {
    name,
    on: undefined,
    tool: undefined,
    resource: undefined,
    prompt: undefined,
    server: undefined,
    endpoint: undefined,
    by: ['principal'],
    count: 1,
    periodMs: 60_000,
    burst: 0,
    message: undefined,
    disclose: 'mine',
    ...options,
  };
}

interface Who {
  readonly principal?: number;
  readonly session?: number;
  readonly method?: string;
  readonly kind?: 'request' | 'notification' | 'result';
}

function call({ principal = 1, session, method = 'tools/call', kind = 'request' }: Who = {}): Call {
  return {
    message: { method, kind },
    principal: { key: principal } as Principal,
    session: session === undefined ? undefined : ({ key: session } as ClientSession),
    decisionId: undefined,
  } as unknown as Call;
}

function tool(id: string, endpoint = '/mcp', server = id.slice(0, id.indexOf('/'))): Target {
  return { kind: 'tool', canonicalId: id, server, endpoint };
}

const LISTING: Target = { kind: 'none', canonicalId: undefined, server: undefined, endpoint: '/mcp' };

function admission(limits: readonly LimitOptions[]): Admission {
  return createAdmission(limits, { clock: createFakeClock() });
}

function allows(subject: Admission, target: Target, who: Who = {}, now = 0): boolean {
  return (subject.admit(call(who), target, now) as Verdict).allowed;
}

function decision(verdict: Verdict | Promise<Verdict>): Decision {
  if (verdict instanceof Promise || verdict.allowed) throw new Error('expected a refusal');
  return verdict.decision;
}

describe('what a limit counts by', () => {
  it('everyone: one counter for all callers and tools', () => {
    verifies('R1-14');
    const subject = admission([limit('all', { by: ['everyone'], count: 1000, periodMs: 60_000 })]);
    for (let i = 0; i < 1000; i++) expect(allows(subject, tool(`s/t${i % 7}`), { principal: i })).toBe(true);
    expect(allows(subject, tool('s/new'), { principal: 5000 })).toBe(false);
    expect(allows(subject, tool('s/new'), { principal: 5000 }, 60)).toBe(true);
  });

  it('principal: callers do not affect each other', () => {
    verifies('R1-15');
    const subject = admission([limit('calls', { by: ['principal'], count: 2 })]);
    expect([1, 1, 1, 2, 2, 2].map((principal) => allows(subject, tool('s/t'), { principal }))).toEqual([
      true,
      true,
      false,
      true,
      true,
      false,
    ]);
  });

  it('tool: one counter for each tool, whoever calls', () => {
    verifies('R1-16');
    const subject = admission([limit('each', { by: ['tool'] })]);
    expect(allows(subject, tool('s/a'), { principal: 1 })).toBe(true);
    expect(allows(subject, tool('s/a'), { principal: 2 })).toBe(false);
    expect(allows(subject, tool('s/b'), { principal: 2 })).toBe(true);
    expect(allows(subject, tool('other/a'), { principal: 2 })).toBe(true);
  });

  it('tool: a prompt of the same name is something else', () => {
    const subject = admission([limit('each', { by: ['tool'] })]);
    expect(allows(subject, tool('s/a'))).toBe(true);
    const prompt: Target = { kind: 'prompt', canonicalId: 's/a', server: 's', endpoint: '/mcp' };
    expect(allows(subject, prompt, { method: 'prompts/get' })).toBe(true);
  });

  it('session: its own counter, else the principal, and the two never mix', () => {
    const subject = admission([limit('s', { by: ['session'] })]);
    expect(allows(subject, tool('s/t'), { session: 5, principal: 1 })).toBe(true);
    expect(allows(subject, tool('s/t'), { session: 5, principal: 1 })).toBe(false);
    expect(allows(subject, tool('s/t'), { session: 6, principal: 1 })).toBe(true);
    expect(allows(subject, tool('s/t'), { principal: 5 })).toBe(true);
    expect(allows(subject, tool('s/t'), { principal: 5 })).toBe(false);
  });

  it('server, endpoint and combinations', () => {
    const byServer = admission([limit('s', { by: ['server'] })]);
    expect(allows(byServer, tool('a/x'))).toBe(true);
    expect(allows(byServer, tool('a/y'))).toBe(false);
    expect(allows(byServer, tool('b/x'))).toBe(true);
    const byEndpoint = admission([limit('e', { by: ['endpoint', 'principal'] })]);
    expect(allows(byEndpoint, tool('a/x', '/mcp'))).toBe(true);
    expect(allows(byEndpoint, tool('a/x', '/mcp'))).toBe(false);
    expect(allows(byEndpoint, tool('a/x', '/team'))).toBe(true);
    expect(allows(byEndpoint, tool('a/x', '/mcp'), { principal: 2 })).toBe(true);
  });
});

describe('which calls a limit covers', () => {
  it('without `on`, the four that make a server work and nothing else', () => {
    const subject = admission([limit('l', { by: ['everyone'], periodMs: 86_400_000 })]);
    for (const method of ['tools/list', 'initialize', 'server/discover', 'ping', 'subscriptions/listen', 'tasks/get']) {
      expect(allows(subject, LISTING, { method })).toBe(true);
      expect(subject.covering(method, LISTING)).toEqual([]);
    }
    for (const method of ['tools/call', 'resources/read', 'prompts/get', 'completion/complete']) {
      expect(subject.covering(method, LISTING)).toHaveLength(1);
    }
    expect(allows(subject, tool('s/t'))).toBe(true);
    expect(allows(subject, tool('s/t'))).toBe(false);
  });

  it('lists and the like when named', () => {
    const subject = admission([limit('l', { on: ['initialize', 'tools/*'] })]);
    expect(allows(subject, LISTING, { method: 'initialize' })).toBe(true);
    expect(allows(subject, LISTING, { method: 'tools/list' })).toBe(false);
    expect(allows(subject, LISTING, { method: 'prompts/list' })).toBe(true);
  });

  it('never counts notifications and responses, even where everything is named', () => {
    const subject = admission([limit('l', { on: ['*'] })]);
    for (let i = 0; i < 3; i++) {
      expect(allows(subject, LISTING, { method: 'notifications/progress', kind: 'notification' })).toBe(true);
      expect(allows(subject, LISTING, { method: '', kind: 'result' })).toBe(true);
    }
    expect(allows(subject, LISTING, { method: 'ping' })).toBe(true);
    expect(allows(subject, LISTING, { method: 'ping' })).toBe(false);
  });

  it('patterns on tools, resources, prompts, servers and endpoints', () => {
    const names = (target: Target, method = 'tools/call') =>
      admission([
        limit('tool', { tool: ['gh/del*', 'search'] }),
        limit('uri', { resource: ['data://*'] }),
        limit('prompt', { prompt: ['docs/*'] }),
        limit('server', { server: ['gh'] }),
        limit('endpoint', { endpoint: ['/team'] }),
        limit('either', { tool: ['x/*'], prompt: ['x/*'] }),
      ])
        .covering(method, target)
        .map(({ name }) => name);
    expect(names(tool('gh/delete'))).toEqual(['tool', 'server']);
    expect(names(tool('web/search', '/team'))).toEqual(['tool', 'endpoint']);
    expect(names(tool('x/y'))).toEqual(['either']);
    const resource: Target = { kind: 'resource', canonicalId: 'db/data://a/b', server: 'db', endpoint: '/mcp' };
    expect(names(resource, 'resources/read')).toEqual(['uri']);
    expect(names({ ...resource, kind: 'prompt', canonicalId: 'docs/a' }, 'prompts/get')).toEqual(['prompt']);
    expect(names(LISTING)).toEqual([]);
  });

  it('remembers a plan per target and is right again after the memo is dropped', () => {
    const subject = admission([limit('each', { by: ['principal', 'tool'], periodMs: 86_400_000 })]);
    expect(allows(subject, tool('s/first'))).toBe(true);
    // URIs are the client's choice: so many must neither pile up nor refresh a counter.
    for (let i = 0; i < 20_100; i++) allows(subject, tool(`s/t${i}`));
    expect(allows(subject, tool('s/first'))).toBe(false);
  });
});

describe('the decision', () => {
  it('takes nothing when one of several limits has no room, and names all of them', () => {
    const subject = admission([
      limit('calls', { count: 10 }),
      limit('one', { by: ['tool'], count: 1, periodMs: 3_600_000 }),
      limit('two', { by: ['everyone'], count: 1, burst: 0 }),
    ]);
    expect(allows(subject, tool('s/t'))).toBe(true);
    for (let i = 0; i < 20; i++) expect(allows(subject, tool('s/t'))).toBe(false);
    const refusal = decision(subject.admit(call(), tool('s/t'), 0));
    expect(refusal.violated.map(({ limit: { name } }) => name)).toEqual(['one', 'two']);
    expect(refusal.binding.limit.name).toBe('one');
    expect(refusal.retryAfterSeconds).toBe(3600);
    const standings = subject.inspect(call(), tool('s/t'), 0);
    expect(standings).toMatchObject([{ remaining: 9 }, { remaining: 0 }, { remaining: 0 }]);
  });

  it('rounds the retry time up and gives the call its decision id', () => {
    const clock = createFakeClock(Date.UTC(2026, 10, 20, 12));
    const subject = createAdmission([limit('calls', { count: 30, burst: 10 })], { clock });
    for (let i = 0; i < 40; i++) expect(allows(subject, tool('s/t'), {}, 1000)).toBe(true);
    const refused = call();
    const refusal = decision(subject.admit(refused, tool('s/t'), 1000.5));
    expect(refusal.retryAfterSeconds).toBe(2);
    expect(refusal.binding.resetAt).toBe(Date.UTC(2026, 10, 20, 12, 1, 20));
    expect(refused.decisionId).toBe(refusal.id);
    expect(allows(subject, tool('s/t'), {}, 2999)).toBe(false);
    expect(allows(subject, tool('s/t'), {}, 3000)).toBe(true);
  });

  it('keeps what was used over a reload, also when the numbers change', () => {
    const clock = createFakeClock();
    const first = createAdmission([limit('calls', { count: 100, periodMs: 3_600_000 }), limit('gone', {})], { clock });
    for (let i = 0; i < 100; i++) {
      void first.admit(call({ principal: i % 2 }), tool('s/t'), 0);
    }
    const used = (subject: Admission, principal: number) =>
      (subject.inspect(call({ principal }), tool('s/t'), 0) as readonly Standing[])[0]!.remaining;
    const one = createAdmission([limit('calls', { count: 100, periodMs: 3_600_000 })], { clock });
    expect(used(one, 1)).toBe(100);
    const same = createAdmission([limit('calls', { count: 100, periodMs: 3_600_000 })], { clock, previous: first });
    const spent = 100 - used(same, 1);
    expect(spent).toBe(100 - used(first, 1));
    expect(spent).toBeGreaterThan(0);
    const wider = createAdmission([limit('calls', { count: 200, periodMs: 3_600_000 })], { clock, previous: same });
    expect(used(wider, 1)).toBe(200 - spent);
    const rekeyed = createAdmission([limit('calls', { count: 200, by: ['tool'] })], { clock, previous: wider });
    expect(used(rekeyed, 1)).toBe(200);
  });

  it('waits for a limiter that answers later', async () => {
    const memory = new MemoryLimiter();
    const remote: Limiter = {
      rule: (options, previous) => memory.rule(options, previous),
      decide: async (ask: Ask, now) => memory.decide(ask, now),
      check: async (ask, now) => memory.check(ask, now),
      inspect: async (ask, now) => memory.inspect(ask, now),
    };
    const subject = createAdmission([limit('calls', {})], { clock: createFakeClock(), limiter: remote });
    expect(await subject.admit(call(), tool('s/t'), 0)).toEqual({ allowed: true });
    expect(await subject.admit(call(), tool('s/t'), 0)).toMatchObject({ allowed: false });
  });

  it('names the limit whose numbers cannot be kept', () => {
    expect(() => admission([limit('slow', { periodMs: 366 * 86_400_000, burst: 1_000_000_000 })])).toThrow(
      /^limits\.slow: .*lower the burst or the period/,
    );
    expect(() => admission([limit('bad', { tool: ['a['] })])).toThrow(/"a\["|a\[/);
  });
});
