/**
 * The behaviours of ToolHive's buckets and limiter, by the numbers of the list that they were taken from; run for
 * memory and for Redis.
 */
import { verifies } from '@tollgate/testkit/verifies';
import { describe, expect, it } from 'vitest';
import { principal, TestClock } from '../../admission/testing.ts';
import {
  ALICE,
  BOB,
  bucket,
  CAROL,
  compileText,
  generatedFile,
  type MakeLimiter,
  NOBODY,
  Stand,
  standOf,
  wordsOf,
} from './testing.ts';

const DAY = 86_400_000;

export function toolhiveBehaviours(where: string, make: MakeLimiter): void {
  const stand = (block: Parameters<typeof standOf>[1], options: Parameters<typeof standOf>[2] = {}) =>
    standOf(make, block, options);

  describe(`buckets of ToolHive, ${where}`, () => {
    it('ToolHive 1 and 2: hold what they say, and no more', async () => {
      verifies('R3-01', 'R3-11', 'X3-01');
      for (const capacity of [1, 3]) {
        const limits = stand({ shared: bucket(capacity, '1m') });
        for (let i = 0; i < capacity; i++) expect(await limits.says('backend_a/echo')).toBe('passed');
        expect(await limits.says('backend_a/echo', BOB)).toBe('shared');
      }
    });

    it('ToolHive 4 and 7: give back at exactly their rate, and say when', async () => {
      verifies('X3-01', 'X3-04', 'R3-18');
      const second = stand({ shared: bucket(1, '1s') });
      await second.ask('backend_a/echo');
      expect(await second.says('backend_a/echo')).toBe('shared');
      second.clock.now += 2_000;
      expect(await second.says('backend_a/echo')).toBe('passed');
      for (const [tokens, period, wait] of [
        [60, '60s', 1],
        [10, '100s', 10],
        [1000, '1s', 1],
        [1, '1m', 60],
        [2, '1h30m', 2700],
        [1, '1.5h', 5400],
      ] as const) {
        const limits = stand({ shared: bucket(tokens, period) });
        for (let i = 0; i < tokens; i++) await limits.ask('backend_a/echo');
        expect(await limits.ask('backend_a/echo'), period).toMatchObject({ retryAfterSeconds: wait });
      }
    });

    it('are better than ToolHive 7: a second before the refill the caller is told one second', async () => {
      const limits = stand({ shared: bucket(1, '1m') });
      await limits.ask('backend_a/echo');
      limits.clock.now += 59_000;
      expect(await limits.ask('backend_a/echo')).toMatchObject({ retryAfterSeconds: 1 });
      limits.clock.now += 999;
      expect(await limits.ask('backend_a/echo')).toMatchObject({ retryAfterSeconds: 1 });
      limits.clock.now += 1;
      expect(await limits.says('backend_a/echo')).toBe('passed');
    });

    it('ToolHive 8 and 15: a refusal by a tool takes nothing from the server', async () => {
      verifies('R3-03', 'R3-15', 'X3-02', 'X3-03');
      const limits = stand({
        shared: bucket(5, '1h'),
        tools: [{ name: 'backend_a_search', shared: bucket(2, '1h') }],
      });
      expect(await limits.says('backend_a/search')).toBe('passed');
      expect(await limits.says('backend_a/search')).toBe('passed');
      expect(await limits.says('backend_a/search')).toBe('tool_backend_a_search_shared');
      for (let i = 0; i < 3; i++) expect(await limits.says('backend_a/list')).toBe('passed');
      expect(await limits.says('backend_a/list')).toBe('shared');
      expect(await limits.says('backend_a/search')).toBe('shared tool_backend_a_search_shared');
    });

    it('ToolHive 12 and 14: a shared bucket is one for all, a tool limit leaves other tools alone', async () => {
      verifies('R3-11', 'R3-03');
      const all = stand({ shared: bucket(2, '1h') });
      expect([await all.says('backend_a/x'), await all.says('backend_b/y', BOB)]).toEqual(['passed', 'passed']);
      expect((await all.ask('backend_a/x', CAROL))?.retryAfterSeconds).toBeGreaterThan(0);
      const one = stand({ tools: [{ name: 'backend_a_search', shared: bucket(1, '1h') }] });
      await one.ask('backend_a/search');
      expect(await one.says('backend_a/search')).toBe('tool_backend_a_search_shared');
      for (let i = 0; i < 5; i++) expect(await one.says('backend_a/execute')).toBe('passed');
    });

    it('ToolHive 16, 22 and 37: each user has one bucket across all servers', async () => {
      verifies('R3-02', 'R3-12', 'R3-13', 'R3-32');
      const limits = stand({ perUser: bucket(2, '1h') });
      expect(await limits.says('backend_a/echo')).toBe('passed');
      expect(await limits.says('backend_b/echo')).toBe('passed');
      expect(await limits.says('backend_a/echo')).toBe('per_user');
      expect(await limits.says('backend_b/echo', BOB)).toBe('passed');
    });

    it('ToolHive 17, 18 and 38: users of a tool, by the name that clients see', async () => {
      verifies('R3-03', 'R3-32', 'X3-03');
      const own = stand({ tools: [{ name: 'backend_a_search', perUser: bucket(1, '1h') }] });
      await own.ask('backend_a/search');
      expect(await own.says('backend_a/search')).toBe('tool_backend_a_search_per_user');
      expect(await own.says('backend_a/search', BOB)).toBe('passed');
      expect(await own.says('backend_a/list')).toBe('passed');
      expect(await own.says('backend_b/search')).toBe('passed');
      const both = stand({
        perUser: bucket(5, '1h'),
        tools: [{ name: 'backend_a_search', perUser: bucket(2, '1h') }],
      });
      await both.ask('backend_a/search');
      await both.ask('backend_a/search');
      expect(await both.says('backend_a/search')).toBe('tool_backend_a_search_per_user');
      expect(await both.says('backend_a/list')).toBe('passed');
    });

    it('ToolHive 19: what a user may not do is not taken from the others', async () => {
      verifies('X3-02', 'R3-12');
      const limits = stand({ shared: bucket(3, '1h'), perUser: bucket(1, '1h') });
      expect(await limits.says('backend_a/echo', ALICE)).toBe('passed');
      expect(await limits.says('backend_a/echo', ALICE)).toBe('per_user');
      expect(await limits.says('backend_a/echo', BOB)).toBe('passed');
      expect(await limits.says('backend_a/echo', CAROL)).toBe('passed');
      expect(await limits.says('backend_a/echo', principal('dave/dave'))).toBe('shared');
    });

    it('ToolHive 23: who has no identity is under the shared buckets only', async () => {
      verifies('X3-03');
      const text = `
apiVersion: toolhive.stacklok.dev/v1beta1
kind: VirtualMCPServer
metadata: { name: vmcp }
spec: { groupRef: { name: team }, incomingAuth: { type: anonymous } }
---
apiVersion: toolhive.stacklok.dev/v1beta1
kind: MCPServer
metadata: { name: math }
spec:
  groupRef: { name: team }
  image: math:1
  oidcConfigRef: { name: company }
  sessionStorage: { provider: redis, address: "r:6379" }
  rateLimiting: { shared: { maxTokens: 3, refillPeriod: 1h }, perUser: { maxTokens: 1, refillPeriod: 1h } }
`;
      const clock = new TestClock();
      const limits = new Stand(compileText(text), make(clock), clock);
      expect(await limits.says('math/add', NOBODY)).toBe('passed');
      expect(await limits.says('math/add', NOBODY)).toBe('passed');
      expect(await limits.says('math/add', ALICE)).toBe('passed');
      expect(await limits.says('math/add', principal('anonymous/10.0.0.1'))).toBe('server_math_shared');
      expect(await limits.says('math/add', ALICE)).toBe('server_math_shared server_math_per_user');
    });

    it('ToolHive 43: a check that only looks takes nothing', async () => {
      verifies('X3-06');
      const limits = stand({ shared: bucket(1, '1h') });
      const question = { subject: { principal: ALICE.id }, method: 'tools/call', tool: 'backend_a/echo' };
      for (let i = 0; i < 3; i++) {
        expect((await limits.admission.external.peek(question, limits.clock.now)).allowed).toBe(true);
      }
      expect(await limits.says('backend_a/echo')).toBe('passed');
      expect((await limits.admission.external.peek(question, limits.clock.now)).allowed).toBe(false);
    });

    it('ToolHive 60: say which of the four is in the way first', async () => {
      const whole = { shared: bucket(1, '1h'), perUser: bucket(1, '1h') };
      const limits = stand({ ...whole, tools: [{ name: 'backend_a_x', ...whole }] });
      await limits.ask('backend_a/x');
      const four = 'shared tool_backend_a_x_shared per_user tool_backend_a_x_per_user';
      expect(await limits.says('backend_a/x')).toBe(four);
      expect(await limits.says('backend_a/x', BOB)).toBe('shared tool_backend_a_x_shared');
      expect(await limits.says('backend_a/y')).toBe('shared per_user');
    });
  });

  describe(`defects of ToolHive that are not here, ${where}`, () => {
    it('1: one in 30 days comes back after 30 days, to the millisecond, however often somebody asks', async () => {
      verifies('X3-01');
      for (const [period, length] of [
        ['24h', DAY],
        ['168h', 7 * DAY],
        ['720h', 30 * DAY],
      ] as const) {
        const limits = stand({ shared: bucket(1, period) });
        await limits.ask('backend_a/echo');
        for (let i = 0; i < 20; i++) {
          limits.clock.now += length / 20 - 1;
          expect(await limits.says('backend_a/echo'), `${period}, ${i}`).toBe('shared');
        }
        limits.clock.now += 19;
        expect(await limits.says('backend_a/echo'), period).toBe('shared');
        limits.clock.now += 1;
        expect(await limits.says('backend_a/echo'), period).toBe('passed');
      }
    });

    it('1: odd and short periods are exact as well', async () => {
      for (const [tokens, period, ms] of [
        [2, '250ms', 125],
        [1, '1ms', 1],
        [3, '7s', 7000 / 3],
      ] as const) {
        const limits = stand({ shared: bucket(tokens, period) });
        for (let i = 0; i < tokens; i++) expect(await limits.says('backend_a/echo'), period).toBe('passed');
        expect(await limits.says('backend_a/echo'), period).toBe('shared');
        limits.clock.now += Math.ceil(ms) - 1;
        expect(await limits.says('backend_a/echo'), period).toBe('shared');
        limits.clock.now += 1;
        expect(await limits.says('backend_a/echo'), period).toBe('passed');
      }
    });

    it('2: a MCPServer and a VirtualMCPServer of one name share nothing', async () => {
      const clock = new TestClock();
      const limiter = make(clock);
      const virtual = new Stand(generatedFile({ shared: bucket(1, '1h') }, { name: 'same' }), limiter, clock);
      const text = `
apiVersion: toolhive.stacklok.dev/v1beta1
kind: MCPServer
metadata: { name: same, namespace: local }
spec:
  image: x
  sessionStorage: { provider: redis, address: "r:6379" }
  rateLimiting: { shared: { maxTokens: 1, refillPeriod: 1h } }
`;
      const single = new Stand(compileText(text), limiter, clock);
      await virtual.ask('backend_a/echo');
      expect(await single.says('same/echo')).toBe('passed');
      expect(await single.says('same/echo')).toBe('server_same_shared');
    });

    it('3 and 4: no name of a tool or a user can be another’s, and one subject of two issuers is two users', async () => {
      verifies('X3-01', 'R3-12');
      const tools = ['a:b', 'a'].map((tool) => ({ name: `backend_a_${tool}`, perUser: bucket(1, '1h') }));
      const limits = stand({ perUser: bucket(2, '1h'), tools });
      expect(await limits.says('backend_a/a:b', principal('idp/c'))).toBe('passed');
      expect(await limits.says('backend_a/a', principal('idp/b:c'))).toBe('passed');
      const [first, second] = [principal('idp-one/alice'), principal('idp-two/alice')];
      expect(await limits.says('backend_a/a', first)).toBe('passed');
      expect(await limits.says('backend_a/a', second)).toBe('passed');
      expect(wordsOf(await limits.ask('backend_a/a', first))).not.toBe('passed');
    });
  });
}
