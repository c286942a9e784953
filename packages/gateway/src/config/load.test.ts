import { mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { verifies } from '@tollgate/testkit/verifies';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { TollgateError } from '../core/errors.ts';
import type { ConsentReview } from './consent.ts';
import { formatReview, trustFile } from './consent.ts';
import { loadConfig, loadConfigObject, parseConfigObject } from './load.ts';
import { loadText } from './testing.ts';

let folder: string;
let env: Record<string, string>;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'tollgate-config-'));
  env = { HOME: path.join(folder, 'home'), XDG_CONFIG_HOME: path.join(folder, 'user') };
});

afterEach(() => rm(folder, { recursive: true }));

const file = (name: string) => path.join(folder, name);
const minimal = 'servers: { a: { command: x } }\n';

async function failure(attempt: Promise<unknown>): Promise<TollgateError> {
  const error = await attempt.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(TollgateError.is(error)).toBe(true);
  return error as TollgateError;
}

describe('a named file', () => {
  it('is loaded without asking; relative paths start at its folder', async () => {
    await mkdir(file('sub'));
    await writeFile(file('sub/gate.yaml'), 'servers: { a: { command: ./x, cwd: data } }\ndataDir: state\n');
    const { config, source } = await loadConfig('sub/gate.yaml', { cwd: folder, env });
    expect(config.servers['a']).toMatchObject({ command: file('sub/x'), cwd: file('sub/data') });
    expect(config.dataDir).toBe(file('sub/state'));
    expect(source).toMatchObject({ kind: 'yaml', file: file('sub/gate.yaml'), baseDir: file('sub') });
    expect(source.sha256).toMatch(/^[0-9a-f]{64}$/);
  });

  it('keeps state beside a tollgate.yaml, and in the folder of the user for a file of a client', async () => {
    await writeFile(file('tollgate.yaml'), minimal);
    await writeFile(file('.mcp.json'), '{"mcpServers": {"a": {"command": "x"}}}');
    const yaml = await loadConfig('tollgate.yaml', { cwd: folder, env });
    expect(yaml.config.dataDir).toBe(file('.tollgate'));
    const json = await loadConfig('.mcp.json', { cwd: folder, env: { ...env, XDG_STATE_HOME: '/state' } });
    expect(json.config.dataDir).toMatch(/^\/state\/tollgate\/[0-9a-f]{16}$/);
    const home = await loadConfig('.mcp.json', { cwd: folder, env });
    expect(home.config.dataDir.startsWith(file('home/.local/state/tollgate/'))).toBe(true);
  });

  it('in .vscode speaks about the folder above', async () => {
    await mkdir(file('.vscode'));
    await writeFile(file('.vscode/mcp.json'), '{"servers": {"a": {"command": "${workspaceFolder}/x"}}}');
    const { config } = await loadConfig('.vscode/mcp.json', { cwd: folder, env });
    expect(config.servers['a']).toMatchObject({ command: file('x'), cwd: folder });
  });

  it('reads variables and files; the last line end of a file is not part of the secret', async () => {
    await writeFile(file('secret'), 's3cret-s3cret-s3cret\r\n');
    await writeFile(
      file('tollgate.yaml'),
      'servers: { a: { command: x, env: { A: "${file:secret}", B: "${env:B:-b} and $${env:B}", C: "${env:C}" } } }\n',
    );
    const { config, source, warnings } = await loadConfig('tollgate.yaml', { cwd: folder, env: { ...env, C: 'c' } });
    expect(config.servers['a']!.env).toEqual({ A: 's3cret-s3cret-s3cret', B: 'b and ${env:B}', C: 'c' });
    verifies('X4-06');
    const files = { ...env, C_FILE: 'secret', B_FILE: 'secret', B: 'direct' };
    const fromFiles = await loadConfig('tollgate.yaml', { cwd: folder, env: files });
    expect(fromFiles.config.servers['a']!.env).toMatchObject({ B: 'direct and ${env:B}', C: 's3cret-s3cret-s3cret' });
    expect(fromFiles.source.expansions.find(({ path }) => path.at(-1) === 'C')).toMatchObject({ name: 'C_FILE' });
    expect(source.expansions.map(({ kind, name, defaulted }) => [kind, name, defaulted])).toEqual([
      ['file', 'secret', false],
      ['env', 'B', true],
      ['env', 'C', false],
    ]);
    expect(warnings).toEqual([]);
  });

  it('that is missing, a folder, too large or not text says so', async () => {
    await writeFile(file('large.yaml'), `${minimal}# ${'x'.repeat(1024 * 1024)}`);
    await writeFile(file('binary.yaml'), Buffer.from([0xff, 0xfe, 0x00]));
    await writeFile(file('deep.yaml'), `a: ${'['.repeat(50_000)}`);
    for (const [name, code, text] of [
      ['none.yaml', 'config_not_found', 'none.yaml does not exist.'],
      ['.', 'config_not_found', 'is a folder'],
      ['large.yaml', 'config_invalid', 'larger than 1 MiB'],
      ['binary.yaml', 'config_invalid', 'not UTF-8'],
      ['deep.yaml', 'config_invalid', 'deeper than 64'],
    ] as const) {
      const error = await failure(loadConfig(name, { cwd: folder, env }));
      expect([error.code, error.message]).toEqual([code, expect.stringContaining(text)]);
    }
  });

  it('gives way to --listen, which is checked like a written address', async () => {
    await writeFile(file('tollgate.yaml'), minimal);
    const { config } = await loadConfig('tollgate.yaml', { cwd: folder, env, listen: '127.0.0.1:0' });
    expect(config.listen).toEqual({ host: '127.0.0.1', port: 0 });
    const error = await failure(loadConfig('tollgate.yaml', { cwd: folder, env, listen: '0.0.0.0:0' }));
    expect(error.message).toContain(
      '\n  --listen: 0.0.0.0:0 is reachable from other machines, and no `auth` says who may call',
    );
    // Not the file's: whoever looks for it there finds nothing.
    const unread = await failure(loadConfig('tollgate.yaml', { cwd: folder, env, listen: '99999' }));
    expect(unread.message).toContain('\n  --listen: "99999" is not a listen address');
  });
});

