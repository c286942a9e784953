/** What operators can see of callers that were turned away: numbers by reason, and nothing of who or what was sent. */
import { describe, expect, it } from 'vitest';
import { renderStatus } from '../cli/report.ts';
import { refusedLine } from '../cli/tail.ts';
import { systemClock } from '../core/clock.ts';
import { silentLog } from '../core/log.ts';
import type { RefusedCaller } from '../telemetry/refused-callers.ts';
import { administrationOf, userPortOf } from './ports.ts';
import { GatewayState } from './state.ts';
import { statusReport } from './status-report.ts';
import { startGateway, startScripted, tool } from './testing.ts';

const token = (name: string): string => `token-of-${name}-0123456789`;
const bearer = (name: string) => ({ name, bearer: { token: token(name), subject: name, scopes: ['read'] } });

describe('callers that are refused', () => {
  it('are counted by reason in status and metrics, and shown with their call where there is one', async () => {
    const hints = { ttlMs: 60_000, cacheScope: 'private' };
    await using server = await startScripted({
      'tools/list': () => ({ tools: [tool('read'), tool('drop'), tool('admin')], ...hints }),
    });
    const state = await GatewayState.transient({ clock: systemClock, log: silentLog });
    await using gateway = await startGateway(
      {
        servers: { s: { url: server.url } },
        routes: [{ tool: 'admin', to: 's', scope: 'admin' }, { to: 's' }],
        auth: [bearer('ada'), bearer('eve')],
        access: [
          { who: 'everyone', may: 's/read', when: 'args.a < 3' },
          { who: 'everyone', may: 's/admin' },
        ],
      },
      { state },
    );
    const call = async (who: string | undefined, name: string, args = {}) => {
      const options = who === undefined ? {} : { token: token(who) };
      return (await gateway.call('tools/call', { name, arguments: args }, options)).status;
    };
    expect(await call('ada', 'read', { a: 1 })).toBe(200);
    const counts = () => gateway.gateway.calls.callers.counts;
    expect(new Set(Object.values(counts()))).toEqual(new Set([0]));
    expect(state.metrics.text()).toContain('tollgate_refused_callers_total{reason="blocked"} 0\n');

    const told: RefusedCaller[] = [];
    const stop = gateway.gateway.calls.callers.watch((caller) => told.push(caller));
    expect(await call(undefined, 'read')).toBe(401);
    for (let i = 0; i < 3; i++) expect(await call(`stranger-${i}`, 'read')).toBe(401);
    expect(await call('ada', 'admin')).toBe(403);
    expect(await call('ada', 'read', { a: 5 })).toBe(200);
    expect(await call('ada', 'read', { a: 6 })).toBe(200);
    await call('ada', 'drop');
    await call('ada', 'nothing-of-that-name');
    // Over REST the same, each once.
    const ports = { clock: systemClock, state, gateway: () => gateway.gateway };
    await expect(userPortOf(ports).calls.tool('admin', await who(gateway.gateway, 'ada'))).rejects.toThrow();
    await administrationOf(ports).block({ who: 'eve/eve', reason: 'incident', by: 'ops/ops' });
    expect(await call('eve', 'read', { a: 1 })).toBe(403);

    stop();
    expect(told.map(({ reason, endpoint, address, principal }) => [reason, endpoint, address, principal])).toEqual([
      ['no_credential', '/mcp', '127.0.0.1', undefined],
      ...Array.from({ length: 3 }, () => ['not_accepted', '/mcp', '127.0.0.1', undefined]),
      ['blocked', '/mcp', '127.0.0.1', 'eve/eve'],
    ]);
    for (const hint of [token('stranger-0'), token('eve'), 'token-of'])
      expect(JSON.stringify(told)).not.toContain(hint);
    expect(refusedLine(told.at(-1)!)).toContain(`eve/eve  -  -  refused  blocked  at /mcp from 127.0.0.1  tg-`);
    const expected = {
      no_credential: 1,
      not_accepted: 3,
      unchecked: 0,
      blocked: 1,
      insufficient_scope: 2,
      access_rule: 2,
      hidden: 1,
    };
    expect(counts()).toEqual(expected);
    const metrics = state.metrics.text();
    const series = metrics.split('\n').filter((line) => line.startsWith('tollgate_refused_callers_total'));
    expect(series).toEqual(
      Object.entries(expected).map(([reason, count]) => `tollgate_refused_callers_total{reason="${reason}"} ${count}`),
    );
    for (const hint of ['ada', 'eve', 'stranger']) expect(metrics).not.toContain(hint);
    const status = renderStatus(statusReport(gateway.gateway, { configuration: 'x', reloadProblem: undefined }));
    expect(status).toContain(
      'Callers refused: 1 without a credential, 3 with one that no entry accepts, 1 blocked, 2 without a scope, 2 by a rule on arguments, 1 for names that rules hide.',
    );
    // What `tail --refused` shows.
    const shown = gateway.gateway.calls.recent().filter(({ outcome }) => outcome === 'refused');
    expect(shown.map(({ principal, reason }) => [principal, reason])).toEqual([
      ['ada/ada', 'insufficient_scope'],
      ['ada/ada', 'access_denied'],
      ['ada/ada', 'access_denied'],
    ]);
    await state.close();
  });
});

async function who(
  gateway: { identify(authorization: string, endpoint: string, address: undefined): unknown },
  name: string,
) {
  return (await gateway.identify(`Bearer ${token(name)}`, '/mcp', undefined)) as never;
}
