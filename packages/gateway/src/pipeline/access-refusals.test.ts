/** What access refuses leaves a record: whole for operators, for its caller no more than it was told. */
import { describe, expect, it } from 'vitest';
import { createControlApi } from '../api/control.ts';
import { decisionText } from '../cli/decision-text.ts';
import { compile } from '../config/compile.ts';
import { loadConfigObject } from '../config/load.ts';
import { systemClock } from '../core/clock.ts';
import { silentLog } from '../core/log.ts';
import { type DecisionDocument, readRecord } from '../telemetry/decisions/record.ts';
import type { Gateway } from './gateway.ts';
import { administrationOf } from './ports.ts';
import { simulate } from './simulation.ts';
import { GatewayState } from './state.ts';
import { statusReport } from './status-report.ts';
import { type Answer, startGateway, startScripted, tool } from './testing.ts';
import { userActivity } from './user-activity.ts';

const token = (name: string): string => `token-of-${name}-0123456789`;
const bearer = (name: string, roles: string[] = ['user']) => ({
  name,
  bearer: { token: token(name), subject: name, scopes: ['read'], roles },
});
const LIMITS = { all: { by: 'principal', limit: '1000/min' } };
const AT = Date.UTC(2026, 10, 21);
const SECRET = 'hunter2-in-an-argument';

