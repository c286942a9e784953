import { verifies } from '@tollgate/testkit/verifies';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TollgateError } from '../../core/errors.ts';
import { compile } from '../compile.ts';
import { explainConfig } from '../explain.ts';
import { loadText } from '../testing.ts';
import { formatGoDuration, parseGoDuration } from './duration.ts';
import { bucket, compileText, generatedFile } from './testing.ts';

const runs = process.env['TOLLGATE_PROOF'] === 'full' ? 20_000 : 1_000;

/** Manifests of one VirtualMCPServer with these members. */
function manifests(
  config: object,
  { spec = {}, members = ['gh', 'jira'] }: { spec?: object; members?: string[] } = {},
) {
  const group = { groupRef: { name: 'team' } };
  const head = (kind: string, name: string) => ({
    apiVersion: 'toolhive.stacklok.dev/v1beta1',
    kind,
    metadata: { name, namespace: 'default' },
  });
  const documents = [
    { ...head('MCPGroup', 'team'), spec: {} },
    ...members.map((name) => ({
      ...head('MCPServerEntry', name),
      spec: { ...group, remoteUrl: `https://${name}.example/mcp`, transport: 'streamable-http' },
    })),
    { ...head('VirtualMCPServer', 'vmcp'), spec: { ...group, incomingAuth: { type: 'anonymous' }, ...spec, config } },
  ];
  return documents.map((document) => JSON.stringify(document)).join('\n---\n');
}

const REDIS = { sessionStorage: { provider: 'redis', address: 'r:6379', db: 2 } };

describe('durations of Go', () => {
  it.each([
    ['1m', 60_000_000, '1m0s'],
    ['1m0s', 60_000_000, '1m0s'],
    ['1h30m', 5_400_000_000, '1h30m0s'],
    ['1.5h', 5_400_000_000, '1h30m0s'],
    ['.5s', 500_000, '500ms'],
    ['1500ms', 1_500_000, '1.5s'],
    ['250us', 250, '250µs'],
    ['250µs', 250, '250µs'],
    ['1500ns', 2, '2µs'],
    ['1ns', 1, '1µs'],
    ['0', 0, '0s'],
    ['-5s', -5_000_000, '-5s'],
    ['720h', 2_592_000_000_000, '720h0m0s'],
  ])('%s is %d microseconds, and printed %s', (text, micros, printed) => {
    verifies('R3-07');
    expect(parseGoDuration(text)).toBe(micros);
    expect(formatGoDuration(micros)).toBe(printed);
  });

  it.each([
    '',
    '1',
    'm',
    '1 m',
    '1d',
    '1m ',
    '1.m.',
    '--1s',
    '1e3s',
    '٣s',
    `${'9'.repeat(30)}h`,
  ])('%j is none', (text) => {
    expect(parseGoDuration(text)).toBeUndefined();
  });

  it('come back from what is printed', () => {
    void fc.assert(
      fc.property(fc.integer({ min: 0, max: 366 * 86_400_000_000 }), (micros) => {
        expect(parseGoDuration(formatGoDuration(micros))).toBe(micros);
      }),
      { numRuns: runs },
    );
  });
});

