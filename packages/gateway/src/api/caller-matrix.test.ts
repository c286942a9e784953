/**
 * Role × object × action × transport for callers of the catalog: every method of MCP that shows or uses something, asked by
 * every role at every door. Doors come from the transports that the product names and actions from the methods that it
 * knows: one without a cell fails. The admin surfaces have theirs in matrix.test.ts.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { verifies } from '@tollgate/testkit/verifies';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ROLES } from '../access/rights.ts';
import { systemClock } from '../core/clock.ts';
import { silentLog } from '../core/log.ts';
import { userPortOf } from '../pipeline/ports.ts';
import { GatewayState } from '../pipeline/state.ts';
import {
  type Json,
  type ScriptedServer,
  startGateway,
  startScripted,
  type TestGateway,
  tool,
} from '../pipeline/testing.ts';
import { METHODS } from '../protocol/methods.ts';
import { DOORS, type Door, type DoorCaller, subscribed, type Told } from './testing/doors.ts';
import { createUserApi, isUserPath } from './user/user-api.ts';

/** Who calls: by name, with these roles. `lead` may everything, by a rule about it alone. */
const CASTS: Readonly<Record<string, readonly string[]>> = {
  none: [],
  engineer: ['engineer'],
  ...Object.fromEntries(ROLES.map((role) => [role, [role]])),
  several: ['user', 'auditor', 'engineer'],
  lead: ['lead'],
  anonymous: ['user'],
  local: ['user'],
};
/** For whom an object is: holders of that role, everybody, or nobody but `lead`. */
const OWNERS = [...ROLES, 'engineer', 'everyone', 'nobody'] as const;
const may = (cast: string, owner: string): boolean =>
  cast === 'lead' || owner === 'everyone' || CASTS[cast]!.includes(owner);

interface Cell {
  readonly params: (owner: string) => Json;
  /** The answer says yes in a way of its own. Default: it has a result. */
  readonly taken?: (told: Told) => boolean;
  /** Hidden and unknown are told as success that gives nothing. */
  readonly silent?: true;
}
interface List {
  readonly list: string;
  /** The owner of an entry, by its name. */
  readonly of: (entry: Json) => string;
}

const reference = (ref: (owner: string) => Json): Cell => ({
  params: (owner) => ({ ref: ref(owner), argument: { name: 'x', value: '' } }),
});
const ownerIn = (text: unknown): string => /(?:of_|of:|doc:)(\w+)/.exec(String(text))?.[1] ?? String(text);

/** What a method of MCP does with an object; more than one cell where it takes several kinds of them. */
const CELLS: Readonly<Record<string, readonly (Cell | List)[]>> = {
  'tools/list': [{ list: 'tools', of: ({ name }) => ownerIn(name) }],
  'prompts/list': [{ list: 'prompts', of: ({ name }) => ownerIn(name) }],
  'resources/list': [{ list: 'resources', of: ({ uri }) => ownerIn(uri) }],
  'resources/templates/list': [{ list: 'resourceTemplates', of: ({ uriTemplate }) => ownerIn(uriTemplate) }],
  'tools/call': [{ params: (owner) => ({ name: `of_${owner}`, arguments: {} }) }],
  'prompts/get': [{ params: (owner) => ({ name: `of_${owner}` }) }],
  'resources/read': [
    { params: (owner) => ({ uri: `of:${owner}` }) },
    { params: (owner) => ({ uri: `doc:${owner}/7` }) },
  ],
  'completion/complete': [
    reference((owner) => ({ type: 'ref/prompt', name: `of_${owner}` })),
    reference((owner) => ({ type: 'ref/resource', uri: `doc:${owner}/{id}` })),
  ],
  'resources/subscribe': [{ params: (owner) => ({ uri: `of:${owner}` }) }],
  'subscriptions/listen': [
    {
      params: (owner) => ({ notifications: { resourceSubscriptions: [`of:${owner}`] } }),
      taken: subscribed,
      silent: true,
    },
  ],
};