async function start() {
  const hints = { ttlMs: 60_000, cacheScope: 'private' };
  const names = ['read', 'drop', 'admin', 'left-out'];
  const server = await startScripted({ 'tools/list': () => ({ tools: names.map((name) => tool(name)), ...hints }) });
  const state = await GatewayState.transient({ clock: systemClock, log: silentLog });
  let running: Gateway | undefined;
  let calls = 0;
  const ports = { clock: systemClock, state, gateway: () => running! };
  const control = createControlApi({
    log: silentLog,
    identify: (authorization) => running!.identify(authorization, '', undefined),
    port: {
      status: () => statusReport(running!, { configuration: 'x', reloadProblem: undefined }),
      watchCalls: () => () => undefined,
      reload: () => Promise.resolve({ changes: [], warnings: [] }),
      administration: administrationOf(ports),
      decisions: state.decisions,
    },
  });
  const gateway = await startGateway(
    {
      servers: { s: { url: server.url } },
      endpoints: { '/mcp': { servers: '*', tools: { deny: ['s/left-out'] } } },
      routes: [{ tool: 'admin', to: 's', scope: 'admin' }, { tool: 'secret_*', to: 's', scope: 'admin' }, { to: 's' }],
      auth: [bearer('ada'), bearer('eve'), bearer('op', ['operator'])],
      access: [
        { who: 'everyone', may: 's/admin' },
        { who: 'everyone', may: 's/read', when: 'args.a < 3' },
      ],
      limits: LIMITS,
    },
    {
      state,
      // A millisecond for each call, so that records have an order and no allowance comes back meanwhile.
      clock: { wall: () => AT + calls, monotonic: () => systemClock.monotonic() },
      mount: (request, response) => {
        control(request, response);
        return true;
      },
    },
  );
  running = gateway.gateway;
  const call = (who: string, name: string, args = {}): Promise<Answer> => {
    calls++;
    return gateway.call('tools/call', { name, arguments: args }, { token: token(who) });
  };
  const get = async (who: string, path: string) => {
    const response = await fetch(`${gateway.url}/api/v1${path}`, {
      headers: { authorization: `Bearer ${token(who)}` },
    });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };
  const listed = async (who: string, query = '') =>
    (await get(who, `/decisions${query}`)).body['decisions'] as DecisionDocument[];
  return {
    state,
    ports,
    call,
    get,
    listed,
    [Symbol.asyncDispose]: async () => {
      await gateway[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
      await state.close();
    },
  };
}

const idOf = ({ body }: Answer): string => (body.error?.data as { decisionId: string }).decisionId;

describe('what access refuses', () => {
  it('costs no more work than its caller was charged: no large arguments, none of what is hidden', async () => {
    await using gateway = await start();
    const { call, listed } = gateway;
    for (const size of [10_000, 20_000]) await call('ada', 'admin', { note: 'x'.repeat(size) });
    await call('ada', 'drop', { note: SECRET });
    const kept = (await listed('op')).map(({ reason, arguments: args }) => [reason, args?.size]);
    expect(kept).toEqual([
      ['hidden', undefined],
      ['insufficient_scope', undefined],
      ['insufficient_scope', 10_011],
    ]);
  });

  it('has a record under the id that is shown: whole for the operator, for the caller what it was told', async () => {
    await using gateway = await start();
    const { call, get } = gateway;
    const scope = idOf(await call('ada', 'admin', { note: SECRET }));
    const condition = idOf(await call('ada', 'read', { a: 5, note: SECRET }));
    await administrationOf(gateway.ports).block({ who: 'eve/eve', reason: 'the incident of May', by: 'ops/ops' });
    const block = idOf(await call('eve', 'read', { a: 1 }));

    const whole = async (id: string) => (await get('op', `/decisions/${id}`)).body;
    expect(await whole(scope)).toMatchObject({
      id: scope,
      verdict: 'refused',
      reason: 'insufficient_scope',
      object: 's/admin',
      endpoint: '/mcp',
      caller: { id: 'ada/ada', tier: 'default', roles: ['user'], scopes: ['read'] },
      rules: [],
      access: { by: 'scope', scopes: ['admin'], route: 1 },
      arguments: { shape: { type: 'object', keys: { note: { type: 'string' } } } },
    });
    expect(await whole(condition)).toMatchObject({
      reason: 'access_denied',
      object: 's/read',
      access: { by: 'condition', rules: [{ rule: 2, when: 'args.a < 3' }] },
    });
    expect(await whole(block)).toMatchObject({
      reason: 'blocked',
      caller: { id: 'eve/eve' },
      access: { by: 'block', block: { who: 'eve/eve', reason: 'the incident of May' } },
    });

    const told = async (id: string) => (await get('ada', `/decisions/${id}`)).body;
    expect((await told(scope))['access']).toEqual({ by: 'scope', scopes: ['admin'] });
    expect((await told(condition))['access']).toEqual({ by: 'condition' });
    expect((await told(condition))['object']).toBe('s/read');
    expect((await get('ada', `/decisions/${block}`)).status).toBe(404);

    const records = await gateway.listed('op', '?by=access');
    expect(records.map(({ reason }) => reason)).toEqual(['blocked', 'access_denied', 'insufficient_scope']);
    expect(await gateway.listed('op', '?by=limits')).toEqual([]);
    expect(JSON.stringify(records)).not.toContain(SECRET);
    const texts = records.map((record) => decisionText(record)).join('\n');
    expect(texts).toContain('needs the scope admin; route 1 decides');
    expect(texts).toContain('no condition held: rule 2, args.a < 3');
    expect(texts).toContain('after tollgate unblock eve/eve');
    expect((await get('op', '/decisions?by=others')).status).toBe(400);
  });

  it('tells a caller of a name that is hidden from it no more than of one that does not exist', async () => {
    await using gateway = await start();
    const { call, listed, get } = gateway;
    const first = idOf(await call('ada', 'read', { a: 5 }));
    for (const name of ['drop', 'left-out', 'nothing-of-that-name']) {
      expect((await call('ada', name)).body.error).toEqual({ code: -32602, message: `Unknown tool: ${name}` });
    }
    const scoped = [idOf(await call('ada', 'admin')), idOf(await call('ada', 'secret_plan'))];

    const hidden = (await listed('op', '?by=access')).filter(({ reason }) => reason === 'hidden');
    expect(hidden.map(({ object, access }) => [object, access?.by])).toEqual([
      ['s/left-out', 'endpoint'],
      ['s/drop', 'rules'],
    ]);
    for (const { id } of hidden) expect((await get('ada', `/decisions/${id}`)).status).toBe(404);
    // Also not by a part that comes up short, by ids that are counted up, or by what is told of a call without scope.
    const part = (await get('ada', '/decisions?limit=3')).body;
    expect([(part['decisions'] as unknown[]).length, part['next']]).toEqual([3, undefined]);
    const count = (id: string) => Number.parseInt(id.slice(9), 32);
    expect(scoped.map((id) => count(id) - count(first))).toEqual([1, 2]);
    const alike = await Promise.all(scoped.map(async (id) => (await get('ada', `/decisions/${id}`)).body));
    for (const record of alike) for (const member of ['id', 'at', 'arguments']) delete record[member];
    expect(alike[0]).toEqual(alike[1]);
    const range = { principal: 'ada/ada', from: 0, to: Number.MAX_SAFE_INTEGER };
    const { recent, calls } = await userActivity(gateway.state.decisions, undefined, range);
    expect(calls.refused).toBe(3);
    expect(recent.map(({ tool: name }) => name).sort()).toEqual(['', '', 's/read']);
  });

  it('takes only so many records of one caller, and none from others', async () => {
    await using gateway = await start();
    const { call, listed, state } = gateway;
    for (let i = 0; i < 70; i++) await call('ada', 'admin');
    expect(await listed('op', '?by=access&limit=1000')).toHaveLength(60);
    expect(state.decisions.view.unrecorded).toBe(10);
    expect(state.metrics.text()).toContain('tollgate_refusals_unrecorded_total 10\n');
    const id = idOf(await call('eve', 'admin'));
    expect((await gateway.get('op', `/decisions/${id}`)).status).toBe(200);
  });

  it('is no verdict of limits for simulate: left as it was, and counted', async () => {
    await using gateway = await start();
    await gateway.call('ada', 'read', { a: 1 });
    await gateway.call('ada', 'read', { a: 2 });
    await gateway.call('ada', 'read', { a: 5 });
    await gateway.call('ada', 'drop');
    const { items } = await gateway.state.decisions.list({});
    const records = items.map(({ json }) => readRecord(json) as DecisionDocument);
    const compiled = (limits: object) =>
      compile(
        loadConfigObject({ dataDir: '/nonexistent', servers: { s: { url: 'http://127.0.0.1:1/mcp' } }, limits }).config,
      );
    const tighter = compiled({ all: { by: 'principal', limit: '1/min' } }).admission;
    for (const current of [compiled(LIMITS).admission, undefined]) {
      expect(await simulate(records, tighter, current)).toMatchObject({
        records: 2,
        decided: 2,
        undecidable: 0,
        refusedByAccess: 2,
        admittedBefore: 2,
        nowRefused: 1,
        nowAdmitted: 0,
      });
    }
  });
});
