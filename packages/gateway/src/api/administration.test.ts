import { once } from 'node:events';
import { createServer, type IncomingMessage, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { TollgateError } from '../core/errors.ts';
import { silentLog } from '../core/log.ts';
import type { Stop } from '../core/operator-records.ts';
import { lanesOf, type Principal } from '../core/principal.ts';
import type { StatusReport } from '../pipeline/status-report.ts';
import type { AdministrationPort } from './administration.ts';
import { createControlApi } from './control.ts';

const NOW = Date.parse('2026-03-01T10:00:00Z');
const STOPS: readonly Stop[] = [
  { id: 'stop-1', scope: 'tool:a/*', reason: 'incident', by: 'keys/ada', at: NOW, until: undefined },
  { id: 'latch-1', scope: 'rule:total', reason: 'reached', by: 'limit total', at: NOW, until: undefined },
];
/** What reached the gateway. */
let done: unknown[] = [];
const note = <T>(result: T, ...what: unknown[]): Promise<T> => {
  done.push(what);
  return Promise.resolve(result);
};
const port: AdministrationPort = {
  budgets: async () => ({ tier: 'default', limits: [] }),
  grant: (grant) => note({ id: 'grant-1', at: NOW, ...grant }, 'grant', grant),
  revoke: (id, by) => note(true, 'revoke', id, by),
  grants: () => [],
  reset: (...all) => note(undefined, 'reset', ...all),
  acceptLoss: (...all) => note(undefined, 'acceptLoss', ...all),
  blocks: () => [],
  block: (block) => note({ id: 'block-1', at: NOW, ...block }, 'block', block),
  unblock: (id, by) => note(true, 'unblock', id, by),
  stops: () => STOPS,
  stop: (stop) => note({ id: 'stop-2', at: NOW, ...stop }, 'stop', stop),
  resume: (id, by) => note(true, 'resume', id, by),
  now: () => NOW,
};

/** The credential is the role. */
async function identify(authorization: string | undefined): Promise<Principal | TollgateError> {
  if (authorization === undefined) return new TollgateError('unauthorized', 'no');
  const id = `keys/${authorization}`;
  return {
    id,
    person: id,
    key: 1,
    lanes: lanesOf(id),
    entry: 'keys',
    subject: authorization,
    tenant: undefined,
    tier: undefined,
    roles: [authorization],
    scopes: undefined,
    clientId: undefined,
  };
}

const server = createServer(
  createControlApi({
    log: silentLog,
    identify,
    port: {
      status: () => ({}) as StatusReport,
      watchCalls: () => () => undefined,
      reload: () => Promise.resolve({ changes: [], warnings: [] }),
      administration: port,
    },
  }),
);
beforeAll(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  done = [];
});

