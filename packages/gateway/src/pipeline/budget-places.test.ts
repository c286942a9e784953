/** Counters that no tool of the main endpoint leads to: of resources, prompts, tiers in tokens, and another endpoint. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../core/clock.ts';
import { silentLog } from '../core/log.ts';
import type { GatewayAdministration } from './gateway-administration.ts';
import type { GatewayOperations } from './gateway-operations.ts';
import { administrationOf, operationsOf } from './ports.ts';
import { GatewayState } from './state.ts';
import { type ScriptedServer, startGateway, startScripted, type TestGateway, tool } from './testing.ts';

const HINTS = { ttlMs: 60_000, cacheScope: 'private' };
const ADA = 'corp/ada';
const fixed = { algorithm: 'fixed-window', limit: '9/day' };

let server: ScriptedServer;
let gateway: TestGateway;
let desk: GatewayAdministration;
let operations: GatewayOperations;

beforeAll(async () => {
  server = await startScripted({
    'tools/list': () => ({ tools: [tool('read')], ...HINTS }),
    'resources/list': () => ({ resources: [{ uri: 'doc://a', name: 'a' }], ...HINTS }),
    'prompts/list': () => ({ prompts: [{ name: 'greet' }], ...HINTS }),
  });
  const state = await GatewayState.transient({ clock: systemClock, log: silentLog });
  gateway = await startGateway(
    {
      servers: { files: { url: server.url } },
      endpoints: { '/team': { servers: '*' } },
      auth: [
        {
          name: 'corp',
          jwt: { issuer: 'corp', secret: 'a secret of thirty-two bytes or more', audience: 'us' },
          map: { tier: 'plan' },
        },
      ],
      tiers: { gold: { rated: { limit: '60/min' } } },
      limits: {
        docs: { by: 'principal', resource: 'doc://*', ...fixed },
        templated: { by: 'principal', resource: 'book://chapter/?', ...fixed },
        greetings: { by: 'principal', prompt: 'files/*', ...fixed },
        away: { by: 'principal', tool: 'files/gone', ...fixed },
        object: { by: ['principal', 'tool'], ...fixed },
        rich: { by: 'principal', tier: 'go*', ...fixed },
        rated: { by: 'principal', limit: '30/min', algorithm: 'sliding-window' },
        nowhere: { by: ['principal', 'tool'], tool: 'files/z*', ...fixed },
        asked: { by: 'principal', tool: 'files/*', when: '"engineer" in caller.roles', ...fixed },
        place: { by: ['principal', 'endpoint'], ...fixed },
      },
    },
    { state },
  );
  const deps = { clock: systemClock, state, gateway: () => gateway.gateway };
  desk = administrationOf(deps);
  operations = operationsOf(deps, desk, () => []);
});
afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

async function count(limit: string, method: string, object: string | undefined, more: object = {}): Promise<number> {
  const question = { subject: { principal: ADA, tier: 'gold' }, method, tool: object, endpoint: '/team', ...more };
  const answer = await gateway.gateway.admission.external.peek(question, systemClock.monotonic());
  return answer.limits.find((view) => view.limit === limit)?.used ?? -1;
}

async function spend(method: string, object: string | undefined, more: object = {}): Promise<void> {
  const question = { subject: { principal: ADA, tier: 'gold' }, method, tool: object, endpoint: '/team', ...more };
  expect((await gateway.gateway.admission.external.consume(question, systemClock.monotonic())).allowed).toBe(true);
}

describe('A reset finds the counter of a limit', () => {
  it.each([
    ['docs', 'resources/read', 'files/doc://a'],
    ['templated', 'resources/read', 'files/book://chapter/7'],
    ['greetings', 'prompts/get', 'files/greet'],
    ['away', 'tools/call', 'files/gone'],
    ['object', 'resources/read', 'files/doc://a'],
    ['rich', 'tools/call', 'files/read'],
    ['rated', 'tools/call', 'files/read'],
    ['place', 'tools/call', 'files/read'],
  ])('%s, counted for %s of %s by a caller whose tier its token says', async (limit, method, object) => {
    await spend(method, object);
    expect(await count(limit, method, object)).toBeGreaterThan(0);
    await desk.reset(limit, ADA, 'ops/eve', 'r');
    expect(await count(limit, method, object)).toBe(0);
  });

  it('or says why there is none to be found', async () => {
    await expect(desk.reset('nowhere', ADA, 'ops/eve', 'r')).rejects.toThrow(
      'nowhere has no counter for corp/ada that can be found: nothing that is listed now matches its patterns',
    );
    await expect(desk.reset('asked', ADA, 'ops/eve', 'r')).rejects.toThrow(
      'asked has no counter for corp/ada that can be found: its `when` does not hold where neither arguments nor roles are known',
    );
  });
});

describe('Where a caller stands', () => {
  it('is shown for resources and prompts as well, and says what its unknown tier leaves out', async () => {
    const { limits, warning } = await desk.budgets(ADA, undefined);
    const names = limits.map(({ limit }) => limit);
    expect(names).toEqual(expect.arrayContaining(['docs', 'templated', 'greetings', 'away', 'rated', 'place']));
    expect(names).not.toContain('rich');
    expect(warning).toBe(
      'The tier of corp/ada comes with its token; this is where it stands in the tier default. Left out: rich.',
    );
  });

  it('counts questions of other systems at the endpoint that there is', async () => {
    const client = await operations.resolve(ADA, true);
    if (typeof client === 'string') throw new Error(client);
    const before = await count('place', 'tools/call', 'files/read');
    const request = { client, endpoint: 'tools/call', name: 'files/read', cost: 0, tier: undefined } as const;
    expect(await operations.decide([{ ...request, mode: 'consume' }])).toMatchObject([{ allowed: true }]);
    expect(await count('place', 'tools/call', 'files/read')).toBe(before + 1);
  });
});
