import { verifies } from '@tollgate/testkit/verifies';
import { describe, expect, it } from 'vitest';
import { compile } from './compile.ts';
import { parseConfigObject } from './load.ts';
import type { ConfigInput } from './schema.ts';
import { loadText } from './testing.ts';

const of = (input: ConfigInput) =>
  compile(parseConfigObject(input, { baseDir: '/project', env: { HOME: '/home/ada' } }), { HOME: '/home/ada' });
const server = { files: { command: 'npx' } };

describe('compile', () => {
  it('gives every server its complete options', () => {
    verifies('R1-47');
    const { servers } = of({
      servers: {
        local: { command: './bin/server', args: ['-v'], env: { A: 'b' }, cwd: 'sub' },
        web: {
          url: 'https://web.example/mcp',
          headers: { 'x-a': 'b' },
          type: 'sse',
          timeout: { request: '3s' },
          pool: { max: 3 },
        },
        signed: { url: 'https://signed.example/mcp', auth: 'oauth', protocol: 'modern' },
        alone: { command: 'x', instances: 'shared' },
        several: { command: 'x', instances: { max: 2, idle: '1m' } },
      },
    });
    expect(servers[0]).toEqual({
      name: 'local',
      target: { kind: 'stdio', command: '/project/bin/server', args: ['-v'], env: { A: 'b' }, cwd: '/project/sub' },
      protocol: 'auto',
      auth: undefined,
      // Defaults of the product (X1-01): connect 5 s, the whole call 30 s, 10 connections.
      timeout: { connect: 5000, firstByte: 30_000, idle: 30_000, request: 30_000 },
      instances: { mode: 'auto', max: 8, idle: 300_000 },
      pool: { max: 10 },
      maxResponse: 64 * 1024 * 1024,
    });
    verifies('X1-01');
    expect(servers[1]).toMatchObject({
      target: { kind: 'http', url: new URL('https://web.example/mcp'), headers: { 'x-a': 'b' } },
      protocol: 'sse',
      timeout: { connect: 3000, firstByte: 3000, idle: 3000, request: 3000 },
      pool: { max: 3 },
    });
    expect(servers[2]).toMatchObject({ protocol: 'modern', auth: { kind: 'oauth', mode: 'gateway' } });
    expect(servers[3]!.instances).toEqual({ mode: 'shared', max: 8, idle: 300_000 });
    expect(servers[4]!.instances).toEqual({ mode: 'auto', max: 2, idle: 60_000 });
  });

  it('serves every server at /mcp and alone, unless endpoints are written', () => {
    const paths = (input: ConfigInput) => of(input).endpoints.map(({ path, catalog }) => [path, catalog.servers]);
    const servers = { b: { command: 'x' }, a: { command: 'x' } };
    expect(paths({ servers })).toEqual([
      ['/mcp', ['b', 'a']],
      ['/s/b', ['b']],
      ['/s/a', ['a']],
    ]);
    expect(paths({ servers, endpoints: { '/team': { servers: ['a'] } } })).toEqual([
      ['/team', ['a']],
      ['/s/b', ['b']],
      ['/s/a', ['a']],
    ]);
  });

  it('groups several servers into one endpoint by reference', () => {
    verifies('R3-10');
    const { endpoints } = of({
      servers: { a: { command: 'x' }, b: { command: 'x' }, c: { command: 'x' } },
      tools: { 'c/find': { as: 'search' } },
      endpoints: {
        '/group': {
          servers: ['c', 'a'],
          naming: 'prefix',
          tools: { allow: ['c/*', 'read_*'], deny: ['a/drop'] },
          onUnavailable: 'fail',
          listTimeout: '2s',
          scope: 'team',
          refusals: 'http',
        },
      },
    });
    expect(endpoints[0]).toEqual({
      path: '/group',
      catalog: {
        endpoint: '/group',
        servers: ['c', 'a'],
        naming: 'prefix',
        allow: ['c/*', '*/read_*'],
        deny: ['a/drop'],
        names: new Map([['c/find', 'search']]),
        onUnavailable: 'fail',
        listTimeout: 2000,
      },
      scope: 'team',
      refusals: 'http',
      implicit: false,
    });
  });

  it('allows everything for "*", nothing for an empty list', () => {
    const allow = (tools: { allow?: '*' | string[] }) =>
      of({ servers: server, endpoints: { '/a': { tools } } }).endpoints[0]!.catalog.allow;
    expect(allow({})).toBeUndefined();
    expect(allow({ allow: '*' })).toBeUndefined();
    expect(allow({ allow: [] })).toEqual([]);
  });

  it('keeps routes in file order', () => {
    const { routes } = of({
      servers: { a: { command: 'x' }, b: { command: 'x' } },
      routes: [
        { tool: 'math_*', to: 'a', scope: 'calculate', timeout: '5s' },
        { resource: 'data://*', to: ['b', 'a'] },
        { to: 'b' },
      ],
    });
    const none = { tool: undefined, resource: undefined, prompt: undefined, scope: undefined, timeout: undefined };
    expect(routes).toEqual([
      { ...none, tool: 'math_*', to: ['a'], scope: 'calculate', timeout: 5000 },
      { ...none, resource: 'data://*', to: ['b', 'a'] },
      { ...none, to: ['b'] },
    ]);
  });

  it('lets anybody on this machine call when no auth is written, and nobody when the list is empty', () => {
    expect(of({ servers: server }).identity).toEqual({
      entries: [{ kind: 'anonymous', name: 'anonymous', tier: undefined }],
      endpointEntries: new Map(),
      loopback: true,
    });
    expect(of({ servers: server, auth: [] }).identity.entries).toEqual([]);
  });

  it('hands over auth entries and who may use which endpoint', () => {
    const { identity } = of({
      servers: server,
      listen: '10.0.0.1:7117',
      auth: [
        {
          name: 'ci',
          bearer: { token: 'a-token-of-16-chars', roles: ['operator'], scopes: ['a'], tenant: 't', tier: 'gold' },
        },
        { anonymous: { public: true, tier: 'basic' } },
      ],
      endpoints: { '/a': { auth: ['ci'] }, '/b': { auth: [] }, '/c': {} },
    });
    expect(identity).toEqual({
      entries: [
        {
          kind: 'bearer',
          name: 'ci',
          token: 'a-token-of-16-chars',
          subject: 'ci',
          tenant: 't',
          tier: 'gold',
          roles: ['operator'],
          scopes: ['a'],
        },
        { kind: 'anonymous', name: 'anonymous', tier: 'basic' },
      ],
      endpointEntries: new Map([
        ['/a', ['ci']],
        ['/b', []],
      ]),
      loopback: false,
    });
  });

  it('looks at the end of tokens with a skew of 60 s, and grants a static token nothing, unless told', () => {
    verifies('X1-06');
    const jwt = { issuer: 'dev', secret: '9f3c1a7be2d84c06b5e7f1a2c3d40b68' };
    const entriesOf = (more: object) =>
      of({ servers: server, auth: [{ name: 'dev', jwt: { ...jwt, ...more } }] }).identity.entries;
    expect(entriesOf({})).toMatchObject([
      { keys: { kind: 'secret' }, rules: { issuer: 'dev', algorithms: ['HS256'], skew: 60_000, verifyExpiry: true } },
    ]);
    expect(entriesOf({ skew: '5s', verifyExpiry: false, audience: 'api' })).toMatchObject([
      { rules: { skew: 5_000, verifyExpiry: false, audience: ['api'] } },
    ]);
    const auth = [{ name: 'ci', bearer: { token: 'a-token-of-16-chars' } }];
    expect(of({ servers: server, auth }).identity.entries).toMatchObject([{ subject: 'ci', roles: [], scopes: [] }]);
  });

  it('knows which hosts and origins are meant', () => {
    expect(
      of({ servers: server, publicUrl: 'https://gw.example:8443/', allowedHosts: ['OTHER.example', '::1'] }).inbound,
    ).toMatchObject({
      host: '127.0.0.1',
      port: 7117,
      allowedHosts: ['other.example', '[::1]', 'gw.example'],
      allowedOrigins: ['https://gw.example:8443'],
      attachSocket: expect.stringMatching(/attach\.sock$/),
    });
    const auth = [{ name: 'ci', bearer: { token: 'a-token-of-16-chars' } }];
    expect(of({ servers: server, listen: '[2001:db8::1]:80', auth }).inbound.allowedHosts).toEqual(['[2001:db8::1]']);
  });

  it('puts the admin surfaces on loopback whenever the endpoints are beyond it', () => {
    const auth = [{ name: 'ci', bearer: { token: 'a-token-of-16-chars' } }];
    expect(of({ servers: server, listen: '127.0.0.1:80' }).admin).toEqual({ host: '127.0.0.1', port: 80 });
    expect(of({ servers: server, listen: '10.0.0.1:80', auth }).admin).toEqual({ host: '127.0.0.1', port: 7118 });
  });

  it('bounds the streams of one principal beyond loopback only', () => {
    const auth = [{ name: 'ci', bearer: { token: 'a-token-of-16-chars' } }];
    expect(of({ servers: server }).inbound.caps).toMatchObject({
      streams: 20_000,
      streamsPerPrincipal: 20_000,
      string: 4 * 1024 * 1024,
    });
    expect(of({ servers: server, listen: '10.0.0.1:80', auth }).inbound.caps.streamsPerPrincipal).toBe(1000);
    expect(of({ servers: server, caps: { body: '1MiB' } }).inbound.caps.string).toBe(1024 * 1024);
  });

  it('finds a short place for the attach socket', () => {
    const deep = `/${'d'.repeat(120)}`;
    const config = parseConfigObject({ servers: server, dataDir: deep }, { env: {} });
    const path = compile(config, { XDG_RUNTIME_DIR: '/run/user/1' }).inbound.attachSocket!;
    expect(path).toMatch(/^\/run\/user\/1\/tollgate\/[0-9a-f]{16}\.sock$/);
    expect(compile(config, { HOME: '/home/ada' }).inbound.attachSocket).toMatch(/^\/home\/ada\/\.cache\/tollgate\//);
  });

  it('is frozen to its leaves', () => {
    const compiled = of({
      servers: { files: { command: 'npx', args: ['a'] } },
      limits: { a: { by: 'everyone', limit: '1/s' } },
    });
    for (const part of [
      compiled,
      compiled.servers,
      compiled.servers[0]!.target,
      compiled.endpoints[0]!.catalog.servers,
      compiled.inbound.caps,
      compiled.admission.limits[0]!.by,
    ]) {
      expect(Object.isFrozen(part)).toBe(true);
    }
  });
});

describe('settings of tools', () => {
  const { tools } = compile(
    loadText(`
servers: { a: { command: x }, b: { command: x } }
tools:
  a/*: { timeout: 5s, validate: true }
  a/read_*: { timeout: 6s }
  a/read_file: { timeout: 7s }
  b/x: { as: y }
`).config,
    {},
  );

  it('come from the most specific pattern, each value by itself', () => {
    expect(tools.of('a/other')).toEqual({ timeout: 5000, validate: true });
    expect(tools.of('a/read_dir')).toEqual({ timeout: 6000, validate: true });
    expect(tools.of('a/read_file')).toEqual({ timeout: 7000, validate: true });
    expect(tools.of('b/x')).toEqual({ timeout: undefined, validate: undefined });
  });

  it('cost nothing where none are written', () => {
    expect(tools.any).toBe(true);
    expect(of({ servers: server }).tools.any).toBe(false);
  });
});
