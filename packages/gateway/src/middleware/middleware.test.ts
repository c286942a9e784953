/** Real servers of each framework, asked over real sockets, with the limits in this process and behind HTTP. */
import { verifies } from '@tollgate/testkit/verifies';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Operations } from '../api/operations/operations.ts';
import { FakePort, principal } from '../api/operations/testing.ts';
import { createV1 } from '../api/v1.ts';
import { TollgateError } from '../core/errors.ts';
import { silentLog } from '../core/log.ts';
import { clientUsage, guardMcp, type LimiterLike, remoteLimiter, upgradeClient } from './index.ts';
import { closeAll, frameworks, listen } from './testing.ts';

let port: FakePort;
let operations: Operations;

beforeEach(() => {
  port = new FakePort();
  operations = new Operations(port);
});

afterEach(closeAll);

interface Reply {
  readonly status: number;
  readonly text: string;
  readonly retryAfter: string | null;
}

async function request(base: string, path: string, client?: string, method = 'GET'): Promise<Reply> {
  const response = await fetch(`${base}${path}`, {
    method,
    headers: client === undefined ? {} : { 'x-client': client },
  });
  return { status: response.status, text: await response.text(), retryAfter: response.headers.get('retry-after') };
}

describe.each(Object.entries(frameworks))('Limits before %s', (_name, serve) => {
  it('let through what has room, and answer the rest with 429, reason and Retry-After', async () => {
    verifies('R0-47', 'C-11');
    const base = await serve(operations);
    for (let i = 0; i < 40; i++) {
      expect(await request(base, '/api/users?page=1', 'alice')).toMatchObject({ status: 200, text: 'served' });
    }
    const denied = await request(base, '/api/users', 'alice');
    expect(denied).toMatchObject({ status: 429, retryAfter: '2' });
    expect(JSON.parse(denied.text)).toEqual({ error: 'Rate limit exceeded', reason: 'rate_limit_exceeded' });
    expect(await request(base, '/api/users', 'bob')).toMatchObject({ status: 200 });
  });

  it('ask about the client, the method in lower case with the path, and a cost of 1', async () => {
    verifies('R0-47');
    const asked: unknown[] = [];
    const base = await serve({
      process: async (input) => {
        asked.push(input);
        return { allowed: true };
      },
    });
    await request(base, '/api/users/5?page=1', 'alice', 'POST');
    await request(base, '/api/users', '2001:db8::1');
    await request(base, '/health', 'alice');
    const common = { operation: 'check_mcp_limit', estimated_cost: 1 };
    expect(asked).toEqual([
      { ...common, client_id: 'alice', endpoint: 'post/api/users/5' },
      { ...common, client_id: expect.stringMatching(/^sha256\.[0-9a-f]{40}$/), endpoint: 'get/api/users' },
    ]);
  });

  it.each([
    [{}],
    [undefined],
    [null],
    [{ allowed: 'true' }],
    [{ status: 'success' }],
    [{ status: 'error', reason: 'internal' }],
  ])('deny for the answer %j', async (answer) => {
    verifies('R0-46');
    const base = await serve({ process: async () => answer });
    expect(await request(base, '/x', 'alice')).toMatchObject({ status: 429 });
  });

  it('deny who says no name, and everybody when nothing can be asked, unless they are told to be open', async () => {
    const broken = { process: () => Promise.reject(new Error('down')) };
    const base = await serve(broken);
    expect(await request(base, '/x')).toMatchObject({ status: 403 });
    const closed = await request(base, '/x', 'alice');
    expect(closed).toMatchObject({ status: 503, retryAfter: '1' });
    expect(JSON.parse(closed.text)).toMatchObject({ reason: 'limiter_unavailable' });
    expect(await request(await serve(broken, 'open'), '/x', 'alice')).toMatchObject({ status: 200, text: 'served' });
  });
});

