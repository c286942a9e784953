import { verifies } from '@tollgate/testkit/verifies';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { TollgateError } from '../core/errors.ts';
import { silentLog } from '../core/log.ts';
import type { Era } from '../protocol/versions.ts';
import { type Catalog, type CatalogDeps, createCatalog, type ListResult } from './catalog.ts';
import type { Kind } from './items.ts';
import { type ListingDeps, Listings } from './listing.ts';
import type { Entry } from './merge.ts';
import type { CatalogOptions } from './options.ts';
import { DOWN, FakeServer, paged, tool } from './testing.ts';

const clock = { wall: () => Date.now(), monotonic: () => performance.now() };
const client = { info: { name: 'tollgate', version: '0' }, capabilities: { sampling: {} } };
const open: { close(): void }[] = [];

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setImmediate', 'clearImmediate', 'performance', 'Date'] });
});

afterEach(() => {
  for (const catalog of open.splice(0)) catalog.close();
  vi.useRealTimers();
});

function listings(more: Partial<ListingDeps> = {}): Listings {
  return new Listings({ client, clock, log: silentLog, random: () => 0.5, ...more });
}

function catalogOf(
  servers: readonly FakeServer[],
  options: Partial<CatalogOptions> = {},
  deps: Partial<CatalogDeps> = {},
): Catalog {
  const catalog = createCatalog(
    {
      endpoint: '/mcp',
      servers: servers.map(({ name }) => name),
      naming: 'auto',
      allow: undefined,
      deny: [],
      names: new Map(),
      onUnavailable: 'partial',
      listTimeout: 3_000,
      ...options,
    },
    new Map(servers.map((server) => [server.name, server])),
    { listings: listings(), clock, log: silentLog, ...deps },
  );
  open.push(catalog);
  return catalog;
}

interface Body {
  readonly [member: string]: unknown;
  readonly tools: readonly { readonly name: string }[];
  readonly _meta?: Readonly<Record<string, unknown>>;
}

async function read(catalog: Catalog, kind: Kind = 'tools', era: Era = 'modern'): Promise<Body & { list: ListResult }> {
  const list = await catalog.list(kind, undefined, era);
  return { ...(JSON.parse(list.body) as Body), list };
}

async function names(catalog: Catalog): Promise<string[]> {
  return (await read(catalog)).tools.map(({ name }) => name);
}

const ALL = { entry: () => true, server: () => true };

describe('aggregation', () => {
  it('shows the tools of all servers under one list, each callable by its advertised name', async () => {
    verifies('R1-06', 'R2-57', 'R3-10');
    const catalog = catalogOf([
      new FakeServer('math', [tool('add')]),
      new FakeServer('data', [tool('add'), tool('get')]),
    ]);
    expect(await names(catalog)).toEqual(['add', 'data_add', 'get']);
    expect(catalog.tool('data_add')).toMatchObject({
      server: 'data',
      upstreamName: 'add',
      target: '"add"',
      canonicalId: 'data/add',
    });
    expect(catalog.tool('get')).toMatchObject({ server: 'data', target: undefined });
    expect(catalog.tool('math_add')).toBeUndefined();
  });

  it('asks only for what a server declares, as a modern request with its envelope', async () => {
    const server = new FakeServer('a', [tool('x')]);
    await read(catalogOf([server]));
    expect(server.asked).toEqual([
      {
        method: 'tools/list',
        params: {
          _meta: {
            'io.modelcontextprotocol/protocolVersion': '2026-07-28',
            'io.modelcontextprotocol/clientInfo': client.info,
            'io.modelcontextprotocol/clientCapabilities': client.capabilities,
          },
        },
      },
    ]);
  });

  it('takes a method that a server does not know for an empty list', async () => {
    const server = new FakeServer('a', [tool('x')]);
    server.capabilities = { tools: {}, resources: {}, prompts: {} };
    const catalog = catalogOf([server]);
    expect((await read(catalog, 'templates'))['resourceTemplates']).toEqual([]);
    expect((await read(catalog)).list.partial).toEqual([]);
  });

  it('reads a server once for several endpoints and leaves it with the last', async () => {
    const server = new FakeServer('a', [tool('x')]);
    const shared = listings();
    const first = catalogOf([server], {}, { listings: shared });
    const second = catalogOf([server], { naming: 'prefix' }, { listings: shared });
    expect([await names(first), await names(second)]).toEqual([['x'], ['a_x']]);
    expect(server.connects).toBe(1);
    first.close();
    expect(server.listeners).toBe(1);
    second.close();
    expect(server.listeners).toBe(0);
  });

  it('applies allow and deny to canonical ids, not to advertised names', async () => {
    const a = new FakeServer('a', [tool('read'), tool('delete_all')]);
    const b = new FakeServer('b', [tool('read'), tool('a_x')]);
    expect(await names(catalogOf([a, b], { deny: ['a/delete_*'] }))).toEqual(['read', 'b_read', 'a_x']);
    expect(await names(catalogOf([a, b], { allow: ['b/*'], deny: ['a_*'] }))).toEqual(['read']);
    expect(await names(catalogOf([a, b], { allow: [] }))).toEqual([]);
  });

  it('hides what no route takes, but keeps it findable', async () => {
    const advertise = (entry: Entry): boolean => entry.canonicalId !== 'a/y';
    const catalog = catalogOf([new FakeServer('a', [tool('x'), tool('y')])], {}, { advertise });
    expect(await names(catalog)).toEqual(['x']);
    expect(catalog.tool('y')?.advertised).toBe(false);
  });
});

