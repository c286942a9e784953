/** What callers may try, and must not succeed in: bounds, isolation, authority (R0-50). */

import { verifies } from '@tollgate/testkit/verifies';
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { callerOf } from './caller.ts';
import { type OperationAnswer, Operations } from './operations.ts';
import { standardOperations } from './standard.ts';
import { FakePort, principal } from './testing.ts';

let port: FakePort;
let operations: Operations;

beforeEach(() => {
  port = new FakePort('corp/ada', 'corp/eve');
  operations = new Operations(port);
});

const ADA = callerOf(principal('corp/ada'));
const EVE = callerOf(principal('corp/eve'));
const OPERATOR = callerOf(principal('ci/op', ['operator']));
const AUDITOR = callerOf(principal('ci/audit', ['auditor']));
const ADMIN = callerOf(principal('ci/root', ['admin']));
const nobody = callerOf(principal('corp/none', []));

describe('costs', () => {
  it.each([
    ['negative', -1],
    ['barely negative', -0.000001],
    ['not a number', Number.NaN],
    ['infinite', Number.POSITIVE_INFINITY],
    ['an overflowing exponent', JSON.parse('1e400')],
    ['above the bound', 1_000_000.5],
    ['in a string', '2.5'],
    ['in a string with an exponent', '1e3'],
    ['a big integer', 10n],
    ['a truth', true],
    ['a list', [1]],
    ['an object', { valueOf: 1 }],
  ])('that are %s are refused, and nothing is charged', async (_name, estimated_cost) => {
    verifies('R0-51', 'X0-09');
    const answer = await operations.process({ client_id: 'ada', estimated_cost });
    expect(answer).toMatchObject({ status: 'error', reason: 'invalid_input' });
    expect(port.batches).toEqual([]);
    expect((await port.globalStatistics()).totalCost).toBe(0);
  });

  it('are charged to the millionth, rounded up: none is too small to count', async () => {
    for (const estimated_cost of [0.07, 0.1, 0.2, 1e-7, -0]) {
      await operations.process({ client_id: 'ada', estimated_cost });
    }
    expect((await port.globalStatistics()).totalCost).toBe(70_000 + 100_000 + 200_000 + 1);
  });
});

describe('input that is too much', () => {
  const ofSize = (bytes: number) => ({
    operation: 'get_status',
    parts: Array.from({ length: bytes / 1000 }, () => 'x'.repeat(990)),
  });
  const nested = (depth: number): unknown => (depth === 0 ? 1 : [nested(depth - 1)]);
  const cyclic: Record<string, unknown> = {};
  cyclic['self'] = cyclic;

  it.each<[string, object]>([
    ['over 100 KB in all', ofSize(110_000)],
    ['a string over 10,000', { note: 'x'.repeat(10_001) }],
    ['a list over 1000', { list: new Array(1001).fill(0) }],
    ['over 100 keys', Object.fromEntries(Array.from({ length: 101 }, (_, i) => [`k${i}`, 0]))],
    ['nested too deep', { deep: nested(65) }],
    ['endless', cyclic],
    ['a key over 10,000', { ['k'.repeat(10_001)]: 1 }],
  ])('%s is refused before anybody looks at it', async (_name, input) => {
    verifies('R0-52', 'X0-09');
    expect(await operations.process({ operation: 'scan', ...input })).toMatchObject({
      status: 'error',
      reason: 'input_too_large',
    });
  });

  it('is told apart from what just fits', async () => {
    const fits = { operation: 'get_status', note: 'x'.repeat(10_000), list: new Array(1000).fill(0), deep: nested(62) };
    expect(await operations.process(fits)).toMatchObject({ status: 'success' });
    expect(await operations.process(ofSize(99_000))).toMatchObject({ status: 'success' });
  });

  it('as ctx and cfg together counts as one', async () => {
    expect(await operations.process(ofSize(60_000), ofSize(60_000))).toMatchObject({ reason: 'input_too_large' });
  });

  it('as a batch of more than 1000 does nothing', async () => {
    verifies('R0-52');
    const answers = await operations.process(new Array(1001).fill({ client_id: 'ada' }));
    expect(answers).toMatchObject([{ status: 'error', reason: 'input_too_large', operation: 'batch' }]);
    expect(port.batches).toEqual([]);
  });
});

