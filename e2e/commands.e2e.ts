import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startChild } from '@tollgate/testkit/child';
import { TOLLGATE_BIN } from '@tollgate/testkit/gateway';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { describe, expect, it } from 'vitest';

const SILENT = { command: process.execPath, args: ['-e', 'process.stdin.resume()'] };

/** A folder with a configuration, which is also the home of who works there. */
async function place(config: object = { servers: { silent: SILENT } }) {
  const folder = await temporaryDirectory('commands');
  const file = join(folder.path, 'tollgate.yaml');
  await writeFile(file, JSON.stringify({ version: 1, listen: '127.0.0.1:0', ...config }));
  const env = { HOME: folder.path, XDG_CONFIG_HOME: folder.path, XDG_STATE_HOME: folder.path };
  return {
    path: folder.path,
    file,
    run: async (...args: string[]) => {
      const options = { cwd: folder.path, env, input: '' };
      await using child = await startChild(process.execPath, [TOLLGATE_BIN, ...args], options);
      const { code } = await child.exited;
      return { code, stdout: child.stdout(), stderr: child.stderr() };
    },
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

describe('mistakes on the command line', () => {
  it('a mistyped command is named as one, with what was meant', async () => {
    await using here = await place();
    const { code, stderr } = await here.run('statsu');
    expect(code).toBe(2);
    expect(stderr).toBe('"statsu" is neither a command nor a file. Did you mean "status"?\n');
  });

  it('a caller without a tool is refused, not ignored', async () => {
    await using here = await place();
    const { code, stderr, stdout } = await here.run('explain', '--caller', 'ci');
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain('--tool');
  });
});

it('validate --probe fails for servers that do not answer, and says which and where', async () => {
  await using here = await place({ servers: { silent: SILENT, gone: { url: 'http://127.0.0.1:9/mcp' } } });
  const { code, stdout } = await here.run('validate', '--probe', here.file);
  expect(stdout).toContain('is valid: 2 servers, 0 limits.');
  expect(stdout).toMatch(/silent {2}starting\n +It has not answered yet/);
  expect(stdout).toMatch(/gone {4}failed +http:\/\/127\.0\.0\.1:9\/mcp\n/);
  expect(code).toBe(1);
});

it('a reader that leaves early is no failure of the command', async () => {
  const script = '{ "$0" "$1" op list; echo "code $?" >&2; } | true';
  await using child = await startChild('/bin/sh', ['-c', script, process.execPath, TOLLGATE_BIN], { input: '' });
  await child.exited;
  expect(child.stderr()).toBe('code 0\n');
});

it('doctor looks at the certificate before the gateway needs it', async () => {
  await using here = await place({ servers: { silent: SILENT }, tls: { cert: 'none.pem', key: 'none.key' } });
  const { code, stdout } = await here.run('doctor');
  expect(stdout).toMatch(/^FAIL tls\.\w+: .*none\.\w+ is not used: there is no such file\.\n {4}Mend/m);
  expect(code).toBe(1);
});

describe('what to do next is a command that works there', () => {
  it('names the configuration that was named', async () => {
    await using here = await place();
    const { code, stderr } = await here.run('budget', 'show', 'anonymous', '--config', here.file);
    expect(code).toBe(3);
    expect(stderr).toBe(`No gateway of this configuration is running. Start it with: tollgate serve ${here.file}\n`);
    expect((await here.run('status')).stderr).toMatch(/Start it with: tollgate serve\n$/);
  });

  it('says how this command takes one, where the folder has none', async () => {
    await using folder = await temporaryDirectory('commands');
    const none = { cwd: folder.path, input: '' };
    const said = [];
    for (const args of [[], ['budget', 'show', 'ada'], ['stop', '--reason', 'x'], ['connect', 'cursor']]) {
      await using child = await startChild(process.execPath, [TOLLGATE_BIN, ...args], none);
      expect((await child.exited).code).toBe(2);
      said.push(/name a file: (.*)\n$/.exec(child.stderr())?.[1]);
    }
    expect(said).toEqual([
      'tollgate serve FILE',
      'tollgate budget show WHO --config FILE',
      'tollgate stop FILE',
      'tollgate connect CLIENT FILE',
    ]);
  });
});

describe('connect', () => {
  it('asks before an entry that starts the gateway names a file that was only found', async () => {
    await using here = await place();
    const refused = await here.run('connect', 'claude-desktop');
    expect(refused.code).toBe(2);
    expect(refused.stderr).toContain('process.stdin.resume()');
    const named = await here.run('connect', 'claude-desktop', here.file);
    expect(named.code).toBe(0);
    expect(named.stdout).toContain(`now starts the gateway of ${here.file} itself`);
    expect(named.stdout).not.toContain('http://');
  });

  it('says when nothing serves the address yet, and what disconnecting means', async () => {
    await using here = await place();
    await mkdir(join(here.path, '.cursor'));
    await writeFile(join(here.path, '.cursor/mcp.json'), '{}\n');
    const connected = await here.run('connect', 'cursor');
    expect(connected.stdout).toContain(`Start it with: tollgate serve ${here.file}`);
    const disconnected = await here.run('disconnect', 'cursor');
    expect(disconnected.stdout).not.toContain('switch it on');
    expect(await readFile(join(here.path, '.cursor/mcp.json'), 'utf8')).not.toContain('tollgate');
  });
});