describe('a file that was found', () => {
  const asked: ConsentReview[] = [];
  const ask = (answer: boolean) => (review: ConsentReview) => {
    asked.push(review);
    return Promise.resolve(answer);
  };

  beforeEach(() => {
    asked.length = 0;
  });

  it('is the first of tollgate.yaml, .mcp.json and .vscode/mcp.json', async () => {
    const none = await failure(loadConfig(undefined, { cwd: folder, env }));
    expect(none.code).toBe('config_not_found');
    expect(none.message).toMatch(/tollgate\.yaml, \.mcp\.json or .*mcp\.json/);
    await mkdir(file('.vscode'));
    await writeFile(file('.vscode/mcp.json'), '{"servers": {"vscode": {"command": "x"}}}');
    const found = async () =>
      Object.keys((await loadConfig(undefined, { cwd: folder, env, trust: true })).config.servers);
    expect(await found()).toEqual(['vscode']);
    await writeFile(file('.mcp.json'), '{"mcpServers": {"client": {"command": "x"}}}');
    expect(await found()).toEqual(['client']);
    await writeFile(file('tollgate.yaml'), 'servers: { own: { command: x } }');
    expect(await found()).toEqual(['own']);
  });

  it('is refused without a terminal, and the answer names --trust and what it would run', async () => {
    await writeFile(file('.mcp.json'), '{"mcpServers": {"a": {"command": "npx", "args": ["-y", "evil pkg"]}}}');
    const error = await failure(loadConfig(undefined, { cwd: folder, env }));
    expect(error.code).toBe('consent_required');
    expect(error.message).toContain("run  npx -y 'evil pkg'");
    expect(error.message).toContain('--trust');
    await expect(stat(trustFile(env))).rejects.toThrow();
  });

  it('is asked about once; any change asks again and says that it changed', async () => {
    await writeFile(file('tollgate.yaml'), minimal);
    await loadConfig(undefined, { cwd: folder, env, ask: ask(true) });
    await loadConfig(undefined, { cwd: folder, env, ask: ask(true) });
    expect(asked.map(({ changed }) => changed)).toEqual([false]);
    await writeFile(file('tollgate.yaml'), `${minimal}# changed\n`);
    const refused = await failure(loadConfig(undefined, { cwd: folder, env, ask: ask(false) }));
    expect(refused.code).toBe('consent_required');
    await loadConfig(undefined, { cwd: folder, env, ask: ask(true) });
    expect(asked.map(({ changed }) => changed)).toEqual([false, true, true]);
    await loadConfig(undefined, { cwd: folder, env });
  });

  it('is remembered for its path only, in a file that nobody else can read, outside the project', async () => {
    await writeFile(file('tollgate.yaml'), minimal);
    await loadConfig(undefined, { cwd: folder, env, trust: true });
    const store = path.join(folder, 'user', 'tollgate', 'trust.json');
    expect(trustFile(env)).toBe(store);
    expect((await stat(store)).mode & 0o777).toBe(0o600);
    expect(Object.keys((JSON.parse(await readFile(store, 'utf8')) as { approved: object }).approved)).toEqual([
      file('tollgate.yaml'),
    ]);
    await mkdir(file('copy'));
    await writeFile(file('copy/tollgate.yaml'), minimal);
    expect((await failure(loadConfig(undefined, { cwd: file('copy'), env }))).code).toBe('consent_required');
  });

  it('is asked about again when the memory is unreadable or is a link planted by somebody', async () => {
    await writeFile(file('tollgate.yaml'), minimal);
    await mkdir(path.dirname(trustFile(env)), { recursive: true });
    await writeFile(trustFile(env), 'not json');
    expect((await failure(loadConfig(undefined, { cwd: folder, env }))).code).toBe('consent_required');
    await rm(trustFile(env));
    await writeFile(file('precious'), 'precious');
    await symlink(file('precious'), trustFile(env));
    await loadConfig(undefined, { cwd: folder, env, trust: true });
    expect(await readFile(file('precious'), 'utf8')).toBe('precious');
    await loadConfig(undefined, { cwd: folder, env });
  });

  it('can be read without consent by commands that start nothing, which approves nothing', async () => {
    await writeFile(file('tollgate.yaml'), minimal);
    await loadConfig(undefined, { cwd: folder, env, unapproved: true });
    expect((await failure(loadConfig(undefined, { cwd: folder, env }))).code).toBe('consent_required');
  });

  it('is shown with exact arguments, URLs and names of variables, and never with their values', async () => {
    await writeFile(file('secret'), 'value-of-the-file');
    await writeFile(
      file('tollgate.yaml'),
      `servers:
  a: { command: npx, args: [-y, "a\\u001b[2Jb"], env: { KEY: "\${env:KEY}" } }
  b: { url: "https://b/\${env:PART}", headers: { x-key: "\${file:secret}" } }
`,
    );
    const values = { KEY: 'value-of-KEY', PART: 'value-of-PART' };
    await failure(loadConfig(undefined, { cwd: folder, env: { ...env, ...values }, ask: ask(false) }));
    const text = formatReview(asked[0]!);
    expect(text).toContain("a: run  npx -y 'a\\u001b[2Jb'");
    expect(text).toContain('connect to  https://b/${env:PART}');
    expect(text).toContain('It takes the values of KEY, PART from your environment.');
    expect(text).toContain('It reads secret.');
    expect(text).not.toMatch(/value-of/);
    expect(text).not.toContain('\u001b');
  });
});