async function ask(role: string | undefined, method: string, path: string, body?: unknown) {
  const response = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/api/v1${path}`, {
    method,
    ...(role === undefined ? {} : { headers: { authorization: role } }),
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  return {
    status: response.status,
    body: (await response.json()) as { readonly error?: { readonly message: string } },
  };
}

const GRANT = { limit: 'spend', principal: 'keys/bob', amount: '5 USD', until: '2h', reason: 'demo' };
const STOP = { scope: 'server:files', reason: 'incident' };
const RESET = { limit: 'spend', principal: 'keys/bob', reason: 'again' };

describe('administration over the control API', () => {
  it('lets operators act, auditors read, and only admins reset money and open a latch', async () => {
    const statuses = async (method: string, path: string, body?: unknown) => {
      const roles = [undefined, 'user', 'auditor', 'operator', 'admin'];
      return Promise.all(roles.map(async (role) => (await ask(role, method, path, body)).status));
    };
    expect(await statuses('GET', '/budgets?principal=keys/bob')).toEqual([401, 403, 200, 200, 200]);
    expect(await statuses('GET', '/stops')).toEqual([401, 403, 200, 200, 200]);
    expect(done).toEqual([]);
    expect(await statuses('POST', '/grants', GRANT)).toEqual([401, 403, 403, 201, 201]);
    expect(await statuses('POST', '/stops', STOP)).toEqual([401, 403, 403, 201, 201]);
    expect(await statuses('DELETE', '/stops/stop-1')).toEqual([401, 403, 403, 200, 200]);
    expect(done).toHaveLength(6);
    expect(await statuses('DELETE', '/stops/latch-1')).toEqual([401, 403, 403, 403, 200]);
    expect(await statuses('POST', '/budgets/reset', RESET)).toEqual([401, 403, 403, 403, 200]);
    expect(await statuses('POST', '/budgets/accept-loss', { reason: 'disk' })).toEqual([401, 403, 403, 403, 200]);
    expect(done.slice(6)).toEqual([
      ['resume', 'latch-1', 'keys/admin'],
      ['reset', 'spend', 'keys/bob', 'keys/admin', 'again'],
      ['acceptLoss', 'keys/admin', 'disk'],
    ]);
  });

  it('refuses a body that two readers could read differently, and does nothing', async () => {
    for (const body of [
      '{"scope":"server:files","scope":"everything","reason":"incident"}',
      '{"scope":"server:files","reason":"incident"},"scope":"everything"',
      '{"scope":"server:files","reason":"incident",}',
    ]) {
      expect(await ask('admin', 'POST', '/stops', body)).toMatchObject({
        status: 400,
        body: { error: { code: expect.stringMatching(/^(parse_error|invalid_request)$/) } },
      });
    }
    expect(done).toEqual([]);
  });

  it('keeps who, why and until when, and takes the name from the credential', async () => {
    await ask('operator', 'POST', '/grants', GRANT);
    await ask('operator', 'POST', '/grants', { ...GRANT, until: '2026-03-02T00:00:00+01:00', amount: '12' });
    await ask('operator', 'POST', '/grants', { ...GRANT, until: '90d' });
    expect(done).toMatchObject([
      [
        'grant',
        { rule: 'spend', amount: 5_000_000, unit: 'USD', until: NOW + 7_200_000, by: 'keys/operator', reason: 'demo' },
      ],
      ['grant', { amount: 12, unit: 'requests', until: Date.parse('2026-03-01T23:00:00Z') }],
      ['grant', { until: NOW + 90 * 86_400_000 }],
    ]);
    expect((await ask('operator', 'POST', '/grants', { ...GRANT, by: 'keys/somebody' })).status).toBe(400);
  });

  it.each([
    ['/grants', { ...GRANT, amount: '-5 USD' }],
    ['/grants', { ...GRANT, amount: '0 USD' }],
    ['/grants', { ...GRANT, amount: '1e9 USD' }],
    ['/grants', { ...GRANT, until: '2026-02-01T00:00:00Z' }],
    ['/grants', { ...GRANT, until: '2026-03-02T00:00:00' }],
    ['/grants', { ...GRANT, until: '400d' }],
    ['/grants', { limit: 'spend', amount: '5 USD', until: '2h' }],
    ['/stops', { scope: 'rule:total', reason: 'x' }],
    ['/stops', { scope: 'everything' }],
    ['/budgets/reset', { limit: 'spend' }],
  ])('refuses %s with %j, and says what is wrong', async (path, body) => {
    const { status, body: answer } = await ask('admin', 'POST', path, body);
    expect(status).toBe(400);
    expect(answer.error!.message.length).toBeGreaterThan(10);
    expect(done).toEqual([]);
  });
});

describe('a body', () => {
  it('that grows too large is refused before it ends', async () => {
    const { port: at } = server.address() as AddressInfo;
    const asked = request({
      port: at,
      path: '/api/v1/blocks',
      method: 'POST',
      headers: { authorization: 'operator', 'content-type': 'application/json' },
    });
    asked.on('error', () => {});
    asked.write(`{"who":"${'x'.repeat(32 * 1024)}`);
    const [answer] = (await once(asked, 'response')) as [IncomingMessage];
    expect([answer.statusCode, answer.headers.connection]).toEqual([413, 'close']);
    asked.destroy();
    expect(done).toEqual([]);
  });
});
