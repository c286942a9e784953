import { randomBytes } from 'node:crypto';
import { expect, it } from 'vitest';
import { systemClock } from '../core/clock.ts';
import { silentLog } from '../core/log.ts';
import { doubtOfPrincipal } from './name-doubts.ts';
import { administrationOf } from './ports.ts';
import { GatewayState } from './state.ts';
import { startGateway, startScripted, tool } from './testing.ts';
import { VaultAdministration } from './vault-administration.ts';

it('takes names that may come later and says so, and refuses what can only be a mistake', async () => {
  await using server = await startScripted({
    'tools/list': () => ({ tools: [tool('read')], ttlMs: 60_000, cacheScope: 'private' }),
  });
  const state = await GatewayState.transient({ clock: systemClock, log: silentLog });
  await using gateway = await startGateway(
    {
      servers: { files: { url: server.url } },
      auth: [
        { name: 'svc', bearer: { token: 'token-of-svc-0123456789' } },
        { name: 'dev', jwt: { issuer: 'dev', secret: randomBytes(32).toString('hex') } },
        { anonymous: true },
      ],
      limits: { calls: { by: 'principal', limit: '30/min' } },
    },
    { state },
  );
  await gateway.call('tools/list', {}, { token: 'token-of-svc-0123456789' });
  const desk = administrationOf({ clock: systemClock, state, gateway: () => gateway.gateway });
  const warningOf = async (answer: Promise<object>) => ((await answer) as { readonly warning?: string }).warning;
  const common = { reason: 'r', by: 'ops/ops' };

  for (const known of ['svc/svc', 'dev/whoever', 'anonymous', 'local/ada']) {
    expect(await warningOf(desk.budgets(known, undefined)), known).toBeUndefined();
  }
  expect(await warningOf(desk.budgets('svc', undefined))).toContain('did you mean svc/svc?');
  expect(await warningOf(desk.budgets('svc/eve', undefined))).toContain('The only caller of svc is svc/svc');
  expect(await warningOf(desk.budgets('crop/ada', undefined))).toContain('svc/…, dev/…, anonymous');
  expect(await warningOf(desk.budgets('svc/svc', 'files/raed'))).toContain('files/read');

  const grant = { rule: 'calls', amount: 5, unit: 'requests', until: systemClock.wall() + 60_000, ...common };
  expect(await warningOf(desk.grant({ ...grant, principal: 'svc/svc' }))).toBeUndefined();
  expect(await warningOf(desk.grant({ ...grant, principal: 'svc/eve' }))).toContain('svc/svc');
  expect(await warningOf(desk.grant(grant))).toBeUndefined();
  await expect(desk.grant({ ...grant, unit: 'USD' })).rejects.toThrow('calls: write a plain number');

  expect(await warningOf(desk.stop({ scope: 'tool:files/raed', ...common }))).toContain('No tool that is listed now');
  expect(await warningOf(desk.stop({ scope: 'tool:files/*', ...common }))).toBeUndefined();
  expect(await warningOf(desk.stop({ scope: 'server:flies', ...common }))).toContain('there are files');
  expect(await warningOf(desk.stop({ scope: 'server:files', ...common }))).toBeUndefined();
  expect(desk.stops()).toHaveLength(4);

  const vault = new VaultAdministration(state.vault, (id) =>
    doubtOfPrincipal(id, gateway.gateway.generation.config.identity, state.books.tiers, state.keys),
  );
  const secret = { name: 'x', value: 'value-of-x' };
  expect(await warningOf(vault.set({ ...secret, user: 'svc/eve' }, 'ops/ops'))).toContain('svc/svc');
  expect(await warningOf(vault.set({ ...secret, user: 'svc/svc' }, 'ops/ops'))).toBeUndefined();
  expect(await warningOf(vault.set({ ...secret, tenant: 'acme' }, 'ops/ops'))).toBeUndefined();

  const blocked = (who: string) => warningOf(desk.block({ who, until: undefined, ...common }));
  for (const who of [
    'svc/svc',
    'dev/whoever',
    'dev@acme/ada',
    'anonymous',
    'local/ada',
    'tenant:acme',
    'key:abc',
    'client:x',
  ]) {
    const warning = await blocked(who);
    if (who === 'dev@acme/ada') expect(warning).toContain('Callers of dev have no tenant: write dev/ada');
    else expect(warning, who).toBeUndefined();
  }
  expect(await blocked('crop/ada')).toContain('svc/…, dev/…, anonymous');
  expect(await blocked('svc/eve')).toContain('The only caller of svc is svc/svc');
  expect(desk.blocks()).toHaveLength(10);

  await expect(desk.reset('calls', 'svc/eve', 'ops/ops', 'r')).rejects.toMatchObject({ code: 'invalid_params' });
  await desk.reset('calls', 'svc/svc', 'ops/ops', 'r');
});
