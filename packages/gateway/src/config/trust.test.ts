import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { describe, expect, it } from 'vitest';
import type { Log } from '../core/log.ts';
import { silentLog } from '../core/log.ts';
import { checkKeyFile } from '../pipeline/same-user.ts';
import { carriesCode } from './check-trust.ts';
import { compile } from './compile.ts';
import { formatReview, reviewConfig } from './consent.ts';
import { formatProblems } from './problems.ts';
import { loadText } from './testing.ts';

const TOKEN = 'auth: [{ name: ci, bearer: { token: "${env:T}" } }]';
const OPEN = `listen: 10.0.0.5:7117\n${TOKEN}`;
const env = { T: 'token-0123456789-0123456789' };
const load = (yaml: string) => loadText(yaml, env);
const program = (more = '') => `servers: { files: { command: npx, args: [x] ${more} } }`;
const failure = (yaml: string): string => {
  try {
    load(yaml);
    return '';
  } catch (error) {
    return (error as Error).message;
  }
};

describe('trust', () => {
  it('pins what is new and warns of what changed, unless another answer is given, for all or for one server', () => {
    expect(compile(load(program()).config).trust).toMatchObject({ new: 'allow', changed: 'warn' });
    const { trust } = compile(
      load(`${program()}\ntrust: { changed: block, servers: { files: { new: warn } } }`).config,
    );
    expect(trust).toEqual({
      new: 'allow',
      changed: 'block',
      servers: new Map([['files', { new: 'warn', changed: 'block' }]]),
    });
    expect(failure(`${program()}\ntrust: { servers: { flies: {} } }`)).toMatch(/no server "flies"[\s\S]*files/);
  });
});

describe('variables that decide which code a server runs', () => {
  it.each([
    'LD_PRELOAD',
    'LD_LIBRARY_PATH',
    'LD_AUDIT',
    'DYLD_INSERT_LIBRARIES',
    'NODE_OPTIONS',
    'PATH',
    'Path',
    'BASH_ENV',
    'PYTHONPATH',
    'PERL5OPT',
    'RUBYOPT',
    'JAVA_TOOL_OPTIONS',
    'npm_config_node_options',
    'GIT_SSH_COMMAND',
  ])('%s is warned about on loopback, and refused beyond it unless that is meant', (name) => {
    const yaml = program(`, env: { ${name}: /tmp/x }`);
    expect(formatProblems(load(yaml).warnings)).toContain(`${name} decides which code npx runs`);
    expect(failure(`${yaml}\n${OPEN}`)).toContain(`${name} decides which code npx runs`);
    expect(failure(`${yaml}\n${OPEN}\ntrust: { environment: warn }`)).toBe('');
    expect(failure(`${yaml}\ntrust: { environment: refuse }`)).toContain(name);
  });

  it('are shown with their value where a found configuration is approved', () => {
    const found = loadText(
      JSON.stringify({
        mcpServers: { a: { command: 'npx', env: { NODE_OPTIONS: '--require ./evil.js', API_KEY: 's3cret' } } },
      }),
      {},
      'mcp-json',
    );
    const review = formatReview({ ...reviewConfig(found), changed: false });
    expect(review).toContain('NODE_OPTIONS=--require ./evil.js');
    expect(review).toContain('API_KEY');
    expect(review).not.toContain('s3cret');
  });

  it('are the helper and the engine of the vault too', () => {
    const reviewed = (keys: string) =>
      formatReview({ ...reviewConfig(load(`${program()}\nvault: { keys: ${keys} }`)), changed: false });
    expect(reviewed("{ command: [node, -e, 'evil()'] }")).toMatch(/It runs {2}\S*node -e 'evil\(\)' {2}for the keys/);
    expect(reviewed('{ socket: /tmp/evil }')).toContain('It asks /tmp/evil for');
    expect(reviewed('{ transit: { url: https://evil.example, key: k, tokenFile: /home/me/.token } }')).toContain(
      'It sends the token in /home/me/.token to https://evil.example',
    );
    expect(reviewed('env')).not.toContain('vault');
  });

  it('are few: a token, a locale or a proxy is none', () => {
    for (const name of ['API_KEY', 'LANG', 'HTTPS_PROXY', 'HOME', 'NODE_ENV', 'PATH_TO_DATA', 'OLD_PATH']) {
      expect(carriesCode(name), name).toBe(false);
    }
  });
});

describe('a program beside the key file of the vault', () => {
  const vault = 'vault: { keys: file }';

  it('is warned about on loopback, and refused beyond it unless that is meant', () => {
    expect(formatProblems(load(`${program()}\n${vault}`).warnings)).toContain('can read the master key');
    expect(failure(`${program()}\n${vault}\n${OPEN}`)).toMatch(
      /files[\s\S]*can read the master key[\s\S]*sameUser: allow/,
    );
    expect(failure(`${program()}\n${vault}\n${OPEN}\ntrust: { sameUser: allow }`)).toBe('');
    expect(failure(`${program()}\nvault: { keys: env }\n${OPEN}`)).toBe('');
    expect(failure(`servers: { files: { url: "http://127.0.0.1:1/mcp" } }\n${vault}\n${OPEN}`)).toBe('');
  });

  it('is noticed at the start too, when the file is there although nothing is written of it', async () => {
    await using folder = await temporaryDirectory('key-file');
    mkdirSync(join(folder.path, 'state'));
    writeFileSync(join(folder.path, 'state', 'master.key'), 'x');
    const config = (more: string) =>
      compile(load(`${program()}\ndataDir: ${join(folder.path, 'state')}\n${more}`).config);
    const warned: string[] = [];
    const log = { ...silentLog, warn: (_fields: object, text?: string) => warned.push(text ?? '') } as Log;
    checkKeyFile(config(''), log);
    expect(warned).toEqual([expect.stringContaining('files: This program runs as the user of the gateway')]);
    expect(() => checkKeyFile(config(OPEN), log)).toThrow(/can read the master key/);
    checkKeyFile(config(`${OPEN}\ntrust: { sameUser: allow }`), log);
    expect(warned).toHaveLength(1);
  });
});