/** They could touch all that a server has, so only who may everything of it may send them. */
const WHOLE = ['skills/list', 'skills/get', 'resources/directory/read'];
/** They name no object: what they say of a gateway is in the tests of `access`, of blocks and of sessions. */
const NAMELESS = ['initialize', 'ping', 'server/discover', 'logging/setLevel', 'resources/unsubscribe'];
/** Tasks are of whoever made them, whatever the rules say: task-owners.test.ts, isolation.test.ts. */
const TASKS = ['tasks/get', 'tasks/update', 'tasks/cancel'];

let server: ScriptedServer;
let gateway: TestGateway;
let state: GatewayState;
let folder: Awaited<ReturnType<typeof temporaryDirectory>>;

beforeAll(async () => {
  const hints = { ttlMs: 60_000, cacheScope: 'public' };
  const each = (make: (owner: string) => Json) => OWNERS.map(make);
  server = await startScripted({
    'server/discover': () => ({
      supportedVersions: ['2026-07-28'],
      capabilities: {
        tools: {},
        prompts: {},
        resources: { subscribe: true },
        completions: {},
        extensions: { 'io.modelcontextprotocol/skills': {} },
      },
      ...hints,
    }),
    'tools/list': () => ({ tools: each((owner) => tool(`of_${owner}`)), ...hints }),
    'prompts/list': () => ({ prompts: each((owner) => ({ name: `of_${owner}` })), ...hints }),
    'resources/list': () => ({ resources: each((owner) => ({ uri: `of:${owner}`, name: owner })), ...hints }),
    'resources/templates/list': () => ({
      resourceTemplates: each((owner) => ({ uriTemplate: `doc:${owner}/{id}`, name: owner })),
      ...hints,
    }),
    'resources/read': ({ uri }) => ({ contents: [{ uri, text: 'read' }], ...hints }),
    'prompts/get': () => ({ messages: [] }),
    'completion/complete': () => ({ completion: { values: [] } }),
    'subscriptions/listen': ({ notifications }, response, id) => {
      const params = { notifications, _meta: { 'io.modelcontextprotocol/subscriptionId': id } };
      const told = { jsonrpc: '2.0', method: 'notifications/subscriptions/acknowledged', params };
      response.writeHead(200, { 'content-type': 'text/event-stream' }).write(`data: ${JSON.stringify(told)}\n\n`);
      return undefined;
    },
    ...Object.fromEntries(WHOLE.map((method) => [method, () => ({ told: 'all' })])),
  });
  state = await GatewayState.transient({ clock: systemClock, log: silentLog });
  let running: TestGateway | undefined;
  const api = createUserApi(userPortOf({ clock: systemClock, state, gateway: () => running!.gateway }), silentLog);
  const names = Object.keys(CASTS).filter((name) => name !== 'anonymous' && name !== 'local');
  const rule = (who: string, owner: string) => ({
    who,
    may: [`a/of_${owner}`, `a/of:${owner}`, `a/doc:${owner}/*`],
  });
  running = await startGateway(
    {
      servers: { a: { url: server.url } },
      auth: [
        ...names.map((name) => ({ name, bearer: { token: tokenOf(name), subject: name, roles: CASTS[name] } })),
        { anonymous: {} },
      ],
      access: [
        ...[...ROLES, 'engineer'].map((role) => rule(`role:${role}`, role)),
        rule('everyone', 'everyone'),
        { who: 'lead/lead', may: 'a/*' },
      ],
    },
    {
      state,
      publicMount: (request, response, path, { address }) => {
        if (!isUserPath(path)) return false;
        api(request, response, address);
        return true;
      },
    },
  );
  gateway = running;
  folder = await temporaryDirectory('matrix');
  await gateway.gateway.listenStdio(join(folder.path, 's'));
});
afterAll(async () => {
  await gateway?.[Symbol.asyncDispose]();
  await state?.close();
  await server?.[Symbol.asyncDispose]();
  if (folder !== undefined) await rm(folder.path, { recursive: true, force: true });
});