describe('entries', () => {
  it('passes unknown members, schemas and large integers on unchanged', async () => {
    const server = new FakeServer('a');
    const big = (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON('12345678901234567890');
    const schema = { type: 'object', $ref: 'https://x/y', properties: { n: { const: big } }, $defs: { d: {} } };
    server.lists['tools/list'] = [
      tool('x', { inputSchema: schema, outputSchema: { type: 'array' }, future: { a: [1.5] } }),
    ];
    const { body } = await catalogOf([server]).list('tools', undefined, 'modern');
    expect(body).toContain(JSON.stringify(schema));
    expect(body).toContain('12345678901234567890');
    expect(body).toContain('"future":{"a":[1.5]}');
    expect(body).toContain('"outputSchema":{"type":"array"}');
  });

  it('shows legacy members only to legacy clients, and output schemas that those can read', async () => {
    const server = new FakeServer('a', [
      tool('x', { execution: { taskSupport: 'optional' }, outputSchema: { type: 'array' } }),
      tool('y', { outputSchema: { type: 'object' } }),
    ]);
    const catalog = catalogOf([server]);
    const modern = await read(catalog);
    const legacy = await read(catalog, 'tools', 'legacy');
    expect(modern.tools[0]).not.toHaveProperty('execution');
    expect(modern.tools[0]).toHaveProperty('outputSchema');
    expect(legacy.tools[0]).toHaveProperty('execution');
    expect(legacy.tools[0]).not.toHaveProperty('outputSchema');
    expect(legacy.tools[1]).toHaveProperty('outputSchema');
    expect(JSON.parse(legacy.list.body)).toEqual({ tools: legacy.tools });
  });

  it('leaves out what would make strict clients refuse the whole list', async () => {
    const server = new FakeServer('a', [
      tool('x', { description: 5, title: 'T', icons: {} }),
      { name: 'no-schema' },
      tool('bad', { inputSchema: { type: 'string' } }),
      'text',
      tool('x'),
      { inputSchema: { type: 'object' } },
    ]);
    const catalog = catalogOf([server]);
    expect((await read(catalog)).tools).toEqual([{ name: 'x', inputSchema: { type: 'object' }, title: 'T' }]);
    expect(catalog.view().servers[0]!.warnings).toHaveLength(7);
  });

  it('does not list tools with broken header annotations to modern clients', async () => {
    const schema = (type: string) => ({
      inputSchema: { type: 'object', properties: { p: { type, 'x-mcp-header': 'P' } } },
    });
    const catalog = catalogOf([new FakeServer('a', [tool('good', schema('string')), tool('bad', schema('number'))])]);
    expect(await names(catalog)).toEqual(['good']);
    expect((await read(catalog, 'tools', 'legacy')).tools).toHaveLength(2);
    expect(catalog.tool('good')?.paramHeaders).toBeDefined();
    expect(catalog.tool('bad')?.paramHeaders).toBeUndefined();
  });
});

describe('resources, prompts and completions', () => {
  function files(name: string, lists: FakeServer['lists']): FakeServer {
    const server = new FakeServer(name);
    server.capabilities = { tools: {}, resources: {}, prompts: {}, completions: {} };
    server.lists = {
      'tools/list': [],
      'resources/list': [],
      'resources/templates/list': [],
      'prompts/list': [],
      ...lists,
    };
    return server;
  }
  const resource = (uri: string) => ({ uri, name: uri });

  it('finds the owner of a URI: listed first, then referred to by a tool, then the most specific template', async () => {
    const a = files('a', {
      'resources/list': [resource('x://1')],
      'resources/templates/list': [{ uriTemplate: 'x://{+any}', name: 'any' }],
      'tools/list': [tool('app', { _meta: { ui: { resourceUri: 'ui://app' } } })],
    });
    const b = files('b', {
      'resources/list': [resource('x://1'), resource('x://2'), resource('ui://app')],
      'resources/templates/list': [{ uriTemplate: 'x://deep/{id}', name: 'deep' }],
    });
    const catalog = catalogOf([a, b]);
    await catalog.settled();
    expect(catalog.resource('x://1')?.server).toBe('a');
    expect(catalog.resource('x://2')?.server).toBe('b');
    expect(catalog.resource('ui://app')).toMatchObject({ server: 'a', canonicalId: 'a/ui://app', kind: 'resources' });
    expect(catalog.resource('x://deep/7')).toMatchObject({
      server: 'b',
      canonicalId: 'b/x://deep/7',
      name: 'x://deep/7',
    });
    expect(catalog.resource('x://deep/7/8')?.server).toBe('a');
    expect(catalog.resource('y://1')).toBeUndefined();
    expect((await read(catalog, 'resources'))['resources']).toEqual([
      resource('x://1'),
      resource('x://2'),
      resource('ui://app'),
    ]);
    expect(catalog.conflicts).toMatchObject([{ newcomer: 'b/x://1', owner: 'a/x://1' }]);
  });

  it('names prompts like tools, and resolves completions', async () => {
    const a = files('a', { 'prompts/list': [{ name: 'greet' }] });
    const b = files('b', {
      'prompts/list': [{ name: 'greet' }],
      'resources/templates/list': [{ uriTemplate: 'x://{id}', name: 'x' }],
    });
    const catalog = catalogOf([a, b]);
    await catalog.settled();
    expect(catalog.prompt('b_greet')).toMatchObject({ server: 'b', target: '"greet"' });
    expect(catalog.completion({ type: 'ref/prompt', name: 'b_greet' })?.canonicalId).toBe('b/greet');
    expect(catalog.completion({ type: 'ref/resource', uri: 'x://{id}' })?.server).toBe('b');
    expect(catalog.completion({ type: 'ref/resource', uri: 'x://1' })?.server).toBe('b');
    expect(catalog.completion({ type: 'ref/tool', name: 'greet' })).toBeUndefined();
    expect(catalog.completion({ type: 'ref/prompt', name: 'none' })).toBeUndefined();
  });
});

describe('dead and slow servers', () => {
  it('answers without a dead server, marked, and with it once it is back', async () => {
    const dead = new FakeServer('dead', [tool('x')]);
    dead.down = DOWN;
    const catalog = catalogOf([dead, new FakeServer('b', [tool('x')])]);
    const { tools, _meta, list } = await read(catalog);
    expect(tools.map(({ name }) => name)).toEqual(['x']);
    expect(_meta).toEqual({ 'tollgate/partial': [{ server: 'dead', reason: 'server_unavailable' }] });
    expect(list).toMatchObject({ ttlMs: 0, cacheScope: 'private' });
    const changed = vi.fn();
    catalog.onChange(changed);
    dead.down = undefined;
    await vi.advanceTimersByTimeAsync(1_500);
    expect(changed.mock.calls).toEqual([['tools']]);
    // The name that was given while the other was away stays.
    expect(await names(catalog)).toEqual(['dead_x', 'x']);
    expect((await read(catalog)).list.partial).toEqual([]);
  });

  it('waits for a slow server no longer than listTimeout, once', async () => {
    const slow = new FakeServer('slow', [tool('x')]);
    slow.gate = new Promise(() => {});
    const catalog = catalogOf([slow, new FakeServer('b', [tool('y')])], { listTimeout: 2_000 });
    let done = false;
    const first = read(catalog).then((body) => {
      done = true;
      return body;
    });
    await vi.advanceTimersByTimeAsync(1_999);
    expect([done, catalog.ready]).toEqual([false, false]);
    await vi.advanceTimersByTimeAsync(1);
    expect((await first)._meta).toEqual({ 'tollgate/partial': [{ server: 'slow', reason: 'starting' }] });
    // No timer needs to advance for the second.
    expect(await names(catalog)).toEqual(['y']);
  });

  it('fails the list instead where the endpoint says so', async () => {
    const dead = new FakeServer('dead');
    dead.down = DOWN;
    const catalog = catalogOf([dead, new FakeServer('b', [tool('x')])], { onUnavailable: 'fail' });
    await expect(catalog.list('tools', undefined, 'modern')).rejects.toMatchObject({
      code: 'server_unavailable',
      message: 'tools/list is incomplete, missing: dead (server_unavailable)',
    });
  });

  it('ends a request that is never answered, and keeps the last good list', async () => {
    const server = new FakeServer('a', [tool('x')]);
    const catalog = catalogOf([server]);
    await catalog.settled();
    server.mute = true;
    server.emit({ type: 'list_changed', kind: 'tools' });
    await vi.advanceTimersByTimeAsync(6_000);
    expect(catalog.view().servers[0]).toMatchObject({ state: 'stale', tools: 1 });
    expect(await names(catalog)).toEqual(['x']);
  });

  it('backs off, and reads at once what comes back', async () => {
    const dead = new FakeServer('dead', [tool('x')]);
    dead.down = DOWN;
    const catalog = catalogOf([dead]);
    await vi.advanceTimersByTimeAsync(10 * 60_000);
    const tries = dead.connects;
    expect(tries).toBeGreaterThan(8);
    expect(tries).toBeLessThan(20);
    dead.down = undefined;
    dead.emit({ type: 'state', state: 'ready' });
    await vi.advanceTimersByTimeAsync(100);
    expect(catalog.tool('x')?.server).toBe('dead');
  });

  it('ends a start that never ends, and tries again', async () => {
    const stuck = new FakeServer('stuck', [tool('x')]);
    stuck.gate = new Promise(() => {});
    const catalog = catalogOf([stuck]);
    await vi.advanceTimersByTimeAsync(120_000);
    expect(catalog.view().servers[0]).toMatchObject({ state: 'failed', problem: 'The lists took too long to read' });
    stuck.gate = undefined;
    await vi.advanceTimersByTimeAsync(2_000);
    expect(catalog.tool('x')?.server).toBe('stuck');
  });

  it('reads everything again when a server that was gone is back', async () => {
    const server = new FakeServer('a', [tool('x')]);
    const catalog = catalogOf([server]);
    await catalog.settled();
    await vi.advanceTimersByTimeAsync(1_000);
    server.emit({ type: 'state', state: 'ready' });
    await vi.advanceTimersByTimeAsync(1_000);
    expect(server.connects).toBe(1);
    server.lists['tools/list'] = [tool('y')];
    server.emit({ type: 'state', state: 'failed' });
    server.emit({ type: 'state', state: 'starting' });
    server.emit({ type: 'state', state: 'ready' });
    await vi.advanceTimersByTimeAsync(1_000);
    expect([catalog.tool('x'), catalog.tool('y')?.server]).toEqual([undefined, 'a']);
  });

  it('leaves a server that waits for a sign-in alone, and says why once', async () => {
    const server = new FakeServer('a', [tool('x')]);
    server.down = new TollgateError('server_login_required', 'Run `tollgate login a`.');
    const warn = vi.fn();
    const log = { ...silentLog, warn };
    const catalog = catalogOf([server], {}, { listings: listings({ log }) });
    await vi.advanceTimersByTimeAsync(20 * 60_000);
    expect(server.connects).toBeLessThan(6);
    expect(warn.mock.calls.map(([, message]) => message)).toEqual([
      'a: its lists cannot be read: Run `tollgate login a`.',
    ]);
    expect((await read(catalog)).list.partial).toEqual([{ server: 'a', reason: 'server_login_required' }]);
  });

  it('tries a dead server again when somebody asks, without waiting long for it', async () => {
    const dead = new FakeServer('dead', [tool('x')]);
    dead.down = DOWN;
    const catalog = catalogOf([dead]);
    await vi.advanceTimersByTimeAsync(5 * 60_000 + 20_000);
    dead.down = undefined;
    const before = dead.connects;
    expect(await names(catalog)).toEqual(['x']);
    expect(dead.connects).toBe(before + 1);
  });

  it('lets go of everything when closed while a server hangs', async () => {
    const server = new FakeServer('a', [tool('x')]);
    server.mute = true;
    const catalog = catalogOf([server]);
    const list = catalog.list('tools', undefined, 'modern');
    await vi.advanceTimersByTimeAsync(10);
    catalog.close();
    expect(JSON.parse((await list).body)['tools']).toEqual([]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('lists prompts although tools fail', async () => {
    const server = new FakeServer('a');
    server.capabilities = { tools: {}, prompts: {} };
    server.lists = {
      'tools/list': () => ({ error: { code: -32000, message: 'boom' } }),
      'prompts/list': [{ name: 'p' }],
    };
    const catalog = catalogOf([server]);
    expect((await read(catalog)).list.partial).toEqual([{ server: 'a', reason: 'server_protocol_error' }]);
    expect((await read(catalog, 'prompts')).list).toMatchObject({ count: 1, partial: [] });
  });

  it('declines what a server asks on the catalog connection', () => {
    const server = new FakeServer('a');
    catalogOf([server]);
    const answer = vi.fn();
    const scope = { era: 'modern', principal: undefined, session: undefined } as const;
    const event = { type: 'request', message: { method: 'roots/list' }, answer } as never as object;
    server.emit({ ...event, scope: { ...scope, purpose: 'call' } } as never);
    expect(answer).not.toHaveBeenCalled();
    server.emit({ ...event, scope: { ...scope, purpose: 'catalog' } } as never);
    expect(answer.mock.calls[0]![0]).toMatchObject({ code: 'method_not_found' });
  });
});

describe('upstream pagination', () => {
  it('follows every page of every server', async () => {
    const server = new FakeServer('a');
    server.lists['tools/list'] = paged(
      'tools',
      Array.from({ length: 25 }, (_, i) => tool(`t${i}`)),
      4,
    );
    expect(await names(catalogOf([server]))).toHaveLength(25);
    expect(server.asked).toHaveLength(7);
  });

  it('takes an empty string for a cursor', async () => {
    const server = new FakeServer('a');
    server.lists['tools/list'] = ({ cursor }) =>
      cursor === undefined ? { tools: [tool('x')], nextCursor: '' } : { tools: [tool('y')] };
    expect(await names(catalogOf([server]))).toEqual(['x', 'y']);
  });

  it.each([
    ['repeated cursors', { pages: 1000 }, () => ({ tools: [tool('x')], nextCursor: 'again' }), 2],
    ['endless pages', { pages: 5 }, endless(), 5],
    ['too many entries', { entries: 3 }, endless(), 4],
    ['too many bytes', { bytes: 500 }, endless(), 4],
  ])('ends %s, keeps what was read and says so', async (_what, caps, list, requests) => {
    const server = new FakeServer('a');
    server.lists['tools/list'] = list;
    const catalog = catalogOf([server], {}, { listings: listings({ caps }) });
    const { list: result } = await read(catalog);
    expect(result.partial).toEqual([{ server: 'a', reason: 'truncated' }]);
    expect(result.count).toBeGreaterThan(0);
    expect(server.asked.length).toBeLessThanOrEqual(requests);
  });

  function endless(): () => Record<string, unknown> {
    let n = 0;
    return () => ({ tools: [tool(`t${n++}`)], nextCursor: `c${n}` });
  }
});

describe('freshness', () => {
  it('emits the least remaining lifetime, and public only when all parts are', async () => {
    const a = new FakeServer('a', [tool('x')]);
    const b = new FakeServer('b', [tool('y')]);
    b.ttlMs = 20_000;
    const catalog = catalogOf([a, b]);
    expect((await read(catalog)).list).toMatchObject({ ttlMs: 20_000, cacheScope: 'public' });
    await vi.advanceTimersByTimeAsync(5_000);
    expect((await read(catalog)).list.ttlMs).toBe(15_000);
    expect(await catalog.list('tools', undefined, 'modern', ALL)).toMatchObject({ cacheScope: 'private' });
    const c = new FakeServer('c', [tool('z')]);
    c.cacheScope = 'private';
    expect((await read(catalogOf([a, c]))).list).toMatchObject({ ttlMs: 60_000, cacheScope: 'private' });
    const legacy = new FakeServer('l', [tool('z')]);
    legacy.era = 'legacy';
    expect((await read(catalogOf([a, legacy]))).list).toMatchObject({ ttlMs: 0, cacheScope: 'private' });
  });

  it('reads a stale list again before answering, once for all who ask', async () => {
    const server = new FakeServer('a', [tool('x')]);
    const catalog = catalogOf([server]);
    await read(catalog);
    await vi.advanceTimersByTimeAsync(50_000);
    await read(catalog);
    expect(server.asked).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(9_000);
    server.lists['tools/list'] = [tool('x2')];
    expect(await Promise.all([names(catalog), names(catalog)])).toEqual([['x2'], ['x2']]);
    expect(server.asked).toHaveLength(2);
  });

  it('serves a list without lifetime at most a second old', async () => {
    const server = new FakeServer('a', [tool('x')]);
    server.ttlMs = -5;
    const catalog = catalogOf([server]);
    for (let i = 0; i < 10; i++) await read(catalog);
    expect(server.asked).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1_001);
    await read(catalog);
    expect(server.asked).toHaveLength(2);
  });

  it('reads what was announced as changed, once for a burst, and tells clients afterwards', async () => {
    const server = new FakeServer('a', [tool('x')]);
    server.capabilities = { tools: { listChanged: true }, resources: {}, prompts: {} };
    const catalog = catalogOf([server]);
    await catalog.settled();
    await vi.advanceTimersByTimeAsync(1_000);
    const changed = vi.fn();
    catalog.onChange(changed);
    for (let i = 0; i < 100; i++) server.emit({ type: 'list_changed', kind: 'tools' });
    await vi.advanceTimersByTimeAsync(1_000);
    expect(server.asked.filter(({ method }) => method === 'tools/list')).toHaveLength(2);
    expect(changed.mock.calls).toEqual([['tools']]);
    server.lists['tools/list'] = [tool('x', { description: 'new' })];
    server.emit({ type: 'list_changed', kind: 'tools' });
    await vi.advanceTimersByTimeAsync(1_000);
    expect(changed.mock.calls).toEqual([['tools'], ['tools']]);
    expect(catalog.tool('x')?.item.modern).toContain('new');
  });

  it('passes on no flood of announcements that change nothing', async () => {
    const server = new FakeServer('a', [tool('x')]);
    const catalog = catalogOf([server]);
    await catalog.settled();
    const changed = vi.fn();
    catalog.onChange(changed);
    for (let i = 0; i < 1_000; i++) {
      server.emit({ type: 'list_changed', kind: 'tools' });
      await vi.advanceTimersByTimeAsync(100);
    }
    expect(changed.mock.calls.length).toBeGreaterThan(50);
    expect(changed.mock.calls.length).toBeLessThan(115);
    server.lists['tools/list'] = [tool('y')];
    server.emit({ type: 'list_changed', kind: 'tools' });
    await vi.advanceTimersByTimeAsync(500);
    expect(catalog.tool('y')).toBeDefined();
  });

  it('survives a listener that throws', async () => {
    const server = new FakeServer('a', [tool('x')]);
    const catalog = catalogOf([server]);
    await catalog.settled();
    const changed = vi.fn();
    catalog.onChange(() => {
      throw new Error('boom');
    });
    catalog.onChange(changed);
    server.lists['tools/list'] = [tool('y')];
    await catalog.refresh();
    expect(changed).toHaveBeenCalledOnce();
  });

  it('does not answer from a list that is known to have changed', async () => {
    const server = new FakeServer('a', [tool('x')]);
    const catalog = catalogOf([server]);
    await catalog.settled();
    await vi.advanceTimersByTimeAsync(1_000);
    server.lists['tools/list'] = [tool('y')];
    server.emit({ type: 'list_changed', kind: 'tools' });
    expect(await names(catalog)).toEqual(['y']);
  });
});

describe('own pagination', () => {
  it('gives out pages, and refuses cursors of others', async () => {
    const server = new FakeServer(
      'a',
      Array.from({ length: 5 }, (_, i) => tool(`t${i}`)),
    );
    const catalog = catalogOf([server], {}, { pageSize: 2 });
    const first = await catalog.list('tools', undefined, 'modern');
    const second = await catalog.list('tools', first.nextCursor, 'modern');
    const third = await catalog.list('tools', second.nextCursor, 'modern');
    expect([first.count, second.count, third.count, third.nextCursor]).toEqual([2, 2, 1, undefined]);
    expect(JSON.parse(first.body)).toMatchObject({ nextCursor: first.nextCursor });
    for (const bad of [
      '',
      'x',
      `${first.nextCursor}!`,
      `0${first.nextCursor}`,
      `${first.nextCursor} `,
      '\0',
      'a'.repeat(1000),
    ]) {
      await expect(catalog.list('tools', bad, 'modern')).rejects.toMatchObject({ code: 'invalid_params' });
    }
    await expect(catalog.list('prompts', first.nextCursor, 'modern')).rejects.toMatchObject({ code: 'invalid_params' });
  });

  it('keeps cursors good when servers are added, and refuses them when places have moved', async () => {
    const a = new FakeServer('a', [tool('x'), tool('y')]);
    const b = new FakeServer('b', [tool('z')]);
    const servers = new Map([a, b].map((server) => [server.name, server]));
    const catalog = catalogOf([a], {}, { pageSize: 1 });
    const { nextCursor } = await catalog.list('tools', undefined, 'modern');
    await catalog.setServers(['a', 'b'], servers);
    expect(JSON.parse((await catalog.list('tools', nextCursor, 'modern')).body)).toMatchObject({
      tools: [{ name: 'y' }],
    });
    await catalog.setServers(['b', 'a'], servers);
    await expect(catalog.list('tools', nextCursor, 'modern')).rejects.toMatchObject({ code: 'invalid_params' });
  });

  it('seals the cursors of a list that hides something, each for its reader', async () => {
    const server = new FakeServer(
      'a',
      Array.from({ length: 9 }, (_, i) => tool(`t${i}`)),
    );
    const catalog = catalogOf([server], {}, { pageSize: 2 });
    const shown = { ...ALL, entry: ({ name }: Entry) => Number(name.slice(1)) % 3 === 0 };
    const list = (cursor: string | undefined, reader: string) =>
      catalog.list('tools', cursor, 'modern', shown, undefined, reader);
    const first = await list(undefined, 'ada');
    expect(JSON.parse(first.body)).toMatchObject({ tools: [{ name: 't0' }, { name: 't3' }], cacheScope: 'private' });
    // A page that is kept for a group is the same; its cursor is made anew, and tells no place.
    const again = await list(undefined, 'eve');
    expect(again.nextCursor).not.toBe(first.nextCursor);
    expect(first.nextCursor).toMatch(/^s\.[\w-]{80,}$/);
    const second = await list(first.nextCursor, 'ada');
    expect(JSON.parse(second.body)).toMatchObject({ tools: [{ name: 't6' }] });
    const plain = (await catalog.list('tools', undefined, 'modern')).nextCursor;
    for (const [cursor, reader] of [
      [first.nextCursor, 'eve'],
      [plain, 'ada'],
    ] as const) {
      await expect(list(cursor, reader)).rejects.toMatchObject({ code: 'invalid_params' });
    }
    await expect(catalog.list('tools', first.nextCursor, 'modern')).rejects.toMatchObject({ code: 'invalid_params' });
  });

  it('ends exactly with the last visible entry', async () => {
    const catalog = catalogOf([new FakeServer('a', [tool('x'), tool('y'), tool('z')])], {}, { pageSize: 2 });
    const page = await catalog.list('tools', undefined, 'modern', { ...ALL, entry: ({ name }) => name !== 'z' });
    expect([page.count, page.nextCursor]).toEqual([2, undefined]);
  });

  it('loses no entry that stays, whatever comes and goes between the pages', async () => {
    const names = fc.uniqueArray(
      fc.integer({ min: 0, max: 30 }).map((n) => `t${n}`),
      { maxLength: 20 },
    );
    const step = fc.tuple(names, names);
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 2, maxLength: 6 }),
        fc.integer({ min: 1, max: 4 }),
        async (steps, size) => {
          const a = new FakeServer('a');
          const b = new FakeServer('b');
          const catalog = catalogOf([a, b], { naming: 'prefix' }, { pageSize: size });
          const seen: string[] = [];
          let present: Set<string> | undefined;
          let cursor: string | undefined;
          for (let i = 0; ; i++) {
            const [ofA, ofB] = steps[Math.min(i, steps.length - 1)]!;
            a.lists['tools/list'] = ofA.map((name) => tool(name));
            b.lists['tools/list'] = ofB.map((name) => tool(name));
            await catalog.refresh();
            const now = new Set([...ofA.map((name) => `a_${name}`), ...ofB.map((name) => `b_${name}`)]);
            present = present === undefined ? now : new Set([...present].filter((name) => now.has(name)));
            const page = await catalog.list('tools', cursor, 'modern');
            seen.push(...(JSON.parse(page.body) as Body).tools.map(({ name }) => name));
            if (page.nextCursor === undefined) break;
            expect(i).toBeLessThan(100);
            cursor = page.nextCursor;
          }
          expect(new Set(seen).size).toBe(seen.length);
          for (const name of present) expect(seen).toContain(name);
          catalog.close();
        },
      ),
      { numRuns: 50 },
    );
  });
});

