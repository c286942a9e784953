/** Limits through the real command line: every algorithm, the ladder, tiers, the guard, alerts, and the quota tool. */
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { awayFromTurn } from '@tollgate/testkit/calendar';
import { type FakeHttpServer, startFakeHttp } from '@tollgate/testkit/fake-http';
import { type RunningGateway, runTollgate, startGateway } from '@tollgate/testkit/gateway';
import { modernBody, modernHeaders } from '@tollgate/testkit/modern-request';
import { rawConnection } from '@tollgate/testkit/raw-http';
import { callTool } from '@tollgate/testkit/tool-call';
import { verifies } from '@tollgate/testkit/verifies';
import { waitUntil } from '@tollgate/testkit/wait';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';

const config = (server: string, more: object) => ({ version: 1, servers: { fake: { url: server } }, ...more });

async function burst(url: string, count: number): Promise<number> {
  const calls = await Promise.all(Array.from({ length: count }, () => callTool(url, 'echo', { text: 'x' })));
  return calls.filter((call) => call.result !== undefined).length;
}

describe('limits of the running gateway', () => {
  beforeEach(() => awayFromTurn('hour', 20_000));

  describe('admit exactly their number:', () => {
    const windows = {
      bucket: [{ limit: '5/h', burst: 3 }, 8],
      sliding: [{ limit: '5/h', algorithm: 'sliding-window' }, 5],
      fixed: [{ limit: '5/h', algorithm: 'fixed-window' }, 5],
      'from-the-first-call': [{ limit: '5/90m', algorithm: 'fixed-window' }, 5],
    } as const;
    const stack = new AsyncDisposableStack();
    const servers = new Map<string, FakeHttpServer>();
    let gateway: RunningGateway;
    beforeAll(async () => {
      for (const name of Object.keys(windows)) servers.set(name, stack.use(await startFakeHttp('modern')));
      gateway = stack.use(
        await startGateway({
          version: 1,
          servers: Object.fromEntries([...servers].map(([name, { url }]) => [name, { url }])),
          limits: Object.fromEntries(
            Object.entries(windows).map(([name, [limit]]) => [name, { server: name, by: 'principal', ...limit }]),
          ),
        }),
      );
    });
    afterAll(() => stack.disposeAsync());

    it.each(Object.entries(windows))('%s', async (name, [, expected]) => {
      verifies('R1-18');
      expect(await burst(gateway.url(`/s/${name}`), 40)).toBe(expected);
      expect(servers.get(name)?.count('tools/call')).toBe(expected);
    });
  });

  it('count in the shadow without refusing, beside one that refuses', async () => {
    await using server = await startFakeHttp('modern');
    await using gateway = await startGateway(
      config(server.url, {
        limits: {
          watched: { by: 'everyone', limit: '2/h', mode: 'shadow' },
          real: { by: 'everyone', limit: '4/h' },
        },
      }),
    );
    expect(await burst(gateway.url(), 10)).toBe(4);
  });

  it('let calls wait for a slot in their order, and refuse who would wait too long', async () => {
    const gate = Promise.withResolvers<void>();
    await using server = await startFakeHttp('modern', { latency: () => gate.promise });
    // One patience that no slow machine uses up, and one that is over soon.
    const busy = (tool: string, wait: string) => ({
      tool: `fake/${tool}`,
      by: 'server',
      limit: '1 at once',
      // biome-ignore lint/suspicious/noThenProperty: a key of the configuration.
      then: [`wait ${wait}`, 'refuse'],
    });
    await using gateway = await startGateway(
      config(server.url, { limits: { patient: busy('echo', '30s'), hasty: busy('bytes', '1s') } }),
    );
    const echo = (delay: number) => callTool(gateway.url(), 'echo', { text: String(delay), delay });
    const first = echo(400);
    await waitUntil('the first call', () => server.count('tools/call') === 1);
    expect((await echo(0)).result?.content?.[0]?.text).toBe('0');
    expect((await first).result).toBeDefined();
    const long = callTool(gateway.url(), 'bytes', { size: 1 });
    await waitUntil('the long call', () => server.count('tools/call') === 3);
    const refused = await callTool(gateway.url(), 'bytes', { size: 1 });
    expect(refused.error).toMatchObject({ code: 429, data: { reason: 'concurrency_limited', estimated: true } });
    gate.resolve();
    expect((await long).result).toBeDefined();
    expect(server.count('tools/call')).toBe(3);
  });

  it('tell what is left by a tool that is never refused, and say the rules to whoever connects', async () => {
    await using server = await startFakeHttp('modern');
    await using gateway = await startGateway(
      config(server.url, {
        tools: { 'fake/echo': { price: { each: '0.25 USD' } } },
        limits: { calls: { by: 'principal', limit: '2/h' }, spend: { by: 'principal', limit: '1 USD/day' } },
      }),
    );
    expect(await burst(gateway.url(), 3)).toBe(2);
    const quota = await callTool(gateway.url(), 'tollgate_quota');
    expect(quota.result?.['structuredContent']).toMatchObject({
      tier: 'default',
      limits: [
        { limit: 'calls', remaining: '0', of: '2' },
        { limit: 'spend', remaining: '0.50', of: '1.00', unit: 'USD' },
      ],
      prices: [{ tool: 'fake/echo', price: '0.25 USD' }],
    });
    expect(quota.result?.content?.[0]?.text).toContain('calls');
    const discover = await fetch(gateway.url(), {
      method: 'POST',
      headers: modernHeaders('server/discover'),
      body: modernBody(1, 'server/discover'),
    });
    const { result } = (await discover.json()) as { result: { instructions: string } };
    expect(result.instructions).toMatch(/Limits apply: .*\(calls\).*\(spend\)/);
  });

  it('rise with the tier that an administrator stores, and keep what was used', async () => {
    verifies('R0-34', 'R0-66');
    await using server = await startFakeHttp('modern');
    await using gateway = await startGateway(
      config(server.url, {
        auth: [{ name: 'ci', bearer: { token: 'a-long-enough-token', subject: 'bot' } }],
        limits: { calls: { by: 'principal', limit: '3/h' } },
        tiers: { gold: { calls: '5/h' } },
      }),
    );
    const call = async () =>
      (await callTool(gateway.url(), 'echo', { text: 'x' }, { token: 'a-long-enough-token' })).result !== undefined;
    const admitted = async (tries: number) => {
      let count = 0;
      for (let i = 0; i < tries; i++) if (await call()) count++;
      return count;
    };
    expect(await admitted(5)).toBe(3);
    const input = { operation: 'set_client_tier', client_id: 'ci/bot', tier: 'gold' };
    const op = await runTollgate(['op', gateway.configFile, '--input', JSON.stringify(input)], gateway.folder);
    expect(JSON.parse(op.stdout)).toMatchObject({ status: 'success', message: 'Client tier set to gold' });
    expect(await admitted(5)).toBe(2);
  });

  it('guard a session before anything of it is read', async () => {
    verifies('R4-03', 'R4-14');
    await using server = await startFakeHttp('modern');
    await using gateway = await startGateway(config(server.url, { sessionGuard: { limit: '2/60s' } }));
    const post = () => fetch(gateway.url(), { method: 'POST', headers: modernHeaders('ping'), body: 'not even JSON' });
    const statuses = [(await post()).status, (await post()).status];
    expect(statuses).toEqual([400, 400]);
    const refused = await post();
    expect(refused.status).toBe(429);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(Number(refused.headers.get('retry-after'))).toBeLessThanOrEqual(60);
  });

  it('alert at their shares, to the log and to a webhook', async () => {
    const told: { type: string; data: { limit: string; share: number } }[] = [];
    const receiver = createServer((request, response) => {
      let body = '';
      request.on('data', (chunk) => {
        body += chunk;
      });
      request.on('end', () => {
        told.push(JSON.parse(body));
        response.writeHead(204).end();
      });
    });
    await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve));
    try {
      await using server = await startFakeHttp('modern');
      await using gateway = await startGateway(
        config(server.url, {
          tools: { 'fake/echo': { price: { each: '0.25 USD' } } },
          limits: { spend: { by: 'principal', limit: '1 USD/day', alerts: ['50%', '100%'] } },
          webhooks: [{ url: `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hook` }],
        }),
      );
      expect(await burst(gateway.url(), 6)).toBe(4);
      await waitUntil('both alerts', () => told.length === 2);
      expect(told.map(({ type, data }) => [type, data.limit, data.share])).toEqual([
        ['share', 'spend', 0.5],
        ['share', 'spend', 1],
      ]);
      await gateway.child.waitFor(/a share of a limit is used up/);
    } finally {
      await new Promise((resolve) => receiver.close(resolve));
    }
  });

  it('are counted for Prometheus, by limit and verdict, for who may see them', async () => {
    await using server = await startFakeHttp('modern');
    await using gateway = await startGateway(
      config(server.url, { limits: { calls: { by: 'principal', limit: '2/h' } }, sessionGuard: { limit: '3/60s' } }),
    );
    expect(await burst(gateway.url(), 5)).toBe(2);
    const metrics = gateway.url('/metrics');
    expect((await fetch(metrics)).status).toBe(403);
    const token = await readFile(join(gateway.folder, '.tollgate', 'admin.token'), 'utf8');
    const page = await fetch(metrics, { headers: { authorization: `Bearer ${token.trim()}` } });
    expect(page.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
    const text = await page.text();
    expect(text).toContain('tollgate_limit_decisions_total{limit="calls",verdict="admitted"} 2');
    expect(text).toContain('tollgate_limit_decisions_total{limit="calls",verdict="refused"} 1');
    expect(text).toContain('tollgate_session_guard_denials_total 2');
    expect(text).toContain('tollgate_ledger_waiting 0');
  });

  it('write more to the log when debugging is switched on', async () => {
    verifies('R0-65');
    await using server = await startFakeHttp('modern');
    const provoke = async (args: readonly string[]) => {
      await using gateway = await startGateway(config(server.url, {}), { args });
      await using client = await rawConnection(gateway.port);
      client.send('POST /mcp HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n');
      expect((await client.response()).status).toBe(403);
      await gateway.child.stop();
      return gateway.child.stderr();
    };
    expect(await provoke(['--debug'])).toContain('refused at the gate');
    expect(await provoke([])).not.toContain('refused at the gate');
  });
});