describe('rateLimiting', () => {
  it('becomes token buckets of exactly these numbers, whatever the period', () => {
    verifies('R3-01', 'R3-07', 'X3-01');
    const numbers = fc.record({
      tokens: fc.integer({ min: 1, max: 1_000_000_000 }),
      micros: fc.integer({ min: 1, max: 366 * 86_400_000_000 }),
      nested: fc.boolean(),
    });
    void fc.assert(
      fc.property(numbers, ({ tokens, micros, nested }) => {
        const text = formatGoDuration(micros);
        const shared = { maxTokens: tokens, refillPeriod: nested ? { duration: text } : text };
        const { limits } = generatedFile({ shared }).admission;
        expect(limits).toHaveLength(1);
        expect(limits[0]!.quota).toEqual({
          kind: 'rate',
          count: tokens,
          period: { kind: 'length', ms: micros / 1000 },
          burst: 0,
        });
      }),
      { numRuns: runs / 10 },
    );
  });

  it('keeps order, names and policies; a file without the block has no limit and no Redis', () => {
    verifies('R3-02', 'R3-09', 'R3-19', 'R3-17');
    const both = { shared: bucket(1, '1m'), perUser: bucket(2, '1m') };
    const config = generatedFile({
      tools: [
        { name: 'backend_b_x', ...both },
        { name: 'backend_a_y.z', ...both },
      ],
      ...both,
    });
    expect(config.admission.limits.map(({ name }) => name)).toEqual([
      'shared',
      'tool_backend_b_x_shared',
      expect.stringMatching(/^tool_backend_a_y-z_shared-[0-9a-f]{8}$/),
      'per_user',
      'tool_backend_b_x_per_user',
      expect.stringMatching(/^tool_backend_a_y-z_per_user-[0-9a-f]{8}$/),
    ]);
    for (const limit of config.admission.limits) {
      expect(limit).toMatchObject({
        on: ['tools/call'],
        onError: 'open',
        origin: 'toolhive',
        algorithm: 'token-bucket',
      });
      expect(limit.by).toEqual([limit.name.includes('per_user') ? 'principal' : 'everyone']);
    }
    expect([config.refusals, config.state.kind]).toEqual(['http', 'redis']);
    const free = generatedFile(undefined);
    expect([free.admission.limits, free.state.kind]).toEqual([[], 'memory']);
  });

  it('ToolHive 48: is the same from a manifest and from the file that is generated of it', () => {
    verifies('R3-31', 'R3-08');
    const rateLimiting = {
      shared: bucket(10, '1m'),
      tools: [{ name: 'gh_search', shared: bucket(3, '90s') }],
    };
    const servers = { gh: 'https://gh.example/mcp', jira: 'https://jira.example/mcp' };
    const nested = (maxTokens: number, duration: string) => ({ maxTokens, refillPeriod: { duration } });
    const generated = generatedFile(
      { shared: nested(10, '1m0s'), tools: [{ name: 'gh_search', shared: nested(3, '1m30s') }] },
      { auth: 'anonymous', servers, env: { VMCP_NAMESPACE: 'default' }, more: REDIS },
    );
    const manifest = compileText(manifests({ rateLimiting }, { spec: REDIS }));
    expect(manifest.admission.limits).toEqual(generated.admission.limits);
    expect(manifest.state).toEqual(generated.state);
    expect(manifest.servers).toEqual(generated.servers);
    expect(manifest.toolhive?.effective).toMatchObject(generated.toolhive!.effective.map(({ value }) => ({ value })));
  });

  it('ToolHive 54: is shown with its session storage as the operator generates it, with its place', () => {
    verifies('R3-07', 'R3-08', 'R3-06');
    const text = manifests({ rateLimiting: { shared: bucket(1, '1m') } }, { spec: REDIS });
    const loaded = loadText(text);
    const shown = explainConfig(loaded, compile(loaded.config, {})).filter(({ key }) => key.startsWith('toolhive.'));
    expect(shown.map(({ key, value }) => `${key} ${value}`)).toEqual([
      'toolhive.sessionStorage.provider redis',
      'toolhive.sessionStorage.address r:6379',
      'toolhive.sessionStorage.db 2',
      'toolhive.rateLimiting.shared.maxTokens 1',
      'toolhive.rateLimiting.shared.refillPeriod.duration 1m0s',
    ]);
    for (const { from } of shown) expect(from).toMatch(/^tollgate\.yaml:\d+:\d+$/);
  });

  it('ToolHive 51: users are accepted with OIDC and Redis; static tokens can stand in for them', () => {
    const config = generatedFile({ perUser: bucket(1, '1m') });
    expect(config.identity.entries.map(({ kind, name }) => [kind, name])).toEqual([
      ['bearer', 'alice'],
      ['bearer', 'bob'],
    ]);
  });

  it('ToolHive 53: a MCPServer needs authentication for users, and for nothing else', () => {
    const server = (rateLimiting: object | undefined, auth: object = {}) =>
      JSON.stringify({
        apiVersion: 'toolhive.stacklok.dev/v1beta1',
        kind: 'MCPServer',
        metadata: { name: 'math', annotations: 'oidcConfigRef' in auth ? { 'tollgate/bearers': 'alice=ALICE' } : {} },
        spec: { image: 'x', ...auth, ...REDIS, ...(rateLimiting === undefined ? {} : { rateLimiting }) },
        status: { url: 'http://127.0.0.1:9/mcp' },
      });
    const users = { perUser: bucket(1, '1m') };
    const oidc = { oidcConfigRef: { name: 'company' } };
    const counts = (text: string) => compileText(text).admission.limits.length;
    expect(counts(server(undefined))).toBe(0);
    expect(counts(server({ shared: bucket(1, '1m') }))).toBe(1);
    expect(counts(server(users, oidc))).toBe(1);
    expect(() => counts(server(users))).toThrow('rateLimiting.perUser requires authentication');
    expect(() => counts(server({ tools: [{ name: 'add', ...users }] }))).toThrow(
      'per-tool perUser rate limiting requires authentication (oidcConfigRef or externalAuthConfigRef)',
    );
  });
});