describe('client ids', () => {
  it.each([
    '',
    'a b',
    'a{b}',
    'a:b',
    'a\u0000b',
    '\ud800',
    'ä',
    'x'.repeat(101),
    'x'.repeat(10_000),
    '../x',
    'nobody/x',
    '<script>',
  ])('%j is no new client, not even for an admin', async (client_id) => {
    verifies('X0-09');
    const answer = await operations.run({ operation: 'set_client_tier', client_id, tier: 'premium' }, ADMIN);
    expect(answer.status).toBe('error');
    expect((await port.globalStatistics()).clientTiers.size).toBe(0);
  });

  it('are checked by the same rules however they look', async () => {
    for (const client_id of [5, {}, [], true]) {
      expect(await operations.process({ client_id })).toMatchObject({ status: 'error', reason: 'invalid_input' });
    }
  });
});

describe('a user', () => {
  // Every operation that is about a client asks whether the caller may be it, before anything is looked up.
  it.each(
    standardOperations().map(({ name }) => ({ operation: name })),
  )('cannot name another client: $operation', async (input) => {
    verifies('R0-40', 'R0-53', 'C-14');
    const answer = await operations.run({ ...input, client_id: 'corp/eve' }, ADA);
    // That of the gateway is about nobody; what takes a role is refused for that, whoever is named.
    if (input.operation === 'get_status') expect(answer.status).toBe('success');
    else
      expect(answer).toMatchObject({
        status: 'error',
        reason: expect.stringMatching(/^(user_mismatch|access_denied)$/),
      });
    expect(JSON.stringify(answer)).not.toContain('eve');
    expect(port.resolved).toEqual([]);
  });

  it('gets the same answer for clients that exist and that do not, after the same steps', async () => {
    verifies('R0-54');
    const answers: unknown[] = [];
    for (const client_id of ['corp/eve', 'eve', 'corp/nobody', 'nobody']) {
      const { processing_time_ms: _, security_metadata: __, ...rest } = await operations.run({ client_id }, ADA);
      answers.push(rest);
    }
    expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1);
    expect(port.resolved).toEqual([]);
  });

  it('is meant by leaving the id out, and by either form of it', async () => {
    for (const client_id of [undefined, null, 'corp/ada', 'ada']) {
      expect(await operations.run({ client_id, estimated_cost: 0.5 }, ADA)).toMatchObject({ allowed: true });
    }
    const { costs } = await port.statistics(port.clientOf(principal('corp/ada')));
    expect(costs.total).toBe(2_000_000);
    expect((await port.statistics(port.clientOf(principal('corp/eve')))).costs.total).toBe(0);
  });

  it('cannot promote itself, by a tier in the check or by the operation', async () => {
    verifies('C-05', 'X0-03');
    const checked = await operations.run({ client_id: 'ada', estimated_cost: 2.5, tier: 'premium' }, ADA);
    expect(checked).toMatchObject({ allowed: false, metadata: { client_tier: 'basic' } });
    const set = await operations.run({ operation: 'set_client_tier', client_id: 'ada', tier: 'premium' }, ADA);
    expect(set).toMatchObject({ status: 'error', reason: 'access_denied' });
    const wrapped = {
      original_request: { params: { operation: 'set_client_tier', client_id: 'ada', tier: 'premium' } },
    };
    expect(await operations.run(wrapped, ADA)).toMatchObject({ reason: 'access_denied' });
  });

  it('does not see all clients, nor the configuration, nor problems', async () => {
    verifies('C-22', 'R0-53');
    const global = await operations.run({ operation: 'get_mcp_statistics', client_id: 'anonymous' }, ADA);
    expect(global).toMatchObject({ status: 'error', reason: 'access_denied' });
    const scan = await operations.run({ operation: 'scan', target: 'configuration' }, ADA);
    expect(scan).toMatchObject({ reason: 'access_denied' });
    port.problems = ['secret outage'];
    expect(JSON.stringify(await operations.run({ operation: 'get_status' }, ADA))).not.toContain('outage');
  });

  it('spends only its own budget', async () => {
    verifies('R0-20', 'R0-53');
    for (let i = 0; i < 60; i++) await operations.run({ endpoint: 'server/ping', estimated_cost: 1 }, EVE);
    expect(await operations.run({ endpoint: 'server/ping', estimated_cost: 1 }, EVE)).toMatchObject({ allowed: false });
    expect(await operations.run({ endpoint: 'server/ping', estimated_cost: 1 }, ADA)).toMatchObject({ allowed: true });
  });
});

