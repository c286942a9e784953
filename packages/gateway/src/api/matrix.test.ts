/** Role × object × action × transport: every way into the admin surfaces, asked as every role. A way without a cell fails. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { verifies } from '@tollgate/testkit/verifies';
import { Hono } from 'hono';
import { describe, expect, it } from 'vitest';
import { mayDo, RIGHTS, type RightName, ROLES, rolesOf } from '../access/rights.ts';
import { TollgateError } from '../core/errors.ts';
import { silentLog } from '../core/log.ts';
import type { Principal } from '../core/principal.ts';
import type { StatusReport } from '../pipeline/status-report.ts';
import type { StoredDecision } from '../telemetry/decisions/store.ts';
import type { AdministrationPort } from './administration.ts';
import { controlApp } from './control.ts';
import { GuardedRoutes } from './guarded.ts';
import { ways } from './inventory.ts';
import { createMetricsPage } from './metrics.ts';
import { Operations } from './operations/operations.ts';
import { standardOperations } from './operations/standard.ts';
import { FakePort, principal } from './operations/testing.ts';
import { type UserPort, userApp } from './user/user-api.ts';
import { v1App } from './v1.ts';

/** Nobody of the four, then each, then several. */
const CASTS: readonly (readonly string[])[] = [[], ['engineer'], ...ROLES.map((role) => [role]), ['user', 'operator']];
const OTHER = 'corp/other';
const as = (roles: readonly string[]): Principal => principal('corp/me', roles);

const administration: AdministrationPort = {
  budgets: async () => ({ tier: 'default', limits: [] }),
  grant: async (grant) => ({ ...grant, id: 'g', at: 0 }),
  revoke: async () => true,
  grants: () => [],
  reset: async () => undefined,
  acceptLoss: async () => undefined,
  blocks: () => [],
  block: async (block) => ({ ...block, id: 'b', at: 0 }),
  unblock: async () => true,
  stops: () => [{ id: 'latched', scope: 'rule:cap', reason: 'r', by: 'x', at: 0 }],
  stop: async (stop) => ({ ...stop, id: 's', at: 0 }),
  resume: async () => true,
  now: () => 0,
};
const record = (id: string, who: string): StoredDecision =>
  ({
    id,
    at: 0,
    verdict: 'refused',
    principal: who,
    tool: 't',
    method: 'm',
    reason: 'r',
    json: JSON.stringify({ id, rules: [] }),
  }) as StoredDecision;

const KEY = { api_key: `sk-${'a'.repeat(40)}` };

interface Cell {
  readonly method: string;
  readonly path: string;
  readonly body?: unknown;
  /** The right that decides, where it is not that of the route, and whose the object is. Default: the route's, over others. */
  readonly right?: RightName;
  readonly whose?: 'own' | 'others';
  /** Status for who may, where the object does not exist; default any success. */
  readonly done?: number;
  /** Status for who may not; default 403. Somebody else's record or hold looks like none. */
  readonly refused?: number;
}

