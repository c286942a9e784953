import { resolve } from 'node:path';
import { type FakeHttpServer, startFakeHttp } from '@tollgate/testkit/fake-http';
import { FAULTS } from '@tollgate/testkit/fake-tools';
import { type RunningGateway, startGateway } from '@tollgate/testkit/gateway';
import { modernRequest } from '@tollgate/testkit/modern-request';
import { exchange } from '@tollgate/testkit/raw-http';
import { parseSse } from '@tollgate/testkit/sse';
import { verifies } from '@tollgate/testkit/verifies';
import { waitUntil } from '@tollgate/testkit/wait';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const FAKE_STDIO = resolve(import.meta.dirname, '../packages/testkit/src/fake-stdio.ts');
/** Far beyond every configured time: an answer that takes longer is a hang. */
const HANG = 40_000;

interface Answer {
  readonly id?: unknown;
  readonly result?: unknown;
  readonly error?: { readonly code: number; readonly message: string };
}

/** Servers by the way they answer; each offers every fault that its transport can express. */
const SERVERS = ['json', 'stream', 'session', 'events', 'child', 'oldchild'] as const;

/** These end a child process: each gets a server of its own, so that one restart delay does not hit the next test. */
const FATAL = ['endless', 'half_close', 'reset', 'die'] as const;

/** With these the caller's answer is sound: the fault comes after it, or is not one on that transport. */
const HARMLESS = new Set(['duplicate']);

describe('a server that misbehaves', () => {
  const stack = new AsyncDisposableStack();
  let gateway: RunningGateway;
  beforeAll(async () => {
    const http = async (...args: Parameters<typeof startFakeHttp>): Promise<FakeHttpServer> =>
      stack.use(await startFakeHttp(...args));
    const timeout = { connect: '1s', firstByte: '800ms', idle: '800ms', request: '1s' };
    const stdio = (era: string) => ({
      command: process.execPath,
      args: [FAKE_STDIO, JSON.stringify({ era })],
      instances: { mode: 'shared' },
    });
    gateway = stack.use(
      await startGateway({
        version: 1,
        caps: { response: '1MiB' },
        // Of the calls alone: a process takes as long to start as the machine is busy.
        tools: { '*/fault_*': { timeout: timeout.request } },
        endpoints: { '/mcp': { servers: '*', naming: 'prefix' } },
        servers: {
          json: { url: (await http('modern')).url, timeout },
          stream: { url: (await http('modern', { answer: 'sse' })).url, timeout },
          session: { url: (await http('session', { answer: 'sse' })).url, timeout },
          events: { url: (await http('sse')).url, protocol: 'sse', timeout },
          child: stdio('modern'),
          oldchild: stdio('legacy'),
          ...Object.fromEntries(
            FATAL.flatMap((fault) => [
              [`child_${fault}`, stdio('modern')],
              [`oldchild_${fault}`, stdio('legacy')],
            ]),
          ),
          bystander: { url: (await http('modern')).url },
        },
      }),
    );
  });
  afterAll(() => stack.disposeAsync());

  async function call(id: number, tool: string, args: Record<string, unknown> = {}): Promise<Answer> {
    const request = modernRequest(id, 'tools/call', { name: tool, arguments: args });
    const response = await exchange(gateway.port, request, HANG);
    const text = response.header('content-type')?.startsWith('text/event-stream')
      ? (parseSse(response.body).at(-1)?.data ?? '{}')
      : response.body;
    return JSON.parse(text) as Answer;
  }

  describe.each(SERVERS)('%s', (server) => {
    it.each(FAULTS)('%s: one clear error for its caller within the deadline, nothing for others', async (fault) => {
      verifies('R1-24', 'R1-33');
      const bystander = call(2, 'bystander_echo', { text: 'undisturbed', delay: 100 });
      const fatal = server.endsWith('child') && FATAL.some((name) => name === fault);
      const target = fatal ? `${server}_${fault}` : server;
      const answer = await call(1, `${target}_fault_${fault}`);
      expect(answer.id).toBe(1);
      if (!HARMLESS.has(fault)) {
        expect(answer.result).toBeUndefined();
        // A JSON-RPC error of the server's own is passed on as it is.
        const own = server.endsWith('child') && fault === 'status_500';
        expect(answer.error?.message).toContain(own ? 'Internal error' : server);
      }
      expect(JSON.stringify(await bystander)).toContain('undisturbed');
      // The server is usable again: restarted, reconnected, or never lost.
      await waitUntil(`${target} to answer again`, again, { interval: 200 });
      async function again(): Promise<boolean> {
        return JSON.stringify(await call(3, `${target}_echo`, { text: 'again' })).includes('again');
      }
    });
  });
});
