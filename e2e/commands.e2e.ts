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