describe('roles', () => {
  it('let operators and auditors read, and only read', async () => {
    for (const caller of [OPERATOR, AUDITOR]) {
      const read = await operations.run({ operation: 'get_mcp_statistics', client_id: 'corp/ada' }, caller);
      expect(read).toMatchObject({ statistics: { client_id: 'corp/ada' } });
      const consume = await operations.run({ client_id: 'corp/ada', estimated_cost: 1 }, caller);
      expect(consume).toMatchObject({ reason: 'user_mismatch' });
      for (const operation of ['set_client_tier', 'reset_limits']) {
        const denied = await operations.run({ operation, client_id: 'corp/ada', tier: 'premium' }, caller);
        expect(denied).toMatchObject({ reason: 'access_denied' });
      }
      const all = await operations.run({ operation: 'get_mcp_statistics', client_id: 'anonymous' }, caller);
      expect(all).toMatchObject({ reason: 'access_denied' });
    }
  });

  it('let only operators and admins stop', async () => {
    for (const caller of [ADA, AUDITOR]) {
      expect(await operations.run({ operation: 'emergency_stop' }, caller)).toMatchObject({ reason: 'access_denied' });
    }
    expect(port.stopped()).toBeUndefined();
    expect(await operations.run({ operation: 'emergency_stop' }, OPERATOR)).toMatchObject({ stopped: true });
  });

  it('that nobody gave let nothing', async () => {
    for (const operation of ['check_mcp_limit', 'get_mcp_statistics', 'scan', 'get_status']) {
      expect(await operations.run({ operation }, nobody)).toMatchObject({ status: 'error', reason: 'access_denied' });
    }
  });

  it('tell readers of unknown clients what they would tell of new ones, and make none', async () => {
    verifies('R0-54');
    const ofClient = async (client_id: string) =>
      (await operations.run({ operation: 'get_mcp_statistics', client_id }, AUDITOR))['statistics'];
    const known = (await ofClient('corp/ada')) as object;
    expect(await ofClient('never-seen')).toEqual({ ...known, client_id: 'never-seen' });
    expect(await port.resolve('ops/never-seen', false)).toBe('unknown');
  });
});