/** At least one request for each route of the control API and of /v1. */
const CELLS: Readonly<Record<string, readonly Cell[]>> = {
  'GET /api/v1/status': [{ method: 'GET', path: '/status' }],
  'POST /api/v1/reload': [{ method: 'POST', path: '/reload' }],
  'GET /api/v1/calls': [{ method: 'GET', path: '/calls' }],
  'GET /api/v1/decisions/:id': [
    { method: 'GET', path: '/decisions/mine', whose: 'own' },
    { method: 'GET', path: '/decisions/theirs', refused: 404 },
  ],
  'GET /api/v1/decisions': [{ method: 'GET', path: '/decisions', whose: 'own' }],
  'GET /api/v1/budgets': [{ method: 'GET', path: `/budgets?principal=${OTHER}` }],
  'POST /api/v1/budgets/reset': [{ method: 'POST', path: '/budgets/reset', body: { limit: 'l', reason: 'r' } }],
  'POST /api/v1/budgets/accept-loss': [{ method: 'POST', path: '/budgets/accept-loss', body: { reason: 'r' } }],
  'GET /api/v1/grants': [{ method: 'GET', path: '/grants' }],
  'POST /api/v1/grants': [
    { method: 'POST', path: '/grants', body: { limit: 'l', amount: '5', until: '1h', reason: 'r' } },
  ],
  'DELETE /api/v1/grants/:id': [{ method: 'DELETE', path: '/grants/g' }],
  'GET /api/v1/blocks': [{ method: 'GET', path: '/blocks' }],
  'POST /api/v1/blocks': [{ method: 'POST', path: '/blocks', body: { who: OTHER, until: '1h' } }],
  'DELETE /api/v1/blocks/:id': [{ method: 'DELETE', path: '/blocks/b' }],
  'GET /api/v1/stops': [{ method: 'GET', path: '/stops' }],
  'POST /api/v1/stops': [{ method: 'POST', path: '/stops', body: { scope: 'everything', reason: 'r' } }],
  'DELETE /api/v1/stops/:id': [
    { method: 'DELETE', path: '/stops/s' },
    { method: 'DELETE', path: '/stops/latched', right: 'stops.open-latched' },
  ],
  'GET /api/v1/keys': [{ method: 'GET', path: '/keys' }],
  'POST /api/v1/keys': [{ method: 'POST', path: '/keys', body: { subject: 'x' } }],
  'POST /api/v1/keys/:id/replace': [{ method: 'POST', path: '/keys/k/replace', body: {} }],
  'DELETE /api/v1/keys/:id': [{ method: 'DELETE', path: '/keys/k' }],
  'GET /api/v1/sign-ins': [{ method: 'GET', path: `/sign-ins?principal=${OTHER}` }],
  'POST /api/v1/sign-ins/end': [{ method: 'POST', path: '/sign-ins/end', body: { principal: OTHER } }],
  'GET /api/v1/vault': [{ method: 'GET', path: '/vault' }],
  'GET /api/v1/vault/status': [{ method: 'GET', path: '/vault/status' }],
  'POST /api/v1/vault/set': [{ method: 'POST', path: '/vault/set', body: { name: 'x', value: 'v' } }],
  'POST /api/v1/vault/remove': [{ method: 'POST', path: '/vault/remove', body: { name: 'x' } }],
  'POST /api/v1/vault/revoke': [{ method: 'POST', path: '/vault/revoke', body: { name: 'x', reason: 'r' } }],
  'POST /api/v1/vault/rotate': [{ method: 'POST', path: '/vault/rotate' }],
  'POST /api/v1/vault/rewrap': [{ method: 'POST', path: '/vault/rewrap' }],
  'POST /api/v1/vault/reencrypt': [{ method: 'POST', path: '/vault/reencrypt' }],
  'POST /api/v1/vault/retire': [{ method: 'POST', path: '/vault/retire', body: { version: 1 } }],
  'POST /api/v1/vault/destroy': [{ method: 'POST', path: '/vault/destroy', body: { version: 1, confirm: 'k' } }],
  'GET /api/v1/trust': [{ method: 'GET', path: '/trust' }],
  'GET /api/v1/trust/diff': [{ method: 'GET', path: '/trust/diff?server=s' }],
  'POST /api/v1/trust/approve': [
    {
      method: 'POST',
      path: '/trust/approve',
      body: { definitions: [{ server: 's', kind: 'tool', name: 't', digest: '0'.repeat(64) }] },
    },
  ],
  'GET /api-keys/providers': [{ method: 'GET', path: '/api-keys/providers', whose: 'own' }],
  'POST /api-keys': [
    { method: 'POST', path: '/api-keys', body: { ...KEY, provider: 'openai', user_id: 'corp/me' }, whose: 'own' },
    { method: 'POST', path: '/api-keys', body: { ...KEY, provider: 'openai', user_id: OTHER } },
  ],
  'GET /api-keys': [
    { method: 'GET', path: '/api-keys', whose: 'own' },
    { method: 'GET', path: `/api-keys?user_id=${OTHER}` },
  ],
  'GET /api-keys/:provider': [
    { method: 'GET', path: '/api-keys/openai', whose: 'own' },
    { method: 'GET', path: `/api-keys/openai?user_id=${OTHER}` },
  ],
  'PUT /api-keys/:provider': [
    { method: 'PUT', path: '/api-keys/openai', body: { ...KEY, user_id: 'me' }, whose: 'own' },
    { method: 'PUT', path: '/api-keys/openai', body: { ...KEY, user_id: OTHER } },
  ],
  'DELETE /api-keys/:provider': [
    { method: 'DELETE', path: '/api-keys/openai', whose: 'own' },
    { method: 'DELETE', path: `/api-keys/openai?user_id=${OTHER}` },
  ],
  'GET /mcp/accounts': [
    { method: 'GET', path: '/mcp/accounts', whose: 'own' },
    { method: 'GET', path: `/mcp/accounts?user_id=${OTHER}` },
  ],
  'DELETE /mcp/accounts/:server': [
    { method: 'DELETE', path: '/mcp/accounts/notes', whose: 'own' },
    { method: 'DELETE', path: `/mcp/accounts/notes?user_id=${OTHER}` },
  ],
  'GET /mcp/activity': [
    { method: 'GET', path: '/mcp/activity', whose: 'own' },
    { method: 'GET', path: `/mcp/activity?user_id=${OTHER}` },
  ],
  'GET /mcp/tools/available': [{ method: 'GET', path: '/mcp/tools/available', whose: 'own' }],
  'GET /mcp/tools/:name/schema': [{ method: 'GET', path: '/mcp/tools/none/schema', whose: 'own', done: 404 }],
  'POST /mcp/tools/invoke': [
    {
      method: 'POST',
      path: '/mcp/tools/invoke',
      body: { tool_name: 'none', parameters: {}, user_id: 'me' },
      whose: 'own',
      done: 404,
    },
    { method: 'POST', path: '/mcp/tools/invoke', body: { tool_name: 'none', parameters: {}, user_id: OTHER } },
  ],
  'POST /v1/ops': [{ method: 'POST', path: '/ops', body: { operation: 'get_status' }, whose: 'own' }],
  'GET /v1/ops': [{ method: 'GET', path: '/ops', whose: 'own' }],
  'POST /v1/check': [
    { method: 'POST', path: '/check', body: { endpoint: 'tools/call' }, whose: 'own' },
    { method: 'POST', path: '/check', body: { endpoint: 'tools/call', client_id: OTHER, mode: 'consume' } },
    { method: 'POST', path: '/check', body: { endpoint: 'tools/call', client_id: OTHER }, right: 'clients.read' },
  ],
  'POST /v1/holds': [
    { method: 'POST', path: '/holds', body: { endpoint: 'tools/call', client_id: 'corp/me' }, whose: 'own' },
    { method: 'POST', path: '/holds', body: { endpoint: 'tools/call', client_id: OTHER } },
  ],
  'GET /v1/holds/:id': [{ method: 'GET', path: '/holds/THEIRS', refused: 404 }],
  'POST /v1/holds/:id/settle': [{ method: 'POST', path: '/holds/THEIRS/settle', refused: 404 }],
  'POST /v1/holds/:id/release': [{ method: 'POST', path: '/holds/THEIRS/release', refused: 404 }],
};