describe('what an endpoint says of itself', () => {
  it('merges capabilities and announces changes itself', async () => {
    const a = new FakeServer('a');
    const b = new FakeServer('b');
    a.capabilities = { tools: {}, extensions: { 'x/y': {} } };
    b.capabilities = { resources: { subscribe: true }, completions: {}, logging: {} };
    const catalog = catalogOf([a, b]);
    await catalog.settled();
    expect(catalog.capabilities('modern')).toEqual({
      tools: { listChanged: true },
      resources: { subscribe: true, listChanged: true },
      completions: {},
      logging: {},
    });
  });

  it('passes extensions on only for a single server, in its own era', async () => {
    const a = new FakeServer('a');
    a.capabilities = { tools: {}, extensions: { 'x/y': {} }, tasks: { list: {} } };
    const catalog = catalogOf([a]);
    await catalog.settled();
    expect(catalog.capabilities('modern')).toEqual({ tools: { listChanged: true }, extensions: { 'x/y': {} } });
    expect(catalog.capabilities('legacy')).toEqual({ tools: { listChanged: true } });
  });

  it('serves tasks in front of several servers', async () => {
    const a = new FakeServer('a');
    a.capabilities = { tools: {}, extensions: { 'io.modelcontextprotocol/tasks': {}, 'x/y': {} } };
    const catalog = catalogOf([a, new FakeServer('b')]);
    await catalog.settled();
    expect(catalog.capabilities('modern')['extensions']).toEqual({ 'io.modelcontextprotocol/tasks': {} });
    expect(catalog.capabilities('legacy')).not.toHaveProperty('extensions');
  });

  it('promises everything while a server is unknown', async () => {
    const dead = new FakeServer('dead');
    dead.down = DOWN;
    const catalog = catalogOf([dead]);
    await catalog.settled();
    expect(Object.keys(catalog.capabilities('legacy'))).toEqual(['tools', 'prompts', 'resources']);
  });

  it('joins instructions under the names of their servers', async () => {
    const a = new FakeServer('a');
    const b = new FakeServer('b');
    const c = new FakeServer('c');
    a.instructions = ' Use add. ';
    c.instructions = 'Use get.';
    const catalog = catalogOf([a, b, c]);
    const alone = catalogOf([a]);
    await Promise.all([catalog.settled(), alone.settled()]);
    expect(catalog.instructions()).toBe('## a\n\nUse add.\n\n## c\n\nUse get.');
    expect(alone.instructions()).toBe('Use add.');
  });

  it('stamps modern lists with the gateway, and counts definitions in tokens', async () => {
    const a = new FakeServer('a', [tool('x', { description: 'd'.repeat(400) })]);
    const catalog = catalogOf([a], {}, { serverInfo: { name: 'gw', version: '1' } });
    const { _meta } = await read(catalog);
    expect(_meta).toEqual({ 'io.modelcontextprotocol/serverInfo': { name: 'gw', version: '1' } });
    const view = catalog.view();
    expect(view.servers[0]).toMatchObject({ server: 'a', state: 'listed', tools: 1, problem: undefined });
    expect(view.tokens).toBe(Math.ceil(view.servers[0]!.bytes / 4));
    expect(view.servers[0]!.bytes).toBeGreaterThan(400);
  });
});

describe('servers at run time', () => {
  it('adds and removes servers, keeps names, and tells clients', async () => {
    const a = new FakeServer('a', [tool('x')]);
    const b = new FakeServer('b', [tool('x')]);
    const catalog = catalogOf([a]);
    await catalog.settled();
    const changed = vi.fn();
    catalog.onChange(changed);
    const servers = new Map([a, b].map((server) => [server.name, server]));
    await catalog.setServers(['a', 'b'], servers);
    expect(await names(catalog)).toEqual(['x', 'b_x']);
    await catalog.setServers(['b'], servers);
    expect(await names(catalog)).toEqual(['b_x']);
    expect(changed.mock.calls).toEqual([['tools'], ['tools']]);
    expect(a.listeners).toBe(0);
  });

  it('keeps names over a reload', async () => {
    const a = new FakeServer('a', [tool('x')]);
    const b = new FakeServer('b', [tool('x')]);
    const previous = catalogOf([b]);
    await previous.settled();
    const next = catalogOf([a, b], {}, { previous });
    expect(await names(next)).toEqual(['a_x', 'x']);
    expect(next.differs(previous)).toEqual(['tools']);
    expect(next.differs(next)).toEqual([]);
  });
});
