/** Rules of `access` over real sockets: what is hidden, what is refused, and that neither can be told from what is not there. */
import { verifies } from '@tollgate/testkit/verifies';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type Answer,
  type CallOptions,
  type ScriptedServer,
  startGateway,
  startScripted,
  type TestGateway,
  tool,
} from './testing.ts';

const hints = { ttlMs: 60_000, cacheScope: 'public' };
const bearer = (name: string, more: object = {}) => ({
  name,
  bearer: { token: `token-of-${name}-0123456789`, subject: name, ...more },
});
const as = (name: string, more: CallOptions = {}): CallOptions => ({ token: `token-of-${name}-0123456789`, ...more });

async function scripted(name: string): Promise<ScriptedServer> {
  const server = await startScripted({
    'server/discover': () => ({
      supportedVersions: ['2026-07-28'],
      capabilities: {
        tools: {},
        prompts: {},
        resources: { subscribe: true },
        completions: {},
        extensions: { vendor: {} },
      },
      instructions: `How to use ${name}.`,
      ...hints,
    }),
    'tools/list': () => ({ tools: ['read', 'write', 'drop'].map((one) => tool(one)), ...hints }),
    'prompts/list': () => ({ prompts: [{ name: 'greet' }], ...hints }),
    'resources/list': () => ({
      resources: [
        { uri: `${name}:open`, name: 'open' },
        { uri: `${name}:shut`, name: 'shut' },
      ],
      ...hints,
    }),
    'resources/templates/list': () => ({
      resourceTemplates: [
        { uriTemplate: `${name}:doc/{id}`, name: 'doc' },
        { uriTemplate: `${name}:log/{id}`, name: 'log' },
        { uriTemplate: `${name}:tree/{+path}`, name: 'tree' },
      ],
      ...hints,
    }),
    'resources/read': (params) => ({ contents: [{ uri: params['uri'], text: 'read' }] }),
    'prompts/get': () => ({ messages: [] }),
    'completion/complete': () => ({ completion: { values: [] } }),
    'vendor/all': () => ({ told: 'all' }),
  });
  return server;
}

const RULES = [
  { who: 'role:engineer', may: ['a/read', 'a/write', 'a/greet', 'a/a:open', 'a/a:doc/*'] },
  { who: 'tenant:acme', may: 'b/*', on: 'tools/call', when: 'size(args.pages) < 3' },
  { who: ['lead/*'], may: '*' },
  { who: 'everyone', may: 'a/read', when: "caller.tier == 'gold' && caller.scopes.exists(s, s == 'gold')" },
  { who: 'tier:silver', may: 'a/drop', endpoint: '/team' },
  { who: 'role:reader', may: ['a/a:tree/public/*'] },
  { who: 'role:reader', may: 'a/a:open', when: 'args.really == true' },
  { who: 'entry:odd', may: 'a/*', when: "tool == 'a/drop' && caller.id == 'odd/odd'" },
];

let a: ScriptedServer;
let b: ScriptedServer;
let gateway: TestGateway;

beforeAll(async () => {
  [a, b] = await Promise.all([scripted('a'), scripted('b')]);
  gateway = await startGateway({
    servers: { a: { url: a.url }, b: { url: b.url } },
    endpoints: { '/mcp': { servers: '*', naming: 'prefix' }, '/team': { servers: ['a'], scope: 'team' } },
    tiers: { gold: {}, silver: {} },
    auth: [
      bearer('engineer', { roles: ['engineer'], tenant: 'zeta' }),
      bearer('acme', { tenant: 'acme' }),
      bearer('lead'),
      bearer('gold', { tier: 'gold', scopes: ['gold'] }),
      bearer('plain', { tier: 'gold' }),
      bearer('silver', { tier: 'silver', scopes: ['team'] }),
      bearer('odd'),
      bearer('reader', { roles: ['reader'] }),
    ],
    access: RULES,
  });
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await Promise.all([a[Symbol.asyncDispose](), b[Symbol.asyncDispose]()]);
});

const listed = async (who: string, kind: string, options: CallOptions = {}): Promise<string[]> => {
  const methods: Record<string, string> = { templates: 'resources/templates/list' };
  const { body } = await gateway.call(methods[kind] ?? `${kind}/list`, {}, as(who, options));
  const list = body.result?.[kind === 'templates' ? 'resourceTemplates' : kind] as Record<string, string>[];
  return list.map((entry) => entry['uriTemplate'] ?? entry['uri'] ?? entry['name']!);
};
const seen = (): number => a.seen.length + b.seen.length;
/** What a caller can tell of an answer, with the name asked for taken out. */
const shape = ({ status, body }: Answer, name: string): string =>
  JSON.stringify({ status, error: body.error })
    .replaceAll(name, 'NAME')
    .replaceAll(/tg-[\w-]+/g, 'ID');