describe('Redis of a ToolHive file', () => {
  it('ToolHive 47 and 55: is named by namespace and name; the password is in the environment only', () => {
    verifies('R3-22', 'R3-26', 'R3-06', 'R3-08');
    const shared = { shared: bucket(1, '1m') };
    const of = (env: Record<string, string>) => generatedFile(shared, { more: REDIS, env }).state;
    expect(of({ VMCP_NAMESPACE: '' })).toMatchObject({
      target: { node: { host: 'r', port: 6379 } },
      database: 2,
      password: undefined,
      keys: { prefix: 'thv:rl', tag: 'local:vmcp' },
    });
    expect(of({ VMCP_NAMESPACE: 'prod' })).toMatchObject({ keys: { tag: 'prod:vmcp' } });
    const secret = 'redis-password-0123456789';
    expect(of({ THV_SESSION_REDIS_PASSWORD: secret })).toMatchObject({ password: secret });
    const plain = generatedFile(shared, { metadata: { 'tollgate/key-layout': 'tollgate' } });
    expect(plain.state).toMatchObject({ keys: { prefix: 'local:vmcp', tag: 'all' } });
    const loaded = loadText(manifests({ rateLimiting: shared }, { spec: REDIS }), {
      THV_SESSION_REDIS_PASSWORD: secret,
    });
    expect(JSON.stringify(explainConfig(loaded))).not.toContain(secret);
  });
});

describe('aggregation', () => {
  const endpointOf = (aggregation: object, more: object = {}) => {
    const config = compileText(manifests({ aggregation, ...more }));
    return config.endpoints.find(({ path }) => path === '/mcp')!.catalog;
  };

  it('decides names and order', () => {
    verifies('R3-10');
    expect(endpointOf({})).toMatchObject({ naming: 'prefix', servers: ['gh', 'jira'], allow: ['gh/*', 'jira/*'] });
    const priority = { conflictResolution: 'priority', conflictResolutionConfig: { priorityOrder: ['jira', 'gone'] } };
    expect(endpointOf(priority)).toMatchObject({ naming: 'priority', servers: ['jira', 'gh'] });
    const overrides = { search: { name: 'find' } };
    const manual = { conflictResolution: 'manual', tools: [{ workload: 'gh', overrides }] };
    expect([...endpointOf(manual).names]).toEqual([['gh/search', 'find']]);
    expect([...endpointOf({ tools: [{ workload: 'gh', overrides }] }).names]).toEqual([['gh/search', 'gh_find']]);
  });

  it('hides what is filtered, at every address', () => {
    const tools = [
      { workload: 'gh', filter: ['find', 'list'], overrides: { search: { name: 'find' } } },
      { workload: 'jira', excludeAll: true },
    ];
    const config = compileText(manifests({ aggregation: { tools } }));
    const allowed = config.endpoints.map(({ path, catalog }) => [path, catalog.allow]);
    const allow = ['gh/search', 'gh/list'];
    expect(allowed).toEqual([
      ['/mcp', allow],
      ['/s/gh', allow],
      ['/s/jira', allow],
    ]);
    expect(endpointOf({ excludeAllTools: true }).allow).toEqual([]);
    expect(endpointOf({ defaultToolVisibility: 'deny', tools: [{ workload: 'gh' }] }).allow).toEqual(['gh/*']);
  });

  it('R3-03: limits of tools follow the names that clients see', () => {
    verifies('R3-03', 'R3-15');
    const limited = (name: string, aggregation: object) =>
      compileText(
        manifests(
          { aggregation, rateLimiting: { tools: [{ name, shared: bucket(1, '1m') }] } },
          { spec: REDIS, members: ['a', 'a_b'] },
        ),
      ).admission.limits[0]!.tool;
    expect(limited('a_search', {})).toEqual(['a/search']);
    // Either server may have it; only one can own the name, and neither goes free.
    expect(limited('a_b_c', {})).toEqual(['a/b_c', 'a_b/c']);
    const tools = [{ workload: 'a', overrides: { search: { name: 'find' } } }];
    expect(limited('a_find', { tools })).toEqual(['a/search']);
    expect(() => limited('a_search', { tools })).toThrow('No tool can be called "a_search" here');
    const priority = { conflictResolution: 'priority', conflictResolutionConfig: { priorityOrder: ['a'] } };
    expect(limited('search', priority)).toEqual(['a/search', 'a_b/search']);
    expect(() => limited('search', {})).toThrow('No tool can be called "search" here');
  });
});