/** For each operation: about whom it is asked, and which right over others decides then; undefined: about nobody. */
const OPERATIONS: Readonly<Record<string, { readonly input: object; readonly others?: RightName }>> = {
  check_mcp_limit: { input: { endpoint: 'tools/call' }, others: 'clients.charge' },
  set_client_tier: { input: { tier: 'premium' }, others: 'clients.tier' },
  get_mcp_statistics: { input: {}, others: 'clients.read' },
  scan: { input: { content: 'x' }, others: 'clients.read' },
  security_scan: { input: { content: 'x' }, others: 'clients.read' },
  get_status: { input: {} },
  validate_endpoint: { input: { endpoint: 'tools/call' }, others: 'clients.read' },
  reset_limits: { input: {}, others: 'clients.charge' },
  emergency_stop: { input: { action: 'status' } },
};

const inventory = ways();

/** A user with a key of one provider, and no tools. */
function userPort(me: Principal): UserPort {
  const info = { id: { name: 'openai' }, state: 'active', createdAt: 0, updatedAt: 0, fingerprint: 'f', labels: {} };
  const unknown = () => Promise.reject(new TollgateError('unknown_name', 'Unknown tool: none'));
  return {
    identify: () => me,
    guard: () => undefined,
    calls: { tools: async () => [], tool: unknown, call: unknown } as never,
    secrets: {
      exclusive: (_id: unknown, run: () => unknown) => run(),
      put: async () => info,
      list: async () => [info],
      info: async () => info,
      revoke: async () => true,
      remove: async () => true,
    } as never,
    activity: async () => ({}) as never,
    maxBody: () => 1000,
    now: () => 0,
  };
}

