import { describe, expect, it } from 'vitest';
import { compile } from './compile.ts';
import { diffConfigs } from './diff.ts';
import { explainConfig, formatExplanation } from './explain.ts';
import { explainCall, formatCall } from './explain-call.ts';
import { describeLimits } from './explain-limits.ts';
import { leavesOf } from './leaves.ts';
import { maskUrl, redactConfig } from './redact.ts';
import { loadText } from './testing.ts';

const env = { TOKEN: 'value-of-TOKEN-0123456789', KEY: 'value-of-KEY-0123456789' };
const full = `
servers:
  files: { command: npx, args: [-y, pkg, --api-key, value-of-arg, --token=value-of-arg], env: { A: value-of-A, B: "\${env:KEY}" } }
  web: { url: "https://user:value-of-pw@web/mcp?api_key=value-of-q&x=1", headers: { Authorization: "Bearer \${env:TOKEN}", X: "value-of-\${env:KEY}", Y: "\${env:NONE:-value-of-default}" }, timeout: { request: 1m } }
  path: { url: "https://path/\${env:KEY}/mcp" }
endpoints: { /mcp: {}, /team: { servers: [files], tools: { deny: ["files/delete_*"] }, auth: [ci], scope: team } }
tools: { files/read: { timeout: 5s, validate: true } }
routes: [{ tool: "files/*", to: files, scope: read, timeout: 7s }, { to: [web, path] }]
auth: [{ name: ci, bearer: { token: "\${env:TOKEN}", scopes: [read, team] } }, { name: low, bearer: { token: value-of-literal-token } }, { anonymous: true }]
limits: { calls: { by: principal, limit: 30/min, burst: 10 }, web: { tool: "web/*", by: [tool, server], limit: 120/60s, endpoint: /mcp } }
`;
const loaded = loadText(full, env);

describe('redaction', () => {
  it('shows no secret, and what came from a variable as it was written', () => {
    const shown = redactConfig(loaded.config, loaded.source);
    expect(JSON.stringify(shown)).not.toMatch(/value-of/);
    expect(shown).toMatchObject({
      servers: {
        files: {
          args: ['-y', 'pkg', '--api-key', '[redacted]', '--token=[redacted]'],
          env: { A: '[redacted]', B: '${env:KEY}' },
        },
        web: {
          headers: { Authorization: 'Bearer ${env:TOKEN}', X: '[redacted]', Y: '[redacted]' },
          timeout: { request: '1m' },
        },
        path: { url: 'https://path/${env:KEY}/mcp' },
      },
      auth: [{ bearer: { token: '${env:TOKEN}' } }, { bearer: { token: '[redacted]' } }, { anonymous: true }],
    });
  });

  it('masks every secret even without the source, as in the library', () => {
    const shown = JSON.stringify(redactConfig(loaded.config).auth);
    expect(shown).not.toMatch(/value-of/);
  });

  it('follows the marks of the schema', () => {
    const marked = leavesOf(loaded.config).filter((leaf) => leaf.secret);
    expect(marked.map(({ path }) => path.join('.'))).toEqual([
      'servers.files.env.A',
      'servers.files.env.B',
      'servers.web.headers.Authorization',
      'servers.web.headers.X',
      'servers.web.headers.Y',
      'auth.0.bearer.token',
      'auth.1.bearer.token',
    ]);
  });

  it('masks credentials in URLs and leaves the rest alone', () => {
    expect(maskUrl('https://u:p@h/x?token=t&y=1')).toBe('https://redacted:redacted@h/x?token=redacted&y=1');
    expect(maskUrl('https://h/x?y=1')).toBe('https://h/x?y=1');
  });
});

describe('explain', () => {
  const values = new Map(explainConfig(loaded).map((value) => [value.key, value]));

  it('gives each value with its place, its variables, or "default"', () => {
    expect(values.get('servers.web.timeout.request')).toMatchObject({
      value: '1m',
      from: expect.stringMatching(/^tollgate\.yaml:4:\d+$/),
    });
    expect(values.get('servers.web.timeout.idle')).toMatchObject({ value: '1m', from: 'default' });
    expect(values.get('servers.web.headers.Authorization')!.from).toMatch(/^tollgate\.yaml:4:\d+, variable TOKEN$/);
    expect(values.get('servers.web.headers.Y')!.from).toMatch(/NONE is not set$/);
    expect(values.get('listen')).toMatchObject({ value: '127.0.0.1:7117', from: 'default' });
    expect(values.get('limits.calls.limit')!.value).toBe('30/min');
    expect(values.get('caps.body')!.value).toBe('4MiB');
  });

  it('holds no secret', () => {
    expect(formatExplanation([...values.values()])).not.toMatch(/value-of/);
  });

  it('names the command line for an address that it gave', () => {
    const other = { ...loaded, source: { ...loaded.source, overridden: ['listen'] } };
    expect(explainConfig(other).find(({ key }) => key === 'listen')!.from).toBe('command line');
  });

  it('prints what a limit lets through', () => {
    expect(describeLimits(compile(loaded.config))).toEqual([
      'calls: steady 30/min, at once 40, worst minute 70, one counter for each principal',
      'web: steady 120/min, at once 120, worst minute 240, one counter for each tool and server',
    ]);
  });
});