describe('servers', () => {
  it.each(['__proto__', 'constructor'])('cannot be called %s', (name) => {
    expect(() => generatedFile(undefined, { servers: Object.fromEntries([[name, 'http://127.0.0.1:1/mcp']]) })).toThrow(
      `"${name}" cannot be used as a name.`,
    );
    expect(Object.hasOwn(Object.prototype, 'url')).toBe(false);
  });

  it('get the headers that ToolHive would send, from the variables of its operator', () => {
    const document = (kind: string, name: string, spec: object) =>
      JSON.stringify({ apiVersion: 'toolhive.stacklok.dev/v1beta1', kind, metadata: { name }, spec });
    const group = { groupRef: { name: 'team' } };
    const text = [
      manifests({}, { members: [] }).split('\n---\n').at(-1)!,
      document('MCPRemoteProxy', 'api', {
        ...group,
        remoteUrl: 'https://api.example/mcp',
        externalAuthConfigRef: { name: 'api-key' },
        headerForward: {
          addPlaintextHeaders: { 'X-Team': 'blue' },
          addHeadersFromSecret: [{ headerName: 'X-Tenant', valueSecretRef: { name: 's', key: 'k' } }],
        },
      }),
      document('MCPExternalAuthConfig', 'api-key', {
        type: 'headerInjection',
        headerInjection: { headerName: 'X-Key', valueSecretRef: { name: 's', key: 'k' } },
      }),
    ].join('\n---\n');
    const env = {
      TOOLHIVE_HEADER_INJECTION_VALUE_API_KEY: 'key-value-0123456789',
      TOOLHIVE_SECRET_HEADER_FORWARD_X_TENANT_API: 'acme',
    };
    const [server] = compileText(text, env).servers;
    expect(server!.target).toMatchObject({
      headers: { 'X-Team': 'blue', 'X-Tenant': 'acme', 'X-Key': 'key-value-0123456789' },
    });
    expect(() => compileText(text, { ...env, TOOLHIVE_HEADER_INJECTION_VALUE_API_KEY: '' })).toThrow(
      'The environment variable TOOLHIVE_HEADER_INJECTION_VALUE_API_KEY is not set or empty.',
    );
  });

  it('by themselves are /mcp, or each at its own path', () => {
    const one = (name: string) =>
      `apiVersion: toolhive.stacklok.dev/v1alpha1\nkind: MCPServer\nmetadata: { name: ${name} }\nspec: { image: x, transport: stdio, proxyMode: sse, port: 9000 }\n`;
    const paths = (text: string) =>
      compileText(text).endpoints.flatMap(({ path, implicit }) => (implicit ? [] : [path]));
    expect(paths(one('math'))).toEqual(['/mcp']);
    expect(paths(`${one('math')}---\n${one('notes')}`)).toEqual(['/math/mcp', '/notes/mcp']);
    expect(compileText(one('math')).servers[0]).toMatchObject({
      protocol: 'sse',
      target: { url: new URL('http://mcp-math-proxy.local.svc.cluster.local:9000/sse') },
    });
  });

  it('keep their timeouts', () => {
    const operational = { timeouts: { default: '15s', perWorkload: { jira: '1m30s' } } };
    const servers = compileText(manifests({ operational })).servers;
    expect(servers.map(({ timeout }) => timeout.request)).toEqual([15_000, 90_000]);
  });
});

it('whatever a file of ToolHive holds, it is served or refused with a list of mistakes', () => {
  const leaf = fc.oneof(
    fc.constantFrom('redis', 'anonymous', 'oidc', 'team', 'gh', '1m', '', 'prefix', null, true, 0, -1, 1.5),
    fc.string({ maxLength: 8 }),
  );
  const key = fc.constantFrom(
    ...['name', 'groupRef', 'rateLimiting', 'shared', 'perUser', 'tools', 'maxTokens', 'refillPeriod', 'duration'],
    ...['incomingAuth', 'type', 'backends', 'url', 'aggregation', 'sessionStorage', 'provider', 'address', 'metadata'],
    ...['spec', 'config', 'kind', 'status', 'outgoingAuth', 'operational', 'timeouts', 'tollgate/bearers'],
  );
  const { tree } = fc.letrec<{ tree: unknown }>((tie) => ({
    tree: fc.oneof(
      { maxDepth: 4 },
      leaf,
      fc.array(tie('tree'), { maxLength: 3 }),
      fc.dictionary(key, tie('tree'), { maxKeys: 5 }),
    ),
  }));
  const heads = fc.constantFrom(
    { groupRef: 'team', incomingAuth: { type: 'anonymous' } },
    ...['VirtualMCPServer', 'MCPServer', 'MCPServerEntry', 'List'].map((kind) => ({
      apiVersion: 'toolhive.stacklok.dev/v1beta1',
      kind,
      metadata: { name: 'gh' },
    })),
  );
  const document = fc
    .tuple(heads, fc.dictionary(key, tree, { maxKeys: 6 }))
    .map(([head, rest]) => ({ ...rest, ...head }));
  void fc.assert(
    fc.property(fc.array(document, { minLength: 1, maxLength: 3 }), (documents) => {
      const text = documents.map((one) => JSON.stringify(one)).join('\n---\n');
      try {
        compileText(text);
      } catch (error) {
        expect(TollgateError.is(error) && error.code).toBe('config_invalid');
      }
    }),
    { numRuns: runs / 4 },
  );
});
