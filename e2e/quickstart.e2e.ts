import { cp, symlink } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { startChild } from '@tollgate/testkit/child';
import { TOLLGATE_BIN } from '@tollgate/testkit/gateway';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { verifies } from '@tollgate/testkit/verifies';
import { expect, it } from 'vitest';
import { connectClient } from './clients.ts';
import { serverReady } from './report.ts';
import { everythingServer } from './servers.ts';

const ROOT = resolve(import.meta.dirname, '..');
/** As npm scripts have it: the workspace's own Node first. */
const PATH = `${join(ROOT, 'node_modules/.bin')}:${process.env['PATH']}`;

it('npm start serves the quickstart folder and prints what to do next', async () => {
  verifies('R1-62');
  await using folder = await temporaryDirectory('quickstart');
  await cp(join(ROOT, 'examples/quickstart'), folder.path, { recursive: true });
  await symlink(join(ROOT, 'node_modules'), join(folder.path, 'node_modules'));
  await using child = await startChild(
    process.execPath,
    [TOLLGATE_BIN, 'serve', join(folder.path, 'tollgate.yaml'), '--listen', '127.0.0.1:0'],
    { cwd: folder.path, env: { PATH, npm_command: 'run-script' } },
  );
  const url = (await child.waitFor(/http:\/\/127\.0\.0\.1:\d+\/mcp/))[0];
  await serverReady(child, 'notes', join(folder.path, 'tollgate.yaml'));
  await child.waitFor(/notes\s+(ready\s+3 tools, \d+ tokens|starting)/);
  await child.waitFor(/30\/min/);
  // As they are printed, they work in the folder and the shell of who ran `npm start`.
  await child.waitFor(/^ {2}npx tollgate status tollgate\.yaml {2,}see/m);
  await using client = await connectClient('sdk-v2-auto', url);
  expect(await client.listTools()).toEqual(expect.arrayContaining(['add_note', 'list_notes', 'add_numbers']));
  expect((await client.callTool('add_numbers', { a: 2, b: 40 })).text).toBe('42');
  expect(await child.stop()).toEqual({ code: 0, signal: null });
});

it('without a terminal, an .mcp.json that was found needs --trust, and is served with it', async () => {
  await using folder = await temporaryDirectory('mcp-json');
  await using home = await temporaryDirectory('home');
  const { writeFile } = await import('node:fs/promises');
  await writeFile(join(folder.path, '.mcp.json'), JSON.stringify({ mcpServers: { everything: everythingServer() } }));
  const env = { PATH, HOME: home.path, XDG_CONFIG_HOME: home.path, XDG_STATE_HOME: home.path };
  const start = (...args: string[]) =>
    startChild(process.execPath, [TOLLGATE_BIN, '--listen', '127.0.0.1:0', ...args], {
      cwd: folder.path,
      env,
      input: '',
    });
  await using refused = await start();
  expect((await refused.exited).code).toBe(2);
  expect(refused.stderr()).toContain('--trust');
  expect(refused.stderr()).toContain('server-everything');

  await using trusted = await start('--trust');
  const url = (await trusted.waitFor(/http:\/\/127\.0\.0\.1:\d+\/mcp/))[0];
  await using client = await connectClient('sdk-v1', url);
  expect(await client.listTools()).toContain('echo');
  await trusted.stop();

  // The approval is remembered for exactly this content.
  await using again = await start();
  await again.waitFor(/http:\/\/127\.0\.0\.1:\d+\/mcp/);
  await again.stop();
});