it('names the place of a missing variable once, and blames no other entry for it', () => {
  const entry = { name: 'dev', jwt: { issuer: 'dev', secret: '${env:NOT_SET_HERE}' } };
  const config = { servers: { a: { url: 'http://127.0.0.1:1/mcp' } }, auth: [entry] };
  expect(() => parseConfigObject(config)).toThrow(
    /has 1 mistake:\n {2}auth\[0\]\.jwt\.secret: The environment variable/,
  );
});

describe('an object', () => {
  it('is checked like a file and frozen', () => {
    const given = { servers: { a: { command: './x', env: undefined } }, limits: undefined };
    const config = parseConfigObject(given, { baseDir: '/project', env: {} });
    expect(config.servers['a']).toMatchObject({ command: '/project/x', cwd: '/project' });
    expect(config.listen).toEqual({ host: '127.0.0.1', port: 7117 });
    expect(Object.isFrozen(config) && Object.isFrozen(config.servers['a'])).toBe(true);
    given.servers.a.command = 'changed';
    expect(config.servers['a']!.command).toBe('/project/x');
  });

  it('reports every mistake with its key', () => {
    const wrong = { servers: { a: { comand: 'x' } }, listen: 7117 };
    expect(() => parseConfigObject(wrong)).toThrow(
      /has 2 mistakes:[\s\S]*listen: Must be[\s\S]*servers\.a\.comand: Unknown key/,
    );
    expect(() => parseConfigObject(JSON.parse('{"servers": {"__proto__": {"command": "x"}}}'))).toThrow(
      /cannot be used as a name/,
    );
    const loop: Record<string, unknown> = {};
    loop['servers'] = loop;
    expect(() => parseConfigObject(loop)).toThrow(/refers to itself/);
    expect(() => parseConfigObject('servers')).toThrow(/Must be a map/);
  });

  it('takes variables from the environment it is given', () => {
    const { config } = loadConfigObject(
      { servers: { a: { command: 'x', env: { K: '${env:K}' } } } },
      { env: { K: 'v' } },
    );
    expect(config.servers['a']!.env).toEqual({ K: 'v' });
  });
});

describe('positions', () => {
  it('point at the key in the file, for mistakes that only a cross-check sees as well', () => {
    const text = 'servers:\n  a: { command: x }\nroutes:\n  - { to: a, bad: 1 }\n  - { tool: "nope/*", to: a }\n';
    const caught = (() => {
      try {
        loadText(text);
      } catch (error) {
        return (error as TollgateError).data as { problems: { path: unknown; position: unknown }[] };
      }
      return undefined;
    })();
    expect(caught?.problems.map(({ path, position }) => [path, position])).toEqual([
      [['routes', 0, 'bad'], { file: '/project/tollgate.yaml', line: 4, column: 14 }],
      [['routes', 1, 'tool'], { file: '/project/tollgate.yaml', line: 5, column: 7 }],
    ]);
  });
});
