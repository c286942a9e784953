import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { expectNoSurvivors } from '@tollgate/testkit/child';
import { startFakeHttp } from '@tollgate/testkit/fake-http';
import { type RunningGateway, startGateway } from '@tollgate/testkit/gateway';
import { modernRequest } from '@tollgate/testkit/modern-request';
import type { ProcessEntry } from '@tollgate/testkit/process-table';
import { exchange, rawConnection, rawRequest } from '@tollgate/testkit/raw-http';
import { verifies } from '@tollgate/testkit/verifies';
import { waitUntil } from '@tollgate/testkit/wait';
import { describe, expect, it } from 'vitest';

const FAKE_STDIO = resolve(import.meta.dirname, '../packages/testkit/src/fake-stdio.ts');
const stdio = (options: object = {}) => ({ command: process.execPath, args: [FAKE_STDIO, JSON.stringify(options)] });
const echo = (text: string, delay = 0) => modernRequest(1, 'tools/call', { name: 'echo', arguments: { text, delay } });

/** A server and its grandchild. */
async function childrenOf({ child }: RunningGateway): Promise<ProcessEntry[]> {
  await child.waitFor(/fake-stdio \d+ up/);
  await waitUntil('the child and its grandchild', () => child.descendants().length >= 2);
  return child.descendants();
}

describe('SIGTERM', () => {
  it('lets a call in flight finish, takes no new one, ends every child and exits 0', async () => {
    await using server = await startFakeHttp('modern');
    await using gateway = await startGateway({
      version: 1,
      servers: { http: { url: server.url }, child: { ...stdio({ grandchild: true }), instances: { mode: 'shared' } } },
    });
    const children = await childrenOf(gateway);
    const inFlight = exchange(gateway.port, echo('last words', 1_500));
    await waitUntil('the call at the server', () => server.seen('tools/call').length === 1);
    gateway.child.signal('SIGTERM');
    await waitUntil('refusal of new work', async () => {
      const refused = await exchange(gateway.port, modernRequest(2, 'tools/list')).then(
        (response) => response.status === 503,
        () => true,
      );
      return refused;
    });
    expect((await inFlight).body).toContain('last words');
    expect(await gateway.child.exited).toEqual({ code: 0, signal: null });
    await expectNoSurvivors(children);
  });

  it('ends children that ignore the signal and the end of their input', async () => {
    verifies('R1-27');
    await using gateway = await startGateway({
      version: 1,
      servers: { stubborn: { ...stdio({ stubborn: true, grandchild: true }), instances: { mode: 'shared' } } },
    });
    const children = await childrenOf(gateway);
    expect((await gateway.child.stop('SIGTERM')).code).toBe(0);
    await expectNoSurvivors(children);
  });
});

describe('SIGHUP', () => {
  it('applies a changed configuration without a dropped request', async () => {
    await using one = await startFakeHttp('modern', { name: 'one' });
    await using two = await startFakeHttp('modern', { name: 'two', extraTools: 1 });
    const config = (url: string) => JSON.stringify({ version: 1, servers: { upstream: { url } } });
    await using gateway = await startGateway(config(one.url));

    let stop = false;
    const failures: string[] = [];
    let done = 0;
    const traffic = Array.from({ length: 8 }, async () => {
      await using connection = await rawConnection(gateway.port);
      while (!stop) {
        connection.send(rawRequest(gateway.port, echo('steady', 2)));
        const response = await connection.response();
        done += 1;
        if (response.status !== 200 || !response.body.includes('steady')) failures.push(response.body);
      }
    });
    await waitUntil('traffic', () => done > 20);
    await writeFile(gateway.configFile, config(two.url));
    gateway.child.signal('SIGHUP');
    await waitUntil('calls at the new server', () => two.seen('tools/call').length > 50);
    stop = true;
    await Promise.all(traffic);
    expect(failures).toEqual([]);
    const listed = await exchange(gateway.port, modernRequest(3, 'tools/list'));
    expect(listed.body).toContain('"tool_0"');
  });

  it('keeps the old configuration when the new one has mistakes, and says which', async () => {
    await using server = await startFakeHttp('modern');
    await using gateway = await startGateway({ version: 1, servers: { upstream: { url: server.url } } });
    await writeFile(gateway.configFile, 'version: 1\nservrs: {}\n');
    gateway.child.signal('SIGHUP');
    await gateway.child.waitFor(/servrs/);
    expect((await exchange(gateway.port, echo('still here'))).body).toContain('still here');
  });
});

describe('a server that dies', () => {
  it('costs its caller one clear error and nobody else anything; the next call starts it again', async () => {
    await using gateway = await startGateway({
      version: 1,
      endpoints: { '/mcp': { servers: '*', naming: 'prefix' } },
      servers: {
        frail: { ...stdio({ name: 'frail' }), instances: { mode: 'shared' } },
        sound: { ...stdio({ name: 'sound' }), instances: { mode: 'shared' } },
      },
    });
    const call = (name: string, args = {}) =>
      exchange(gateway.port, modernRequest(7, 'tools/call', { name, arguments: args }));
    const other = call('sound_echo', { text: 'undisturbed', delay: 500 });
    const died = await call('frail_fault_die');
    expect(died.json()).toMatchObject({ id: 7, error: { code: 503 } });
    expect(died.body).toContain('frail');
    expect((await other).body).toContain('undisturbed');
    expect((await call('frail_echo', { text: 'again' })).body).toContain('again');
    await gateway.child.waitFor(/asked to die/);
  });
});
