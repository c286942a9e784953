import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Child, startChild } from '@tollgate/testkit/child';
import { startFakeHttp } from '@tollgate/testkit/fake-http';
import { TOLLGATE_BIN } from '@tollgate/testkit/gateway';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { waitUntil } from '@tollgate/testkit/wait';
import { expect, it } from 'vitest';

it('a gateway that found its file applies a change of it only when that is approved', async () => {
  await using server = await startFakeHttp('modern');
  await using folder = await temporaryDirectory('consent');
  // At once, as editors do it: whoever watches the file would find it empty in between.
  const write = async (name: string) => {
    await writeFile(join(folder.path, 'new'), JSON.stringify({ mcpServers: { [name]: { url: server.url } } }));
    await rename(join(folder.path, 'new'), join(folder.path, '.mcp.json'));
  };
  const env = { HOME: folder.path, XDG_CONFIG_HOME: folder.path, XDG_STATE_HOME: folder.path };
  const tollgate = (...args: string[]): Promise<Child> =>
    startChild(process.execPath, [TOLLGATE_BIN, ...args], { cwd: folder.path, env, input: '' });
  const finished = async (...args: string[]) => {
    await using child = await tollgate(...args);
    const { code } = await child.exited;
    return { code, stdout: child.stdout(), stderr: child.stderr() };
  };
  const serves = (name: string) =>
    waitUntil(`${name} to be served`, async () => (await finished('status')).stdout.includes(`${name}  ready`));

  await write('first');
  await using gateway = await tollgate('--trust', '--watch', '--listen', '127.0.0.1:0');
  await gateway.waitFor(/Ready at/);

  await write('second');
  await gateway.waitFor(/not applied[^\n]*has changed since it was approved/);
  const refusals = () => gateway.stderr().match(/not applied/g)?.length ?? 0;
  const before = refusals();
  gateway.signal('SIGHUP');
  await waitUntil('the refusal of the signal', () => refusals() > before);
  const refused = await finished('reload');
  expect(refused.code).toBe(2);
  expect(refused.stderr).toContain(`second: connect to  ${server.url}`);
  expect(refused.stderr).toContain('--trust');
  await serves('first');
  expect((await finished('status')).stdout).toContain('The last reload was refused');

  expect(await finished('reload', '--trust')).toMatchObject({ code: 0, stderr: '' });
  await serves('second');

  // A path on the command line is consent, for a reload too.
  await write('third');
  expect(await finished('reload', '.mcp.json')).toMatchObject({ code: 0, stderr: '' });
  await serves('third');
});
