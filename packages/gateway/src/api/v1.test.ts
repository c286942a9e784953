import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { verifies } from '@tollgate/testkit/verifies';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { TollgateError } from '../core/errors.ts';
import { silentLog } from '../core/log.ts';
import type { Principal } from '../core/principal.ts';
import { Operations } from './operations/operations.ts';
import { FakePort, principal } from './operations/testing.ts';
import { createV1 } from './v1.ts';

const CALLERS: Readonly<Record<string, Principal>> = {
  admin: principal('local/admin', ['admin']),
  audit: principal('ci/audit', ['auditor']),
  ada: principal('corp/ada'),
  eve: principal('corp/eve'),
};

let port: FakePort;
let base: string;
let close: () => void;

beforeEach(async () => {
  port = new FakePort('corp/ada', 'corp/eve');
  const listener = createV1({
    operations: new Operations(port),
    log: silentLog,
    identify: (authorization) =>
      CALLERS[authorization?.replace('Bearer ', '') ?? ''] ?? new TollgateError('unauthorized', 'Send a credential.'),
  });
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
  close = () => {
    server.closeAllConnections();
    server.close();
  };
});

afterEach(() => close());

interface Reply {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
  readonly retryAfter: string | null;
}

async function send(
  method: string,
  path: string,
  as: string,
  body?: unknown,
  type = 'application/json',
): Promise<Reply> {
  const response = await fetch(`${base}${path}`, {
    method,
    headers: { authorization: `Bearer ${as}`, ...(body === undefined ? {} : { 'content-type': type }) },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  return {
    status: response.status,
    body: (await response.json()) as Reply['body'],
    retryAfter: response.headers.get('retry-after'),
  };
}

const post = (path: string, as: string, body?: unknown): Promise<Reply> => send('POST', path, as, body);

describe('POST /v1/ops', () => {
  it('takes a body whose length is not told, and refuses it where it grows too large', async () => {
    const streamed = (text: string): Promise<Response> =>
      fetch(`${base}/ops`, {
        method: 'POST',
        headers: { authorization: 'Bearer ada', 'content-type': 'application/json' },
        body: new Blob([text]).stream(),
        duplex: 'half',
      } as RequestInit);
    expect((await streamed('{"operation":"get_status"}')).status).toBe(200);
    const large = await streamed(`"${'x'.repeat(1024 * 1024)}"`);
    expect([large.status, ((await large.json()) as { reason: string }).reason]).toEqual([413, 'input_too_large']);
  });

  it('answers one operation, and a list as a list', async () => {
    verifies('R0-69');
    const input = { operation: 'check_mcp_limit', client_id: 'c1', endpoint: 'tools/call', estimated_cost: 0.5 };
    expect(await post('/ops', 'admin', input)).toMatchObject({ status: 200, body: { allowed: true } });
    expect(await post('/ops', 'admin', [input, { operation: 'get_status' }])).toMatchObject({
      status: 200,
      body: [{ allowed: true }, { rate_limiter_status: 'operational' }],
    });
  });

  it('says a denial with 200 and Retry-After, an error with its status', async () => {
    verifies('C-11');
    for (let i = 0; i < 40; i++) await post('/ops', 'ada', { endpoint: 'tools/call' });
    const denied = await post('/ops', 'ada', { endpoint: 'tools/call' });
    expect(denied).toMatchObject({
      status: 200,
      retryAfter: '2',
      body: { allowed: false, reason: 'rate_limit_exceeded' },
    });
    const failures: [unknown, number, string][] = [
      [{ operation: 'nope' }, 400, 'unknown_operation'],
      [{ estimated_cost: '1' }, 400, 'invalid_input'],
      [{ client_id: 'corp/eve' }, 403, 'user_mismatch'],
      [{ operation: 'set_client_tier', tier: 'premium' }, 403, 'access_denied'],
      [{ note: 'x'.repeat(10_001) }, 413, 'input_too_large'],
      ['{"estimated_cost":1e400}', 400, 'invalid_input'],
    ];
    for (const [input, status, reason] of failures) {
      expect(await post('/ops', 'ada', input)).toMatchObject({ status, body: { reason, error: expect.any(String) } });
    }
  });

  it('wants a credential, JSON, and no more than a megabyte', async () => {
    verifies('R0-52', 'C-11');
    expect(await post('/ops', 'mallory', {})).toMatchObject({ status: 401, body: { reason: 'unauthorized' } });
    expect(await send('POST', '/ops', 'ada', '{}', 'text/plain')).toMatchObject({ status: 415 });
    expect(await post('/ops', 'ada', '{"a":')).toMatchObject({ status: 400, body: { reason: 'invalid_input' } });
    expect(await post('/ops', 'ada', `[${'{},'.repeat(400_000)}{}]`)).toMatchObject({ status: 413 });
    expect(await send('GET', '/nope', 'ada')).toMatchObject({ status: 404, body: { reason: 'not_found' } });
  });

  it.each([
    ['the same member twice', '{"operation":"get_status","operation":"reset_limits"}'],
    ['the same member twice, once with an escape', '[{"client_id":"corp/ada","client\\u005fid":"corp/eve"}]'],
    ['more than one value', '{"operation":"get_status"},"next":{}'],
    ['a member of every object', '{"__proto__":{"client_id":"corp/eve"}}'],
  ])('with %s is refused, as two readers could read it differently', async (_, body) => {
    for (const path of ['/ops', '/check', '/holds', '/holds/h/settle']) {
      const answer = await post(path, 'ada', body);
      expect(answer, path).toMatchObject({ status: 400, body: { reason: 'invalid_input' } });
      expect(answer.body['error']).toContain('not strict JSON');
    }
  });

  it('takes numbers however they are written', async () => {
    expect(await post('/ops', 'ada', '{"estimated_cost":0.10}')).toMatchObject({
      status: 200,
      body: { allowed: true },
    });
  });

  it('lists the operations', async () => {
    verifies('R0-45');
    const { body } = await send('GET', '/ops', 'ada');
    expect(body['operations']).toContainEqual({
      name: 'get_status',
      about: expect.any(String),
      roles: ['user', 'operator', 'auditor', 'admin'],
    });
  });
});

describe('POST /v1/check', () => {
  it('looks by default, and consumes when asked to', async () => {
    const question = { endpoint: 'tools/call', estimated_cost: 0.5 };
    for (let i = 0; i < 50; i++) await post('/check', 'ada', question);
    expect(await post('/check', 'ada', question)).toMatchObject({
      status: 200,
      body: { allowed: true, mode: 'peek', client_id: 'corp/ada', endpoint_limit: 30, effective_limit: 30 },
    });
    for (let i = 0; i < 40; i++) await post('/check', 'ada', { ...question, mode: 'consume' });
    const denied = await post('/check', 'ada', { ...question, mode: 'consume' });
    expect(denied).toMatchObject({
      status: 200,
      retryAfter: '2',
      body: {
        allowed: false,
        reason: 'rate_limit_exceeded',
        violated: [{ rule: 'rate', limit: 30, retry_after_seconds: 2 }],
      },
    });
  });

  it('takes a list in one step, whole or not at all', async () => {
    verifies('R0-69');
    const list = Array.from({ length: 41 }, () => ({ endpoint: 'tools/call', mode: 'consume' }));
    expect(await post('/check', 'ada', [...list, { mode: 'maybe' }])).toMatchObject({
      status: 400,
      body: { error: 'mode must be "peek" or "consume"' },
    });
    expect(port.batches).toEqual([]);
    const { body } = await post('/check', 'ada', list);
    const answers = body as unknown as readonly { readonly allowed: boolean }[];
    expect(answers.filter(({ allowed }) => allowed)).toHaveLength(40);
    expect(port.batches).toEqual([41]);
  });

  it('lets readers look at others, and only admins consume for them or name a tier', async () => {
    verifies('C-05', 'R0-53');
    const about = { client_id: 'corp/ada', endpoint: 'tools/call' };
    expect(await post('/check', 'audit', about)).toMatchObject({ status: 200, body: { allowed: true } });
    expect(await post('/check', 'audit', { ...about, mode: 'consume' })).toMatchObject({ status: 403 });
    expect(await post('/check', 'eve', about)).toMatchObject({ status: 403, body: { reason: 'user_mismatch' } });
    expect(await post('/check', 'ada', { tier: 'premium' })).toMatchObject({ body: { tier: 'basic' } });
    expect(await post('/check', 'admin', { ...about, tier: 'premium' })).toMatchObject({ body: { tier: 'premium' } });
    expect(await post('/check', 'admin', { ...about, tier: 'gold' })).toMatchObject({
      status: 400,
      body: { reason: 'invalid_tier', valid_tiers: ['basic', 'standard', 'premium'] },
    });
  });
});

describe('/v1/holds', () => {
  const spent = async (): Promise<number> => (await port.statistics(port.clientOf(CALLERS['ada']!))).costs.total;

  it('reserve, then settle with what it came to, once', async () => {
    const reserved = await post('/holds', 'ada', { endpoint: 'tools/call', estimated_cost: 0.75, ttl_seconds: 30 });
    expect(reserved).toMatchObject({
      status: 201,
      body: { state: 'open', reserved: 0.75, client_id: 'corp/ada', currency: 'USD', expires_at: expect.any(String) },
    });
    expect(await spent()).toBe(750_000);
    const path = `/holds/${String(reserved.body['id'])}`;
    expect(await post(`${path}/settle`, 'ada', { cost: 0.5 })).toMatchObject({
      body: { state: 'settled', charged: 0.5 },
    });
    expect(await post(`${path}/settle`, 'ada', { cost: 9 })).toMatchObject({
      body: { state: 'settled', charged: 0.5 },
    });
    expect(await post(`${path}/release`, 'ada')).toMatchObject({ status: 200, body: { state: 'settled' } });
    expect(await spent()).toBe(500_000);
    expect(await send('GET', path, 'ada')).toMatchObject({ status: 200, body: { state: 'settled' } });
  });

  it('give everything back when released, and settle without a cost at what was reserved', async () => {
    const { body } = await post('/holds', 'ada', { estimated_cost: 0.75 });
    expect(await post(`/holds/${String(body['id'])}/release`, 'ada')).toMatchObject({ body: { state: 'released' } });
    expect(await spent()).toBe(0);
    const second = await post('/holds', 'ada', { estimated_cost: 0.25 });
    expect(await post(`/holds/${String(second.body['id'])}/settle`, 'ada')).toMatchObject({ body: { charged: 0.25 } });
  });

  it('are refused with 402 for money and 429 for rate, and reserve nothing', async () => {
    verifies('C-11');
    expect(await post('/holds', 'ada', { estimated_cost: 1.5 })).toMatchObject({
      status: 402,
      body: { error: 'Cost limit exceeded', reason: 'per_request_cost_exceeded' },
    });
    for (let i = 0; i < 40; i++) await post('/holds', 'ada', { endpoint: 'tools/call' });
    expect(await post('/holds', 'ada', { endpoint: 'tools/call' })).toMatchObject({
      status: 429,
      retryAfter: '2',
      body: { error: 'Rate limit exceeded', reason: 'rate_limit_exceeded' },
    });
  });

  it('of others look as if they did not exist; readers see them, admins end them', async () => {
    verifies('R0-53');
    const { body } = await post('/holds', 'ada', { estimated_cost: 0.5 });
    const path = `/holds/${String(body['id'])}`;
    const theirs = await send('GET', path, 'eve');
    expect(theirs).toEqual(await send('GET', '/holds/hold-999', 'eve'));
    expect(theirs).toMatchObject({ status: 404, body: { reason: 'unknown_hold' } });
    expect(await post(`${path}/settle`, 'eve', { cost: 0 })).toMatchObject({ status: 404 });
    expect(await post(`${path}/release`, 'audit')).toMatchObject({ status: 404 });
    expect(await send('GET', path, 'audit')).toMatchObject({ status: 200, body: { state: 'open' } });
    expect(await post(`${path}/release`, 'admin')).toMatchObject({ status: 200, body: { state: 'released' } });
  });

  it.each([
    { ttl_seconds: 0 },
    { ttl_seconds: 86_401 },
    { estimated_cost: -1 },
    { estimated_cost: '1' },
    { color: 'red' },
  ])('are not made from %j', async (input) => {
    verifies('R0-51');
    expect(await post('/holds', 'ada', input)).toMatchObject({ status: 400, body: { reason: 'invalid_input' } });
  });
});