describe('rules of access', () => {
  it('show each caller what some rule gives it, in every list', async () => {
    verifies('R2-15');
    expect(await listed('engineer', 'tools')).toEqual(['a_read', 'a_write']);
    expect(await listed('engineer', 'prompts')).toEqual(['a_greet']);
    expect(await listed('engineer', 'resources')).toEqual(['a:open']);
    expect(await listed('engineer', 'templates')).toEqual(['a:doc/{id}']);
    expect(await listed('acme', 'tools')).toEqual(['b_read', 'b_write', 'b_drop']);
    expect(await listed('acme', 'prompts')).toEqual([]);
    expect(await listed('acme', 'resources')).toEqual([]);
    expect(await listed('lead', 'tools')).toHaveLength(6);
    expect(await listed('gold', 'tools')).toEqual(['a_read']);
    expect(await listed('plain', 'tools')).toEqual([]);
    expect(await listed('silver', 'tools')).toEqual([]);
    expect(await listed('silver', 'tools', { path: '/team' })).toEqual(['drop']);
    expect(await listed('odd', 'tools')).toEqual(['a_drop']);
  });

  it('keep a list of theirs from being shared', async () => {
    for (const who of ['engineer', 'lead']) {
      expect((await gateway.call('tools/list', {}, as(who))).body.result).toMatchObject({ cacheScope: 'private' });
    }
  });

  it('keep back the words of servers that are not for the caller', async () => {
    const told = async (who: string) =>
      (await gateway.call('server/discover', {}, as(who))).body.result?.['instructions'];
    expect(await told('engineer')).not.toContain('How to use b.');
    expect(await told('lead')).toContain('How to use b.');
  });

  it.each([
    ['tools/call', 'name', 'a_drop', 'a_nope'],
    ['tools/call', 'name', 'b_read', 'b_nope'],
    ['prompts/get', 'name', 'b_greet', 'b_nope'],
    ['resources/read', 'uri', 'a:shut', 'a:nope'],
    ['resources/read', 'uri', 'a:log/1', 'a:nope/1'],
  ])('make %s of what is hidden look like what does not exist: %s %s', async (method, key, hidden, missing) => {
    verifies('R1-21');
    const before = seen();
    const answers = [hidden, missing].map(async (name) =>
      shape(await gateway.call(method, { [key]: name, arguments: {} }, as('engineer')), name),
    );
    const [one, other] = await Promise.all(answers);
    expect(one).toBe(other);
    expect(one).toContain('-32602');
    expect(seen()).toBe(before);
  });

  it('let a URI of a template through only where a rule matches the URI', async () => {
    expect((await gateway.call('resources/read', { uri: 'a:doc/7' }, as('engineer'))).body.result).toBeDefined();
    const literal = await gateway.call('resources/read', { uri: 'a:doc{id}' }, as('engineer'));
    expect(literal.body.error?.code).toBe(-32602);
  });

  it.each([
    'a:tree/public/../private/key',
    'a:tree/public/%2e%2e/private/key',
    'a:tree/public/..%2f..%2fprivate/key',
    'a:tree/public/%252e%252e/private/key',
    'a:tree/public/..',
  ])('let no URI through that names one place and means another: %s', async (uri) => {
    const read = (one: string) => gateway.call('resources/read', { uri: one }, as('reader'));
    expect((await read('a:tree/public/a%20b/c..d')).body.result).toBeDefined();
    const before = seen();
    expect(shape(await read(uri), uri)).toBe(shape(await read('a:nope'), 'a:nope'));
    expect(seen()).toBe(before);
  });

  it('see no arguments in the reading of a resource, whatever the client writes there', async () => {
    const params = { uri: 'a:open', arguments: { really: true } };
    const { body } = await gateway.call('resources/read', params, as('reader'));
    expect(body.error?.data?.['reason']).toBe('access_denied');
  });

  it('decide on arguments with the name in sight: code 403, nothing sent, a failing condition denies', async () => {
    const call = (args: object) => gateway.call('tools/call', { name: 'b_read', arguments: args }, as('acme'));
    expect((await call({ pages: [1, 2] })).body.result).toMatchObject({ content: [{ text: 'ran' }] });
    const before = seen();
    for (const args of [{ pages: [1, 2, 3] }, {}, { pages: 7 }]) {
      const { status, body } = await call(args);
      expect([status, body.error?.code, body.error?.data?.['reason']]).toEqual([200, 403, 'access_denied']);
      expect(body.error?.data).toMatchObject({ executed: 'no' });
    }
    expect(seen()).toBe(before);
  });

  it('cover completions, subscriptions and methods that name nothing', async () => {
    const complete = (name: string) =>
      gateway.call(
        'completion/complete',
        { ref: { type: 'ref/prompt', name }, argument: { name: 'x', value: '' } },
        as('engineer'),
      );
    expect((await complete('a_greet')).body.result).toBeDefined();
    expect(shape(await complete('b_greet'), 'b_greet')).toBe(shape(await complete('b_nope'), 'b_nope'));
    const filled = (uri: string) =>
      gateway.call(
        'completion/complete',
        { ref: { type: 'ref/resource', uri }, argument: { name: 'id', value: '' } },
        as('engineer'),
      );
    expect((await filled('a:doc/{id}')).body.result).toBeDefined();
    for (const hidden of ['a:log/{id}', 'a:shut', 'a:log/7']) {
      const answer = shape(await filled(hidden), hidden);
      expect(answer).toContain('-32602');
      expect(answer).toBe(shape(await filled('a:nope'), 'a:nope'));
    }
    const vendor = (who: string) => gateway.call('vendor/all', {}, as(who, { path: '/s/a' }));
    expect((await vendor('lead')).body.result).toMatchObject({ told: 'all' });
    expect((await vendor('engineer')).body.error?.code).toBe(-32601);
  });

  it('leave scopes as they are: who lacks the one of the endpoint is told so, whatever it asks for', async () => {
    verifies('R1-19');
    for (const name of ['drop', 'nope']) {
      const { status, headers } = await gateway.call('tools/call', { name }, as('lead', { path: '/team' }));
      expect([status, headers.get('www-authenticate')]).toEqual([403, expect.stringContaining('scope="team"')]);
    }
    // Also for lists: an empty one would say that there is nothing. The handshake stays open.
    for (const method of ['tools/list', 'prompts/list', 'resources/list', 'resources/templates/list']) {
      const { status, headers } = await gateway.call(method, {}, as('lead', { path: '/team' }));
      expect([method, status, headers.get('www-authenticate')]).toEqual([
        method,
        403,
        expect.stringContaining('error="insufficient_scope", scope="team"'),
      ]);
    }
    expect(
      (await gateway.call('subscriptions/listen', { notifications: {} }, as('lead', { path: '/team' }))).status,
    ).toBe(403);
    expect((await gateway.call('server/discover', {}, as('lead', { path: '/team' }))).status).toBe(200);
  });

  it('change with a reload, for lists and calls at once; an empty list is nobody', async () => {
    const config = (access?: object[]) => ({
      servers: { a: { url: a.url } },
      auth: [bearer('engineer', { roles: ['engineer'] })],
      ...(access === undefined ? {} : { access }),
    });
    await using own = await startGateway(config([]));
    expect(await own.names('tools', as('engineer'))).toEqual([]);
    expect((await own.call('tools/call', { name: 'read' }, as('engineer'))).body.error?.code).toBe(-32602);
    await own.reload(config([{ who: 'role:engineer', may: 'a/read' }]));
    expect(await own.names('tools', as('engineer'))).toEqual(['read']);
    await own.reload(config());
    expect(await own.names('tools', as('engineer'))).toEqual(['read', 'write', 'drop']);
  });
});

describe('methods that name nothing', () => {
  it('need every scope of the routes to their server', async () => {
    verifies('R1-19');
    await using own = await startGateway({
      servers: { a: { url: a.url } },
      routes: [{ tool: 'drop', to: 'a', scope: 'admin:run' }, { to: 'a' }],
      auth: [bearer('in', { scopes: ['admin:*'] }), bearer('out')],
    });
    expect((await own.call('vendor/all', {}, as('in'))).body.result).toMatchObject({ told: 'all' });
    const refused = await own.call('vendor/all', {}, as('out'));
    expect([refused.status, refused.headers.get('www-authenticate')]).toEqual([
      403,
      expect.stringContaining('scope="admin:run"'),
    ]);
  });
});