async function send(roles: readonly string[], { method, path, body }: Cell, below: string): Promise<number> {
  const port = new FakePort('corp/me', OTHER);
  const operations = new Operations(port);
  const identify = () => as(roles);
  let at = path;
  if (path.includes('THEIRS')) {
    const made = await port.reserve({
      client: (await port.resolve(OTHER, false)) as never,
      endpoint: 'tools/call',
      name: undefined,
      cost: 0,
      tier: undefined,
      ttl: 60_000,
    });
    at = path.replace('THEIRS', made.allowed === true ? made.hold.id : '');
  }
  const decisions = {
    get: async (id: string) => record(id, id === 'mine' ? 'corp/me' : OTHER),
    list: async () => ({ items: [], next: undefined }),
  };
  const { app } =
    below === ''
      ? userApp(userPort(as(roles)), silentLog, new WeakMap())
      : below === '/v1'
        ? v1App({ operations, identify, log: silentLog })
        : controlApp({
            log: silentLog,
            identify,
            port: {
              status: () => ({}) as StatusReport,
              watchCalls: () => () => undefined,
              reload: async () => ({ changes: [], warnings: [] }),
              decisions,
              administration,
              keys: {
                create: async () => ({ key: 'k', info: {} as never }),
                replace: async () => ({ key: 'k', info: {} as never }),
                revoke: async () => true,
                list: async () => ({ items: [], next: undefined }),
                now: () => 0,
              },
              signIns: { list: async () => [], end: async () => 0 },
              vault: {
                set: async () => ({}) as never,
                list: async () => [],
                remove: async () => true,
                revoke: async () => true,
                status: async () => ({ keys: [], secrets: 0 }),
                rotate: async () => ({ version: 1, key: 'k' }),
                rewrap: async () => ({ rewrapped: 0, left: 0, failed: 0 }),
                retire: async () => undefined,
                destroy: async () => undefined,
                reencrypt: async () => 0,
              },
              trust: { list: () => [], differences: async () => [], approve: async () => undefined },
            },
          });
  const text = JSON.stringify(body);
  const headers = { 'content-type': 'application/json' };
  const incoming = Object.assign(Readable.from([Buffer.from(text ?? '')]), { headers });
  const response = await app.request(
    `http://gw${below}${at}`,
    { method, ...(body === undefined ? {} : { body: text, headers }) },
    { incoming, outgoing: { once: () => undefined } },
  );
  await response.body?.cancel();
  return response.status;
}

