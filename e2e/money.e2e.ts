/** Budgets through the real command line: what is charged, what is given back, what survives. */
import { awayFromTurn } from '@tollgate/testkit/calendar';
import { startFakeHttp } from '@tollgate/testkit/fake-http';
import { startGateway, runTollgate as tollgate } from '@tollgate/testkit/gateway';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { callTool } from '@tollgate/testkit/tool-call';
import { verifies } from '@tollgate/testkit/verifies';
import { waitUntil } from '@tollgate/testkit/wait';
import { beforeEach, describe, expect, it } from 'vitest';
import { budget } from './state.ts';

const config = (server: string, more: object = {}) => ({
  version: 1,
  servers: { fake: { url: server } },
  tools: { 'fake/echo': { price: { each: '0.25 USD' } } },
  limits: { spend: { by: 'principal', limit: '1 USD/day' } },
  ...more,
});

beforeEach(() => awayFromTurn('day'));

describe('a budget', () => {
  it('admits exactly what it holds and tells the rest in words and numbers', async () => {
    verifies('R0-16', 'R0-33');
    await using server = await startFakeHttp('modern');
    await using gateway = await startGateway(config(server.url));
    const calls = await Promise.all(Array.from({ length: 12 }, () => callTool(gateway.url(), 'echo', { text: 'x' })));
    const refused = calls.filter((call) => call.error !== undefined);
    expect(refused).toHaveLength(8);
    expect(server.count('tools/call')).toBe(4);
    const { code, message, data } = refused[0]!.error!;
    expect(code).toBe(402);
    expect(message).toMatch(/^Not run.*is used up: 1\.00 of 1\.00 USD.*; it resets at 00:00 UTC.*\[tg-/s);
    expect(data).toMatchObject({ reason: 'daily_cost_exceeded', rule: 'spend', executed: 'no', charged: '0' });
    expect(refused[0]!.status).toBe(200);
    await waitUntil('the settlements', async () => (await budget(gateway)).held === 0);
    const shown = await tollgate(
      ['budget', 'show', 'anonymous', '--config', gateway.configFile, '--json'],
      gateway.folder,
    );
    expect(JSON.parse(shown.stdout)).toMatchObject({ limits: [{ limit: 'spend', used: 1_000_000, held: 0 }] });
  });

  it('takes nothing for what never ran, and what the server reports for what did', async () => {
    await using server = await startFakeHttp('modern');
    await using gateway = await startGateway(
      config(server.url, {
        servers: { fake: { url: server.url }, dead: { url: 'http://127.0.0.1:1/mcp' } },
        tools: {
          'fake/metered': { price: { from: 'result._meta.usageTotalUsd', hold: '0.5 USD', max: '5 USD' } },
          'fake/fault_die': { price: { each: '0.1 USD' } },
        },
      }),
    );
    expect((await callTool(gateway.url(), 'metered', { usd: 0.125 })).result).toBeDefined();
    await waitUntil('the settlement', async () => (await budget(gateway)).held === 0);
    expect(await budget(gateway)).toMatchObject({ used: 125_000 });
    // Sent, and nobody knows whether it ran: charged as it was held.
    expect((await callTool(gateway.url(), 'fault_die')).error).toBeDefined();
    await waitUntil('the settlement', async () => (await budget(gateway)).held === 0);
    expect(await budget(gateway)).toMatchObject({ used: 225_000 });
    // More than was held: charged in full, and then nothing is left.
    expect((await callTool(gateway.url(), 'metered', { usd: 4 })).result).toBeDefined();
    await waitUntil('the settlement', async () => (await budget(gateway)).used === 4_225_000);
    expect((await callTool(gateway.url(), 'metered', { usd: 0.1 })).error?.code).toBe(402);
  });

  it('survives kill -9, with what was held counted as spent', async () => {
    verifies('R0-21');
    await using folder = await temporaryDirectory('money');
    await using server = await startFakeHttp('modern');
    const first = await startGateway(config(server.url), { folder: folder.path });
    await callTool(first.url(), 'echo', { text: 'x' });
    void callTool(first.url(), 'echo', { text: 'x', delay: 20_000 }).catch(() => undefined);
    await waitUntil('both calls at the server', () => server.count('tools/call') === 2);
    first.child.signal('SIGKILL');
    await first.child.exited;
    await using second = await startGateway(config(server.url), { folder: folder.path });
    expect(await budget(second)).toMatchObject({ used: 500_000, held: 250_000 });
    const calls = await Promise.all(Array.from({ length: 4 }, () => callTool(second.url(), 'echo', { text: 'x' })));
    expect(calls.filter((call) => call.result !== undefined)).toHaveLength(2);
  });

  it('is one hold over the rounds of a call, and no state of others continues it', async () => {
    await using server = await startFakeHttp('modern');
    await using gateway = await startGateway(
      config(server.url, { tools: { 'fake/ask': { price: { each: '0.4 USD' } } } }),
    );
    const capabilities = { roots: {} };
    const first = await callTool(gateway.url(), 'ask', {}, { capabilities });
    const state = first.result?.['requestState'];
    expect(state).not.toBe('asked');
    expect(await budget(gateway)).toMatchObject({ used: 400_000, held: 400_000 });
    const params = { requestState: state, inputResponses: { roots: { roots: [] } } };
    const forged = { ...params, requestState: `${String(state).slice(0, -4)}AAAA` };
    expect((await callTool(gateway.url(), 'ask', {}, { capabilities, params: forged })).error?.code).toBe(-32602);
    const second = await callTool(gateway.url(), 'ask', {}, { capabilities, params });
    expect(second.result?.content?.[0]?.text).toContain('"roots":[]');
    await waitUntil('the settlement', async () => (await budget(gateway)).held === 0);
    expect(await budget(gateway)).toMatchObject({ used: 400_000 });
    // The same round again is a call of its own, and paid as one.
    await callTool(gateway.url(), 'ask', {}, { capabilities, params });
    await waitUntil('the settlement', async () => (await budget(gateway)).used === 800_000);
  });

  it('can be granted more for a while, reset, and stopped, each with a reason', async () => {
    await using server = await startFakeHttp('modern');
    await using gateway = await startGateway(config(server.url));
    const run = (...args: string[]) => tollgate([...args, '--config', gateway.configFile], gateway.folder);
    const spendAll = async () => {
      let ran = 0;
      while ((await callTool(gateway.url(), 'echo', { text: 'x' })).result !== undefined) ran++;
      return ran;
    };
    expect(await spendAll()).toBe(4);
    const granted = await run(
      'budget',
      'grant',
      'anonymous',
      '0.5 USD',
      '--limit',
      'spend',
      '--until',
      '2h',
      '--reason',
      'demo',
    );
    expect(granted.stdout).toMatch(/^Granted 0\.5 USD under spend to anonymous until .*Z \(grant-/);
    expect(await spendAll()).toBe(2);
    expect((await run('budget', 'reset', 'anonymous', '--limit', 'spend', '--reason', 'new month')).code).toBe(0);
    expect(await spendAll()).toBe(6);
    await run('budget', 'reset', 'anonymous', '--limit', 'spend', '--reason', 'again');
    const stop = await tollgate(
      ['stop', gateway.configFile, '--tool', 'fake/echo', '--reason', 'incident 7'],
      gateway.folder,
    );
    expect(stop.stdout).toContain('Stopped tool fake/echo.');
    const status = await tollgate(['status', gateway.configFile], gateway.folder);
    expect(status.stdout).toMatch(/Stopped:\n {2}tool fake\/echo, by \S+ since \S+: incident 7/);
    const refused = await callTool(gateway.url(), 'echo', { text: 'x' });
    expect(refused.error).toMatchObject({ data: { reason: 'stopped' } });
    expect(refused.error?.message).toContain('incident 7');
    expect((await callTool(gateway.url(), 'bytes', { size: 3 })).result).toBeDefined();
    const resumed = await tollgate(['resume', gateway.configFile, '--tool', 'fake/echo'], gateway.folder);
    expect(resumed.stdout).toContain('Resumed tool fake/echo (incident 7).');
    expect(await spendAll()).toBe(6);
    const listed = await run('budget', 'grants', 'spend');
    const grant = /^ {2}(grant-\w+): 0\.50 USD under spend to anonymous until \S+Z, by \S+: demo$/m.exec(
      listed.stdout,
    )?.[1];
    expect((await run('budget', 'revoke', grant!)).stdout).toBe(`Revoked ${grant}.\n`);
    expect((await run('budget', 'grants')).stdout).toBe('Nothing is granted.\n');
    expect(await run('budget', 'revoke', grant!)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('no such grant'),
    });
    expect((await run('budget', 'show', 'anonymous')).stdout).toMatch(
      /1\.50 of 1\.00 USD used.*full again in \d+ (d|h|min|s)\b/,
    );
    const doubted = await tollgate(
      ['stop', gateway.configFile, '--tool', 'fake/ehco', '--reason', 'x'],
      gateway.folder,
    );
    expect(doubted).toMatchObject({
      code: 0,
      stderr: expect.stringContaining('No tool that is listed now matches fake/ehco'),
    });
  });
});

describe('a second gateway on the same storage', () => {
  it('is refused while the state is in memory, naming the ways out', async () => {
    await using folder = await temporaryDirectory('second');
    await using server = await startFakeHttp('modern');
    await using first = await startGateway(config(server.url, { dataDir: `${folder.path}/data` }), {
      folder: folder.path,
    });
    const other = JSON.stringify(config(server.url, { dataDir: `${folder.path}/data`, limits: {} }));
    await using elsewhere = await temporaryDirectory('elsewhere');
    const { writeFile } = await import('node:fs/promises');
    await writeFile(`${elsewhere.path}/tollgate.yaml`, other);
    const second = await tollgate(['serve', 'tollgate.yaml', '--listen', '127.0.0.1:0'], elsewhere.path);
    expect(second.code).not.toBe(0);
    expect(second.stderr).toMatch(/runs already|state: redis/);
    first.child.signal('SIGKILL');
    await first.child.exited;
  });
});