describe('explain of a call', () => {
  it('says where it is allowed, which route, deadline and limits apply', () => {
    expect(formatCall(explainCall(loaded, { caller: 'ci', tool: 'files/read' }))).toMatchInlineSnapshot(`
      "ci/ci calls files/read:
        at /mcp: allowed
        at /team: allowed
        at /s/files: allowed
        route: to files, needs the scope read (tollgate.yaml:8:10)
        deadline: 5s for the whole call (tools)
        arguments are checked against the input schema first
        limit calls: steady 30/min, at once 40, worst minute 70, one counter for each principal (tollgate.yaml:10:11)"
    `);
  });

  it('says what refuses it', () => {
    const at = (caller: string, tool: string) => {
      const call = explainCall(loaded, { caller, tool });
      return [call.refused, ...call.endpoints.map(({ path, refused }) => `${path}: ${refused}`)];
    };
    expect(at('low/low', 'files/read')).toEqual([
      'the route needs the scope read, which low/low has not (403)',
      '/mcp: undefined',
      '/team: does not accept the auth entry low (401)',
      '/s/files: undefined',
    ]);
    expect(at('ci/ci', 'files/delete_all')).toContain('/team: hidden by deny "files/delete_*"');
    expect(at('local/ada', 'files/read')).toContain('/team: needs the scope team (403)');
    const closed = loadText('servers: { a: { command: x }, b: { command: x } }\nroutes: [{ to: a }]\n');
    expect(explainCall(closed, { tool: 'b/x' }).refused).toContain('no route takes b/x');
  });

  it('counts a limit only where it applies', () => {
    const names = (tool: string) =>
      explainCall(loaded, { caller: 'ci', tool }).limits.map(({ name, endpoints }) => [name, endpoints]);
    expect(names('web/find')).toEqual([
      ['calls', ['/mcp', '/s/web']],
      ['web', ['/mcp']],
    ]);
  });

  it('names the rule of access that decides, and what is missing where none does', () => {
    const rules = loadText(
      `
servers: { files: { command: x } }
auth:
  - { name: ci, bearer: { token: "\${env:TOKEN}", roles: [engineer] } }
  - { name: boss, bearer: { token: "\${env:TOKEN2}" } }
access:
  - { who: role:engineer, may: files/read, when: "args.n < 3" }
  - { who: boss/boss, may: "*" }
  - { who: everyone, may: files/list, endpoint: /s/files }
`,
      { TOKEN: 'token-of-ci-0123456789', TOKEN2: 'token-of-boss-0123456789' },
    );
    const at = (caller: string, tool: string) => {
      const { endpoints } = explainCall(rules, { caller, tool });
      return endpoints.map(({ refused, access }) => refused ?? access);
    };
    expect(at('ci', 'files/read')[0]).toBe('shown; a call is allowed by access[0] (role:engineer) when args.n < 3');
    expect(at('boss', 'files/read')[0]).toBe('allowed by access[1] (boss/boss)');
    expect(at('ci', 'files/list')).toEqual([
      'hidden by `access`: access[1] is for boss/boss; access[2] is for /s/files',
      'allowed by access[2] (everyone)',
    ]);
    expect(at('ci', 'files/write')[0]).toBe('hidden by `access`: access[1] is for boss/boss');
  });

  it('counts what a key says when it is told, says that it does not know otherwise, and adds nothing to a fixed caller', () => {
    const rules = loadText(
      `
servers: { files: { command: x } }
auth: [{ name: keys, keys: {} }, { name: ci, bearer: { token: "\${env:TOKEN}" } }]
access: [{ who: role:engineer, may: files/read }, { who: "tenant:acme", may: files/list }]
`,
      { TOKEN: 'token-of-ci-0123456789' },
    );
    const ask = (tool: string, said?: object) => explainCall(rules, { caller: 'keys/ada', tool, said });
    expect(ask('files/read').endpoints[0]!.refused).toContain('is for role:engineer');
    expect(formatCall(ask('files/read'))).toContain('add --roles');
    expect(ask('files/read', { roles: ['engineer'] }).endpoints[0]!.refused).toBeUndefined();
    expect(formatCall(ask('files/read', { roles: ['engineer'] }))).not.toContain('add --roles');
    expect(ask('files/list', { tenant: 'acme' }).endpoints[0]!.refused).toBeUndefined();
    const within = explainCall(rules, { caller: 'keys@acme/ada', tool: 'files/list' });
    expect([within.caller, within.endpoints[0]!.refused]).toEqual(['keys@acme/ada', undefined]);
    expect(ask('files/list', { tenant: 'acme' }).caller).toBe('keys@acme/ada');
    const other = { caller: 'keys@acme/ada', tool: 'files/list', said: { tenant: 'beta' } };
    expect(() => explainCall(rules, other)).toThrow(/is of the tenant acme/);
    const fixed = { caller: 'ci', tool: 'files/read', said: { roles: ['engineer'] } };
    expect(() => explainCall(rules, fixed)).toThrow(/ci\/ci may stands in the configuration/);
  });

  it('knows no other callers and servers', () => {
    expect(() => explainCall(loaded, { caller: 'cy', tool: 'files/read' })).toThrow(
      /no caller "cy".*Known: ci\/ci, low\/low, anonymous/,
    );
    expect(() => explainCall(loaded, { tool: 'fils/read' })).toThrow(/no server "fils".*"files"/);
    expect(() => explainCall(loaded, { tool: 'read' })).toThrow(/server\/tool/);
  });
});