describe('the matrix of rights', () => {
  it('has a cell for every way in, and no right that nobody needs', () => {
    verifies('R2-15');
    const routes = inventory.filter(({ transport }) => transport !== 'metrics' && transport !== 'operations');
    expect(Object.keys(CELLS).toSorted()).toEqual(routes.map(({ name }) => name).toSorted());
    expect(Object.keys(OPERATIONS).toSorted()).toEqual(
      standardOperations()
        .map(({ name }) => name)
        .toSorted(),
    );
    const used = new Set<string>([
      ...inventory.map(({ right }) => right),
      ...Object.values(CELLS).flatMap((cells) => cells.flatMap(({ right }) => right ?? [])),
      ...Object.values(OPERATIONS).flatMap(({ others }) => others ?? []),
      // Asked inside operations; their own tests show what they keep back.
      ...['checks.tier', 'clients.all', 'insight.read'],
    ]);
    expect(Object.keys(RIGHTS).filter((right) => !used.has(right))).toEqual([]);
  });

  it('gives over one’s own never less than over others’, and to auditors nothing that changes anything', () => {
    for (const [name, { own, others, action }] of Object.entries(RIGHTS)) {
      expect(own, name).toEqual(expect.arrayContaining([...others]));
      const changes = !/^(?:read|see|list|ask|watch)/.test(action);
      if (changes) expect((others as readonly string[]).includes('auditor'), name).toBe(false);
    }
  });

  const requests = Object.entries(CELLS).flatMap(([name, cells]) => cells.map((cell) => ({ name, cell })));

  it.each(requests)('$name ($cell.path) opens for those who have the right, and for nobody else', async ({
    name,
    cell,
  }) => {
    const route = inventory.find((way) => way.name === name)!;
    for (const roles of CASTS) {
      const below = name.includes('/api/v1') ? '/api/v1' : name.includes(' /v1') ? '/v1' : '';
      const status = await send(roles, cell, below);
      const whole = mayDo(roles, route.right, 'own');
      const may = whole && mayDo(roles, cell.right ?? route.right, cell.whose ?? 'others');
      const label = `${roles.join('+') || 'no role'}: ${status}`;
      if (may && cell.done === undefined) expect(status, label).toBeLessThan(300);
      else if (may) expect(status, label).toBe(cell.done);
      else expect(status, label).toBe(whole ? (cell.refused ?? 403) : 403);
    }
  });

  it.each(Object.entries(OPERATIONS))('operation %s, over /v1 and from the library', async (name, {
    input,
    others,
  }) => {
    for (const roles of CASTS) {
      for (const client_id of [undefined, 'corp/me', OTHER]) {
        if (client_id === undefined && (name === 'set_client_tier' || name === 'reset_limits')) continue;
        const asked = { operation: name, ...input, ...(client_id === undefined ? {} : { client_id }) };
        const operations = new Operations(new FakePort('corp/me', OTHER));
        const me = as(roles);
        const answer = await operations.run(asked, { principal: me, id: me.id, roles });
        const may =
          roles.some((role) => (rolesOf(`op.${name}` as RightName) as readonly string[]).includes(role)) &&
          (others === undefined || client_id !== OTHER || mayDo(roles, others, 'others'));
        expect([answer.status, answer.reason], `${roles.join('+')} ${client_id}`).toEqual(
          may ? ['success', answer.reason] : ['error', expect.stringMatching(/^(access_denied|user_mismatch)$/)],
        );
        const { app } = v1App({ operations, identify: () => me, log: silentLog });
        const response = await app.request('http://gw/v1/ops', {
          method: 'POST',
          body: JSON.stringify(asked),
          headers: { 'content-type': 'application/json' },
        });
        expect(response.status < 300, `${roles.join('+')} ${client_id}`).toBe(may);
      }
    }
  });

  it('holds for metrics', async () => {
    for (const roles of CASTS) {
      const server = createServer(
        createMetricsPage({ identify: () => as(roles), page: () => ({ text: 'm', type: 'text/plain' }) }),
      );
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      const response = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/metrics`);
      await response.arrayBuffer();
      server.closeAllConnections();
      server.close();
      expect(response.status, roles.join('+')).toBe(mayDo(roles, 'metrics.read', 'others') ? 200 : 403);
    }
  });
});

describe('a route that names no right', () => {
  it.each(['get', 'all'] as const)('stops the start (nginx-ui CVE-2026-33032): %s', (method) => {
    const app = new Hono();
    const routes = new GuardedRoutes(app, () => as([]));
    app.use(async (_c, next) => next());
    routes.get('/open', 'status.read', (c) => c.text('x'));
    expect(() => routes.seal()).not.toThrow();
    app[method]('/forgotten', (c) => c.text('x'));
    expect(() => routes.seal()).toThrow('/forgotten names no right');
  });
});