const tokenOf = (name: string): string => `token-of-${name}-0123456789`;

function castsAt({ local, named }: Door): string[] {
  const names = Object.keys(CASTS).filter((name) => (name === 'local') === (local === true));
  return named === true ? names.filter((name) => name !== 'anonymous') : names;
}

const enter = (door: Door, cast: string): Promise<DoorCaller> =>
  door.open({
    url: gateway.url,
    attachSocket: join(folder.path, 's'),
    token: cast === 'anonymous' ? undefined : tokenOf(cast),
    subject: cast,
  });

/** What a caller can tell of an answer, with the name asked for taken out. */
const shape = (told: Told, owner: string): string =>
  JSON.stringify({ error: told.error, params: told.params, result: told.result })
    .replaceAll(owner, 'NAME')
    .replaceAll(/tg-[\w-]+/g, 'ID')
    .replaceAll(/subscriptionId":\d+/g, 'subscriptionId":0');

/** Subscriptions are merged towards a server, and follow whoever leaves in a time of their own. */
const reached = (): number => server.seen.filter(({ method }) => method !== 'subscriptions/listen').length;

const everyDoor = Object.values(DOORS).flat();
const cells = METHODS.filter(({ kind, from }) => kind === 'request' && from !== 'server').flatMap((info) =>
  (CELLS[info.method] ?? []).map((cell) => ({ ...info, cell })),
);

it('has a cell for every method of MCP that a client may send', () => {
  const known = METHODS.filter(({ kind, from }) => kind === 'request' && from !== 'server').map(({ method }) => method);
  expect([...Object.keys(CELLS), ...WHOLE, ...NAMELESS, ...TASKS].toSorted()).toEqual(known.toSorted());
});

describe.each(everyDoor)('$name', (door) => {
  it.each(castsAt(door))('shows and gives %s what is for it, and of the rest not that it is there', async (cast) => {
    verifies('R1-21', 'R0-53');
    const caller = await enter(door, cast);
    try {
      let asked = 0;
      for (const { method, eras, cell } of cells) {
        if (!eras.includes(door.era)) continue;
        if ('list' in cell) {
          const told = await caller.ask(method, {});
          if (told === undefined) continue;
          const shown = (told.result?.[cell.list] as Json[]).map(cell.of);
          expect(shown.toSorted(), method).toEqual(OWNERS.filter((owner) => may(cast, owner)).toSorted());
          asked++;
          continue;
        }
        const { params, taken = ({ result }) => result !== undefined, silent } = cell;
        const unknown = await caller.ask(method, params('missing'));
        if (unknown === undefined) continue;
        asked++;
        expect(silent === true || unknown.error?.code === -32602 || unknown.error?.code === -32002, method).toBe(true);
        const before = reached();
        const ask = async (owner: string) => ({ owner, told: (await caller.ask(method, params(owner)))! });
        const refused = await Promise.all(OWNERS.filter((owner) => !may(cast, owner)).map(ask));
        expect(reached(), method).toBe(before);
        for (const { owner, told } of refused) {
          expect([owner, taken(told)], method).toEqual([owner, false]);
          expect(shape(told, owner), `${method} ${owner}`).toBe(shape(unknown, 'missing'));
        }
        for (const { owner, told } of await Promise.all(OWNERS.filter((one) => may(cast, one)).map(ask))) {
          expect([owner, taken(told)], method).toEqual([owner, true]);
        }
      }
      expect(asked).toBeGreaterThan(1);
      for (const method of door.era === 'modern' ? WHOLE : []) {
        const told = await caller.ask(method, { uri: 'of:everyone' });
        if (told !== undefined) expect(told.error?.code, method).toBe(cast === 'lead' ? undefined : -32601);
      }
    } finally {
      caller.leave();
    }
  });
});