describe('A remote gateway', () => {
  const gateway = (): Promise<string> =>
    listen(
      createV1({
        operations,
        log: silentLog,
        identify: (authorization) =>
          authorization === 'Bearer secret'
            ? principal('svc/web', ['admin'])
            : new TollgateError('unauthorized', 'Send a credential.'),
      }),
    );

  it('limits like one in the process', async () => {
    verifies('R0-47');
    const limiter = remoteLimiter({ url: await gateway(), token: 'secret' });
    const base = await frameworks['Node http']!(limiter);
    for (let i = 0; i < 40; i++) expect(await request(base, '/api', 'alice')).toMatchObject({ status: 200 });
    const denied = await request(base, '/api', 'alice');
    expect(denied).toMatchObject({ status: 429, retryAfter: '2' });
    expect(JSON.parse(denied.text)).toMatchObject({ reason: 'rate_limit_exceeded' });
  });

  it('serves the helpers', async () => {
    verifies('R0-48');
    const limiter = remoteLimiter({ url: await gateway(), token: 'secret' });
    expect(await upgradeClient(limiter, 'alice', 'premium')).toBe(true);
    expect(await upgradeClient(limiter, 'alice', 'gold')).toBe(false);
    expect(await clientUsage(limiter, 'alice')).toMatchObject({ statistics: { client_id: 'alice', tier: 'premium' } });
  });

  it('that refuses the token, is away, hangs, or is none, lets nobody through', async () => {
    const hangs = await listen(() => undefined);
    const talks = await listen((_request, response) => void response.end('<html>allowed</html>'));
    const redirects = await listen((_request, response) => void response.writeHead(307, { location: talks }).end());
    const url = await gateway();
    const limiters = [
      remoteLimiter({ url, token: 'wrong' }),
      remoteLimiter({ url: 'http://127.0.0.1:1', token: 'secret' }),
      remoteLimiter({ url: hangs, token: 'secret', timeout: 100 }),
      remoteLimiter({ url: talks, token: 'secret' }),
      remoteLimiter({ url: redirects, token: 'secret' }),
    ];
    for (const limiter of limiters) {
      const base = await frameworks['Node http']!(limiter);
      expect(await request(base, '/api', 'alice')).toMatchObject({ status: 503 });
      expect(await upgradeClient(limiter, 'alice', 'premium')).toBe(false);
    }
  });
});

describe('An MCP handler behind the guard', () => {
  interface McpRequest {
    readonly client: string;
    readonly endpoint: string;
    readonly cost?: number;
  }
  const guarded = (limiter: LimiterLike, handler = async () => 'done') =>
    guardMcp<McpRequest, string>(handler, {
      limiter,
      clientId: ({ client }) => client,
      endpoint: ({ endpoint }) => endpoint,
      cost: ({ cost = 0 }) => cost,
    });

  it('runs only what is allowed', async () => {
    verifies('R0-46');
    let ran = 0;
    const handle = guarded(operations, async () => {
      ran++;
      return 'done';
    });
    const call = { client: 'alice', endpoint: 'tools/call' };
    for (let i = 0; i < 40; i++) expect(await handle(call)).toBe('done');
    expect(await handle(call)).toEqual({
      error: 'Rate limit exceeded',
      reason: 'rate_limit_exceeded',
      retryAfterSeconds: 2,
    });
    expect(await handle({ ...call, endpoint: 'prompts/get', cost: 5 })).toMatchObject({
      reason: 'per_request_cost_exceeded',
    });
    expect(ran).toBe(40);
  });

  it.each([
    ['nothing', async () => undefined],
    ['no verdict', async () => ({ status: 'success' })],
    ['an outage', () => Promise.reject(new Error('down'))],
  ])('takes %s for a denial', async (_name, process) => {
    verifies('R0-46');
    expect(await guarded({ process })({ client: 'alice', endpoint: 'tools/call' })).toMatchObject({
      error: 'Rate limit exceeded',
      reason: expect.any(String),
    });
  });

  it('gets room by a tier', async () => {
    verifies('R0-48', 'R0-66');
    const handle = guarded(operations);
    const call = { client: 'alice', endpoint: 'tools/call', cost: 4 };
    expect(await handle(call)).toMatchObject({ reason: 'per_request_cost_exceeded' });
    expect(await upgradeClient(operations, 'alice', 'standard')).toBe(true);
    expect(await handle(call)).toBe('done');
    expect(await clientUsage(operations, 'alice')).toMatchObject({
      statistics: { tier: 'standard', costs: { total: 4 } },
    });
  });
});