describe('differences', () => {
  const texts = (before: string, after: string, later = env) =>
    diffConfigs(loadText(before, env), loadText(after, later)).map(({ text, needsRestart }) =>
      needsRestart ? `${text} !` : text,
    );

  it('are told in words', () => {
    expect(texts(full, full)).toEqual([]);
    expect(
      texts(
        'servers: { a: { command: x }, b: { url: "http://b" } }\nlimits: { l: { by: everyone, limit: 1/s } }\n',
        'servers: { c: { command: x }, b: { url: "http://b", timeout: { request: 5m } } }\nlimits: { l: { by: everyone, limit: 2/s } }\nroutes: [{ to: b }]\nlisten: 127.0.0.1:80\n',
      ),
    ).toEqual([
      'listen: 127.0.0.1:7117 → 127.0.0.1:80 !',
      'server a: removed',
      'server c: added',
      'servers.b.timeout.firstByte: 30s → 5m',
      'servers.b.timeout.idle: 30s → 5m',
      'servers.b.timeout.request: 30s → 5m',
      'routes: 0 entries → 1 entry',
      'limits.l.limit: 1/s → 2/s',
      'admin: 127.0.0.1:7117 → 127.0.0.1:80 !',
    ]);
  });

  it('tell what limits, tiers and prices become, and that state takes a restart', () => {
    const base = 'unpriced: free\nservers: { a: { command: x } }\n';
    expect(
      texts(
        `${base}limits: { l: { by: everyone, limit: 1 USD/day } }\ntiers: { gold: { l: 5 USD/day } }\ntools: { "a/*": { price: { each: 1 USD } } }\n`,
        `${base}limits: { l: { by: everyone, limit: 1.5 USD/day, alerts: [80%] } }\ntiers: { gold: { l: 6 USD/day }, lead: { l: 7 USD/day } }\ntools: { "a/*": { price: { each: 0.5 USD } } }\nroutes: [{ to: a, limit: 5/min }]\nstorage: { sqlite: b.db }\nstate: "redis://u:value-of-pw@h"\nwebhooks: [{ url: "https://hooks/value-of-path" }]\n`,
      ),
    ).toEqual([
      'storage: sqlite → (absent) !',
      'storage.sqlite: (absent) → b.db !',
      'storage.compress: (absent) → false !',
      'storage.keep.admissions: (absent) → 10000 !',
      'storage.keep.refusals: (absent) → 1000000 !',
      'storage.keep.refusalDays: (absent) → 30 !',
      'state: memory → redis://redacted:redacted@h !',
      'tools["a/*"].price.each: "1 USD" → "0.5 USD"',
      'routes: 0 entries → 1 entry',
      'limits.l.limit: "1 USD/day" → "1.5 USD/day"',
      'limits.l.alerts: [] → ["80%"]',
      'tiers.gold.l: "5 USD/day" → "6 USD/day"',
      'tier lead: added',
      'webhooks: 0 entries → 1 entry',
    ]);
  });

  it('tell that a secret changed, not what it is', () => {
    const yaml = 'servers: { a: { command: x, env: { K: "${env:KEY}" } } }\n';
    expect(texts(yaml, yaml, { ...env, KEY: 'value-of-another' })).toEqual(['servers.a.env.K: the value has changed']);
  });

  it('see the order of servers, which decides who owns a name', () => {
    const one = 'servers: { a: { command: x }, b: { command: x } }\n';
    const other = 'servers: { b: { command: x }, a: { command: x } }\n';
    expect(texts(one, other)).toEqual(['servers: the order has changed']);
  });
});
