import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { TollgateError } from '../core/errors.ts';
import { silentLog } from '../core/log.ts';
import { lanesOf, type Principal } from '../core/principal.ts';
import type { StatusReport } from '../pipeline/status-report.ts';
import { MemoryDecisions, type StoredDecision } from '../telemetry/decisions/store.ts';
import { type ControlPort, createControlApi } from './control.ts';

/** Each test has one of its own. */
let store: MemoryDecisions;

function decision(id: string, at: number, principal: string, verdict: StoredDecision['verdict']): StoredDecision {
  return { id, at, verdict, principal, tool: '', method: 'ping', reason: '', json: JSON.stringify({ v: 1, id }) };
}

function principalWith(id: string, role: string): Principal {
  return {
    id,
    person: id,
    key: 1,
    lanes: lanesOf(id),
    entry: 'keys',
    subject: id,
    tenant: undefined,
    tier: undefined,
    roles: [role],
    scopes: undefined,
    clientId: undefined,
  };
}

/** `keys/ada:user` is the principal keys/ada with the role user. */
function identify(authorization: string | undefined): Principal | TollgateError {
  const [id, role] = (authorization ?? '').split(':');
  return role === undefined ? new TollgateError('unauthorized', 'no') : principalWith(id!, role);
}

const server = createServer(
  createControlApi({
    log: silentLog,
    identify,
    port: {
      status: () => ({}) as StatusReport,
      watchCalls: () => () => undefined,
      reload: () => Promise.resolve({ changes: [], warnings: [] }),
      administration: {} as ControlPort['administration'],
      decisions: { get: (id) => store.get(id), list: (query) => store.list(query) },
    },
  }),
);

beforeEach(async () => {
  store = new MemoryDecisions();
  await store.put([
    decision('tg-1', 1000, 'keys/ada', 'refused'),
    decision('tg-2', 2000, 'keys/bob', 'admitted'),
    decision('tg-3', 3000, 'keys/ada', 'admitted'),
  ]);
});
beforeAll(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
});

afterAll(async () => {
  server.closeAllConnections();
  server.close();
  await once(server, 'close');
});

async function get(path: string, who = 'ops:operator') {
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/api/v1${path}`;
  const response = await fetch(url, { headers: { authorization: who } });
  const text = await response.text();
  return { status: response.status, headers: response.headers, text, body: safely(text) };
}

function safely(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const ids = (body: unknown) => (body as { decisions: { id: string }[] }).decisions.map(({ id }) => id);

describe('decisions over the control API', () => {
  it.each(['operator', 'auditor', 'admin'])('%s sees all', async (role) => {
    expect(ids((await get('/decisions', `x:${role}`)).body)).toEqual(['tg-3', 'tg-2', 'tg-1']);
    expect((await get('/decisions/tg-2', `x:${role}`)).body).toEqual({ v: 1, id: 'tg-2' });
  });

  it('a user sees its own, and others look like none, whoever it asks for', async () => {
    const who = 'keys/ada:user';
    expect(ids((await get('/decisions', who)).body)).toEqual(['tg-3', 'tg-1']);
    expect(ids((await get('/decisions?principal=keys/bob', who)).body)).toEqual(['tg-3', 'tg-1']);
    const [others, none] = [await get('/decisions/tg-2', who), await get('/decisions/tg-9', who)];
    expect(others.status).toBe(404);
    expect(others.text).toBe(none.text);
  });

  it('nobody else sees anything', async () => {
    expect((await get('/decisions', 'nobody')).status).toBe(401);
    expect((await get('/decisions/tg-1', 'x:engineer')).status).toBe(403);
  });

  it('filters and goes on where a part ended', async () => {
    expect(ids((await get('/decisions?verdict=refused')).body)).toEqual(['tg-1']);
    expect(ids((await get('/decisions?principal=keys/bob')).body)).toEqual(['tg-2']);
    expect(ids((await get('/decisions?from=2000&to=1970-01-01T00:00:03Z')).body)).toEqual(['tg-2']);
    const first = (await get('/decisions?limit=2')).body as { next: string };
    expect(ids((await get(`/decisions?limit=2&after=${first.next}`)).body)).toEqual(['tg-1']);
  });

  it('gives JSON Lines, the form that simulate reads', async () => {
    const { text, headers } = await get('/decisions?format=jsonl&limit=2');
    expect(text).toBe('{"v":1,"id":"tg-3"}\n{"v":1,"id":"tg-2"}\n');
    expect(headers.get('x-next')).toBeTruthy();
  });

  it.each([
    'limit=0',
    'limit=1001',
    'limit=x',
    'from=yesterday',
    'to=2026-01-01',
    'verdict=maybe',
  ])('refuses %s with a sentence', async (query) => {
    const { status, body } = await get(`/decisions?${query}`);
    expect(status).toBe(400);
    expect(body).toMatchObject({ error: { code: 'invalid_params', message: expect.stringMatching(/ is a? ?/) } });
  });

  it('a user sees of its own what its limits disclose, an auditor all of it', async () => {
    const counters = {
      unit: 'USD',
      cost: 7,
      capacity: 90_001,
      usedBefore: 80_002,
      usedAfter: 80_002,
      held: 3,
      remaining: 4,
    };
    const full = {
      v: 1,
      id: 'tg-4',
      at: '2026-01-01T00:00:00.000Z',
      verdict: 'refused',
      reason: 'daily_cost_exceeded',
      method: 'tools/call',
      endpoint: '/mcp',
      caller: { id: 'keys/eve', tier: 'default' },
      rules: [
        { name: 'mine', key: 'k1', ...counters },
        { name: 'all', key: 'k2', ...counters, hidden: 'numbers', violated: true, reason: 'r', retryAfterSeconds: 9 },
        { name: 'covert', key: 'k3', ...counters, hidden: 'limit' },
        { name: 'trial', key: 'k4', unit: 'USD', cost: 7, shadow: true },
      ],
      shadowed: ['trial'],
      configuration: 'digest',
      expressions: { 'args.secret > 5': true },
    };
    await store.put([{ ...decision('tg-4', 500, 'keys/eve', 'refused'), json: JSON.stringify(full) }]);
    expect((await get('/decisions/tg-4', 'x:auditor')).body).toEqual(full);
    const { shadowed: _, configuration: __, expressions: ___, ...told } = full;
    const rules = [
      full.rules[0],
      { name: 'all', unit: 'USD', cost: 7, hidden: 'numbers', violated: true, reason: 'r', retryAfterSeconds: 9 },
    ];
    expect((await get('/decisions/tg-4', 'keys/eve:user')).body).toEqual({ ...told, rules });
    expect((await get('/decisions', 'keys/eve:user')).body).toMatchObject({ decisions: [{ ...told, rules }] });
    expect((await get('/decisions?format=jsonl', 'keys/eve:user')).text).not.toMatch(/covert|trial|k2|secret/);
  });
});