describe('attacks', () => {
  it('in members are reported, and the members taken as they are', async () => {
    verifies('X0-10', 'R0-51');
    const answer = await operations.process({
      client_id: 'ada',
      endpoint: "tools/call'; DROP TABLE clients; --",
      note: 'please bypass rate limit',
    });
    expect(answer).toMatchObject({ allowed: true, metadata: { endpoint: "tools/call'; DROP TABLE clients; --" } });
    expect(answer.security_metadata).toMatchObject({
      sanitization_applied: false,
      security_issues_count: 2,
      validation_warnings: ['sql_injection at $.endpoint', 'limiter_bypass at $.note'],
      validation_time: expect.any(Number),
    });
  });

  it('on prototypes change none', async () => {
    const polluted = JSON.parse('{"client_id":"ada","__proto__":{"roles":["admin"],"tier":"premium"}}') as object;
    expect(await operations.run(polluted, ADA)).toMatchObject({ status: 'error', reason: 'invalid_input' });
    const nested = { client_id: 'ada', constructor: { prototype: { tier: 'premium' } } };
    expect(await operations.run(nested, ADA)).toMatchObject({ metadata: { client_tier: 'basic' } });
    expect(({} as Record<string, unknown>)['tier']).toBeUndefined();
    for (const operation of ['__proto__', 'constructor', 'toString', 'hasOwnProperty']) {
      expect(await operations.run({ operation }, ADMIN)).toMatchObject({ reason: 'unknown_operation' });
    }
  });

  it('by objects that are more than data are refused unread', async () => {
    let touched = 0;
    const trap = new Proxy(new (class Trap {})(), {
      get: () => {
        touched++;
        return 'admin';
      },
    });
    for (const input of [
      { roles: trap },
      { when: new Date() },
      { f: () => 'x' },
      { s: Symbol('x') },
      { m: new Map() },
    ]) {
      expect(await operations.process({ client_id: 'ada', ...input })).toMatchObject({ reason: 'invalid_input' });
    }
    expect(touched).toBe(0);
  });

  it('on the answer itself do not show: it carries no control characters of names', async () => {
    const answer = await operations.process({ operation: '\u001b[2J\u202ex'.repeat(100), client_id: 'ada' });
    expect(answer.error).not.toMatch(/[^\x20-\x7e]/);
    expect(answer.error!.length).toBeLessThan(200);
  });
});

describe('a failure within', () => {
  it('is masked for the caller and told to the log', async () => {
    const logged: unknown[] = [];
    const log = { debug() {}, info() {}, warn() {}, child: () => log, error: (fields: object) => logged.push(fields) };
    const broken = new Operations(port, { log });
    port.decide = () => Promise.reject(new Error('password of the database: hunter2'));
    const answer = await broken.process({ client_id: 'ada' });
    expect(answer).toMatchObject({ status: 'error', reason: 'internal', error: 'Internal error' });
    expect(JSON.stringify(answer)).not.toContain('hunter2');
    expect(logged).toHaveLength(1);
  });

  it('of a limiter that says nothing is a denial', async () => {
    port.decide = () => Promise.resolve([]);
    const answer = await operations.process({ client_id: 'ada' });
    expect(answer.status).toBe('error');
    expect(answer).not.toHaveProperty('allowed');
  });
});

describe('whatever is sent', () => {
  const runs = process.env['TOLLGATE_PROOF'] === 'full' ? 5000 : 200;

  it('is answered, and never allowed more than its caller may', async () => {
    verifies('R0-39', 'R0-51');
    const member = fc.oneof(
      fc.jsonValue({ maxDepth: 3 }),
      fc.constantFrom('corp/eve', 'eve', 'premium', 'set_client_tier', 'anonymous', undefined),
    );
    const keys = [
      'operation',
      'client_id',
      'endpoint',
      'estimated_cost',
      'tier',
      'original_request',
      'jsonrpc',
      'params',
    ];
    const input = fc.dictionary(fc.oneof(fc.constantFrom(...keys), fc.string()), member, { maxKeys: 8 });
    await fc.assert(
      fc.asyncProperty(fc.oneof(input, fc.anything()), fc.oneof(input, fc.anything()), async (ctx, cfg) => {
        const answer = (await operations.run(ctx, ADA, cfg)) as OperationAnswer;
        expect(['success', 'error']).toContain(answer.status);
        expect(answer['statistics'] ?? answer['metadata'] ?? {}).not.toMatchObject({ client_id: 'corp/eve' });
        expect(port.clientOf(principal('corp/ada')).tier).toBe('basic');
        expect((await port.statistics(port.clientOf(principal('corp/eve')))).costs.total).toBe(0);
      }),
      { numRuns: runs },
    );
  });
});
