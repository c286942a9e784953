/** Servers that attack: one clear error for the caller concerned, within the deadline, and nothing for anybody else. */
import { readFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { type RunningGateway, startGateway } from '@tollgate/testkit/gateway';
import { modernMeta, modernRequest } from '@tollgate/testkit/modern-request';
import { exchange, rawConnection, rawRequest } from '@tollgate/testkit/raw-http';
import { verifies } from '@tollgate/testkit/verifies';
import { waitUntil } from '@tollgate/testkit/wait';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  callTool,
  LEGACY_HEADERS,
  openSession,
  type Received,
  rpc,
  type ScriptedServer,
  sendJson,
  startScripted,
  textResult,
} from './kit.ts';

const schema = { type: 'object' };
const event = (text: string): string => `event: message\ndata: ${text}\n\n`;
const notification = (method: string, params: object): string => JSON.stringify({ jsonrpc: '2.0', method, params });

/** Resident memory of a process in MiB. */
async function residentMiB(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) / 1024;
}

/** Writes as long as the other side reads. */
function pour(response: ServerResponse, piece: string): void {
  const more = (): void => {
    while (!response.destroyed && response.write(piece));
    if (!response.destroyed) response.once('drain', more);
  };
  more();
}

/** Made once: on a busy machine it takes longer than the gateway waits for the answers to others. */
const INFLATED = gzipSync(Buffer.alloc(50_000_000, 'x'));
/** A text result that is small on the wire: the parts of a compressed text may be compressed one by one. */
function compressed(id: unknown): Buffer {
  const [head = '', tail = ''] = textResult(id, 'INFLATED').split('INFLATED');
  return Buffer.concat([gzipSync(head), INFLATED, gzipSync(tail)]);
}

/** What a modern server may do instead of answering; each is a tool of the same name. */
const ATTACKS: Record<string, (received: Received, response: ServerResponse) => void> = {
  compressed: ({ message }, response) =>
    response
      .writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' })
      .end(compressed(message.id)),
  deep: ({ message }, response) =>
    sendJson(response, textResult(message.id, 'DEEP').replace('"DEEP"', `${'['.repeat(20_000)}${']'.repeat(20_000)}`)),
  two_results: ({ message }, response) =>
    sendJson(response, textResult(message.id, 'one').replace('{"jsonrpc"', '{"result":{"content":[]},"jsonrpc"')),
  two_ids: ({ message }, response) =>
    sendJson(response, textResult(message.id, 'one').replace('{"jsonrpc"', '{"id":"other","jsonrpc"')),
  batch: ({ message }, response) => sendJson(response, `[${textResult(message.id, 'one')}]`),
  result_and_error: ({ message }, response) =>
    sendJson(response, `${textResult(message.id, 'one').slice(0, -1)},"error":{"code":1,"message":"x"}}`),
  text_id: ({ message }, response) => sendJson(response, textResult(String(message.id), 'one')),
  float_id: ({ message }, response) =>
    sendJson(response, textResult('ID', 'one').replace('"ID"', `${String(message.id)}.0`)),
  null_id: (_received, response) => sendJson(response, textResult(null, 'one')),
  bom: ({ message }, response) => sendJson(response, `\ufeff${textResult(message.id, 'one')}`),
  surrogate: ({ message }, response) =>
    sendJson(
      response,
      textResult(message.id, 'S').replace('"S"', '"\\ud800"').replace('"jsonrpc"', '"\\ud800":1,"jsonrpc"'),
    ),
  proto: ({ message }, response) =>
    sendJson(response, textResult(message.id, 'P').replace('{"resultType"', '{"__proto__":{"a":1},"resultType"')),
  empty_body: (_received, response) => response.writeHead(200, { 'content-type': 'application/json' }).end(),
  accepted: (_received, response) => response.writeHead(202).end(),
  no_content: (_received, response) => response.writeHead(204).end(),
  short_length: ({ message }, response) =>
    response
      .writeHead(200, { 'content-type': 'application/json', 'content-length': '100000' })
      .end(textResult(message.id, 'one'), () => response.socket?.destroy()),
  endless_events: ({ message }, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    const progressToken = (message.params?._meta as { progressToken?: unknown } | undefined)?.progressToken;
    const timer = setInterval(() => {
      response.write(event(notification('notifications/progress', { progressToken, progress: 1 })));
      response.write(event(notification('notifications/message', { level: 'info', data: 'x' })));
    }, 5);
    response.on('close', () => clearInterval(timer));
  },
  torrent: (_received, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    pour(response, event(notification('notifications/progress', { progressToken: 'nobody', data: 'x'.repeat(1000) })));
  },
  endless_comments: (_received, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    pour(response, `: ${'x'.repeat(1000)}\n`);
  },
  endless_headers: (_received, response) => {
    response.socket?.write('HTTP/1.1 200 OK\r\n');
    const timer = setInterval(() => response.socket?.write(`x-a: ${'b'.repeat(60_000)}\r\n`), 1);
    response.on('close', () => clearInterval(timer));
  },
  informational_flood: (_received, response) => {
    const timer = setInterval(() => response.socket?.write('HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(100)), 1);
    response.on('close', () => clearInterval(timer));
  },
  upgrade: (_received, response) =>
    response.socket?.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n'),
  foreign_requests: ({ message }, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    for (const method of ['sampling/createMessage', 'roots/list', 'elicitation/create', 'tools/call', 'ping']) {
      response.write(event(JSON.stringify({ jsonrpc: '2.0', id: message.id, method, params: {} })));
    }
    response.end();
  },
};

describe('a modern HTTP server that attacks', () => {
  const stack = new AsyncDisposableStack();
  let gateway: RunningGateway;
  let server: ScriptedServer;
  /** Calls that wait at the server, by the text they came with. */
  const waiting = new Map<string, { received: Received; response: ServerResponse }>();
  beforeAll(async () => {
    server = stack.use(
      await startScripted({
        era: 'modern',
        tools: [...Object.keys(ATTACKS), 'echo', 'wait', 'headers'].map((name) => ({ name, inputSchema: schema })),
        call: (received, response) => {
          const { name = '', arguments: args } = received.message.params ?? {};
          const text = String(args?.['text']);
          if (name === 'echo') sendJson(response, textResult(received.message.id, text));
          else if (name === 'wait') waiting.set(text, { received, response });
          else if (name === 'headers') {
            sendJson(response, textResult(received.message.id, 'headers'), {
              'mcp-session-id': 'stolen',
              'set-cookie': 'a=stolen',
              'www-authenticate': 'Bearer stolen',
              'access-control-allow-origin': 'https://stolen.example',
              location: 'https://stolen.example',
              'x-powered-by': 'stolen',
              'mcp-protocol-version': 'stolen',
              connection: 'x-stolen',
              'x-stolen': 'stolen',
            });
          } else ATTACKS[name]?.(received, response);
        },
      }),
    );
    gateway = stack.use(
      await startGateway({
        version: 1,
        caps: { response: '1MiB' },
        servers: {
          // Within this the same server has to answer the others, on a busy machine too.
          attacker: { url: server.url, timeout: { connect: '3s', firstByte: '3s', idle: '3s', request: '4s' } },
        },
      }),
    );
  });
  afterAll(() => stack.disposeAsync());

  it.each(
    Object.keys(ATTACKS),
  )('%s: one clear error for its caller, the same server serves the others', async (name) => {
    verifies('R1-24', 'R1-33');
    const others = Promise.all(
      Array.from({ length: 5 }, async (_, i) =>
        JSON.stringify(await callTool(gateway.port, 'echo', { text: `other ${i}` })),
      ),
    );
    const answer = await callTool(gateway.port, name);
    expect(answer.id).toBe(1);
    expect(answer.result, JSON.stringify(answer).slice(0, 300)).toBeUndefined();
    expect([503, 504]).toContain(answer.error?.code);
    expect(answer.error?.message).toContain('attacker');
    for (const [i, text] of (await others).entries()) expect(text).toContain(`other ${i}`);
    expect(JSON.stringify(await callTool(gateway.port, 'echo', { text: 'afterwards' }))).toContain('afterwards');
    expect(gateway.child.transcript()).not.toContain('was not handled');
  });

  it('passes on no header of its answer that could steer a client', async () => {
    const response = await exchange(gateway.port, modernRequest(1, 'tools/call', { name: 'headers' }));
    expect(rpc(response)).toMatchObject({ result: { content: [{ text: 'headers' }] } });
    expect(JSON.stringify(response.headers)).not.toContain('stolen');
  });

  it('cannot answer the call of somebody else, nor show it progress', async () => {
    verifies('R1-23');
    await using ann = await rawConnection(gateway.port);
    await using bob = await rawConnection(gateway.port);
    const ask = (text: string) =>
      modernRequest(1, 'tools/call', {
        name: 'wait',
        arguments: { text },
        _meta: modernMeta({}, { progressToken: 'same' }),
      });
    ann.send(rawRequest(gateway.port, ask('ann')));
    bob.send(rawRequest(gateway.port, ask('bob')));
    await waitUntil('both calls at the server', () => waiting.size === 2);
    const [a, b] = [waiting.get('ann')!, waiting.get('bob')!];
    // On the stream of Ann: an answer and progress for Bob, then nothing of hers.
    const token = (b.received.message.params?._meta as { progressToken?: unknown } | undefined)?.progressToken;
    expect(token).not.toBe('same');
    a.response.writeHead(200, { 'content-type': 'text/event-stream' });
    a.response.write(
      event(notification('notifications/progress', { progressToken: token, progress: 1, message: 'poison' })),
    );
    a.response.write(
      event(notification('notifications/progress', { progressToken: 'same', progress: 1, message: 'poison' })),
    );
    a.response.write(event(textResult(b.received.message.id, 'poison')));
    a.response.end();
    const hers = await ann.response();
    expect(hers.body).not.toContain('poison');
    expect(rpc(hers).error?.code).toBe(503);
    sendJson(b.response, textResult(b.received.message.id, 'for bob'));
    const his = await bob.response();
    expect(his.body).not.toContain('poison');
    expect(rpc(his)).toMatchObject({ id: 1, result: { content: [{ text: 'for bob' }] } });
  });

  it('costs no memory that grows, however much it pours', async () => {
    await Promise.all(Array.from({ length: 3 }, () => callTool(gateway.port, 'torrent')));
    const before = await residentMiB(gateway.child.pid);
    await Promise.all(
      Array.from({ length: 10 }, (_, i) => callTool(gateway.port, i % 2 === 0 ? 'torrent' : 'endless_comments')),
    );
    // Ten poured for four seconds each: gigabytes, had anybody kept them.
    expect((await residentMiB(gateway.child.pid)) - before).toBeLessThan(300);
  });
});

describe('lists of a server', () => {
  it('that never end, or are huge, or are not lists hide nobody else', async () => {
    verifies('R1-05');
    const huge = `[${Array.from({ length: 200_000 }, (_, i) => `{"name":"t${i}","inputSchema":{"type":"object"}}`).join(',')}]`;
    await using large = await startScripted({ era: 'modern', tools: huge });
    await using circle = await startScripted({ era: 'modern', tools: '[],"nextCursor":"again"' });
    await using broken = await startScripted({ era: 'modern', tools: '{"length":1}' });
    await using strange = await startScripted({
      era: 'modern',
      tools:
        '[null,1,"x",{},{"name":7},{"name":""},{"name":"fine","inputSchema":{"type":"object"}},{"name":"no_schema"},{"name":"tollgate_quota","inputSchema":{"type":"object"}}]',
    });
    await using good = await startScripted({
      era: 'modern',
      tools: ['constructor', 'toString', '__proto__', 'hasOwnProperty'].map((name) => ({ name, inputSchema: schema })),
      call: ({ message }, response) => sendJson(response, textResult(message.id, `ran ${message.params?.name}`)),
    });
    const timeout = { request: '3s' };
    await using gateway = await startGateway({
      version: 1,
      caps: { response: '1MiB' },
      endpoints: { '/mcp': { servers: '*', listTimeout: '3s' } },
      servers: {
        large: { url: large.url, timeout },
        circle: { url: circle.url, timeout },
        broken: { url: broken.url, timeout },
        strange: { url: strange.url, timeout },
        good: { url: good.url, timeout },
      },
    });
    const list = rpc(await exchange(gateway.port, modernRequest(1, 'tools/list'))).result as {
      tools: { name: string }[];
    };
    const names = list.tools.map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(['fine', 'constructor', 'toString', '__proto__', 'hasOwnProperty']));
    expect(names.some((name) => /^t\d+$/.test(name) || name === '' || name === 'tollgate_quota')).toBe(false);
    // Names of the prototype are names like others: each call runs the tool it names.
    for (const name of ['constructor', 'toString', '__proto__', 'hasOwnProperty']) {
      expect(JSON.stringify(await callTool(gateway.port, name))).toContain(`ran ${name}`);
    }
    expect((await callTool(gateway.port, 'valueOf')).error?.code).toBe(-32602);
  });
});

describe('a legacy server of several sessions', () => {
  it('reaches with ids, tokens, questions and messages only the session on whose stream it speaks', async () => {
    verifies('R1-23', 'R1-24');
    const held = new Map<string, { received: Received; response: ServerResponse }>();
    await using server = await startScripted({
      era: 'legacy',
      tools: [{ name: 'wait', inputSchema: schema }],
      call: (received, response) =>
        void held.set(String(received.message.params?.arguments?.['text']), { received, response }),
    });
    await using gateway = await startGateway({ version: 1, servers: { old: { url: server.url, protocol: 'legacy' } } });
    const clients = await Promise.all(
      ['ann', 'bob'].map(async (name) => {
        const session = await openSession(gateway.port, [], '/mcp', { sampling: {}, roots: {} });
        const headers = [...LEGACY_HEADERS, ['Mcp-Session-Id', session] as const];
        const stream = await rawConnection(gateway.port);
        stream.send(
          rawRequest(gateway.port, {
            method: 'GET',
            headers: [...headers, ['Accept', 'text/event-stream'] as const].filter(
              ([key, value]) => key !== 'Accept' || value === 'text/event-stream',
            ),
          }),
        );
        await stream.until(/text\/event-stream/);
        const call = await rawConnection(gateway.port);
        const params = { name: 'wait', arguments: { text: name }, _meta: { progressToken: 'same' } };
        call.send(
          rawRequest(gateway.port, {
            headers,
            body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params }),
          }),
        );
        return { name, session, stream, call };
      }),
    );
    const [, bob] = clients as [(typeof clients)[number], (typeof clients)[number]];
    await using _close = {
      [Symbol.asyncDispose]: async () => {
        for (const { stream, call } of clients) {
          stream.socket.destroy();
          call.socket.destroy();
        }
      },
    };
    await waitUntil('both calls at the server', () => held.size === 2);
    const [a, b] = [held.get('ann')!, held.get('bob')!];
    expect(a.received.session).not.toBe(b.received.session);
    const own = await waitUntil('the stream of the first session', () => server.streams.get(a.received.session ?? ''));
    const token = (b.received.message.params?._meta as { progressToken?: unknown } | undefined)?.progressToken;
    for (const id of [b.received.message.id, 1, '1', b.received.session]) {
      if (id !== a.received.message.id) own.write(event(textResult(id, 'poison')));
    }
    own.write(event(notification('notifications/progress', { progressToken: 'same', progress: 1, message: 'poison' })));
    if (token !== (a.received.message.params?._meta as { progressToken?: unknown } | undefined)?.progressToken) {
      own.write(
        event(notification('notifications/progress', { progressToken: token, progress: 1, message: 'poison' })),
      );
    }
    own.write(event(notification('notifications/cancelled', { requestId: b.received.message.id, reason: 'poison' })));
    own.write(event(notification('notifications/message', { level: 'error', data: 'poison' })));
    own.write(
      event(
        JSON.stringify({
          jsonrpc: '2.0',
          id: 1,
          method: 'sampling/createMessage',
          params: { messages: [], maxTokens: 1, systemPrompt: 'poison' },
        }),
      ),
    );
    // All of it was heard when its question comes out at the first client, whose only call is in flight.
    await clients[0]!.call.until(/sampling\/createMessage/);
    sendJson(b.response, textResult(b.received.message.id, 'for bob'));
    const his = await bob.call.response();
    expect(his.body).toContain('for bob');
    expect(his.body).not.toContain('poison');
    bob.call.send(
      rawRequest(gateway.port, {
        headers: [...LEGACY_HEADERS, ['Mcp-Session-Id', bob.session]],
        body: '{"jsonrpc":"2.0","id":2,"method":"ping"}',
      }),
    );
    expect((await bob.call.response()).body).toContain('"result":{}');
    sendJson(a.response, textResult(a.received.message.id, 'for ann'));
    await clients[0]!.call.until(/for ann/);
    bob.stream.socket.destroy();
    expect(await bob.stream.closed()).not.toContain('poison');
  });
});

describe('children that attack', () => {
  it('that flood both outputs, with anything, cost their caller an error and the gateway little memory', async () => {
    verifies('R1-24');
    const child = (flood: string): object => ({
      command: process.execPath,
      args: ['-e', childCode(flood)],
      protocol: 'legacy',
      instances: { mode: 'shared' },
    });
    await using good = await startScripted({
      era: 'modern',
      tools: [{ name: 'echo', inputSchema: schema }],
      call: ({ message }, response) => sendJson(response, textResult(message.id, 'undisturbed')),
    });
    await using gateway = await startGateway({
      version: 1,
      caps: { response: '1MiB' },
      endpoints: { '/mcp': { servers: '*', naming: 'prefix' } },
      // Of the calls alone: a process takes as long to start as the machine is busy.
      tools: { '*/flood': { timeout: '1s' } },
      servers: {
        stdout: child('process.stdout.write("x".repeat(65536))'),
        lines: child('process.stdout.write("noise\\n".repeat(1000))'),
        notes: child('process.stdout.write(note.repeat(200))'),
        questions: child('process.stdout.write(ask.repeat(200))'),
        stderr: child('process.stderr.write("y".repeat(100) + "\\n")'),
        good: { url: good.url },
      },
    });
    for (const name of ['stdout', 'lines', 'notes', 'questions', 'stderr']) {
      const [flooded] = await Promise.all([
        callTool(gateway.port, `${name}_flood`),
        sleep(300).then(async () => {
          for (let i = 0; i < 10; i += 1) {
            expect(JSON.stringify(await callTool(gateway.port, 'good_echo')), name).toContain('undisturbed');
          }
        }),
      ]);
      expect(flooded.error?.code, name).toBeGreaterThanOrEqual(503);
      expect(flooded.error?.message, name).toContain(name);
    }
    expect(await residentMiB(gateway.child.pid)).toBeLessThan(600);
    expect(gateway.child.transcript()).not.toContain('was not handled');
  });
});

/** A legacy server whose one tool floods for ever instead of answering. */
function childCode(flood: string): string {
  return `
const note = JSON.stringify({ jsonrpc: '2.0', method: 'notifications/progress', params: { progressToken: 'nobody', progress: 1 } }) + '\\n';
const ask = JSON.stringify({ jsonrpc: '2.0', id: 7, method: 'sampling/createMessage', params: { messages: [] } }) + '\\n';
const answer = (id, result) => process.stdout.write(JSON.stringify({ jsonrpc: '2.0', id, result }) + '\\n');
process.stdout.on('error', () => process.exit()); process.stderr.on('error', () => process.exit());
require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
  const { id, method } = JSON.parse(line);
  if (method === 'initialize') answer(id, { protocolVersion: '2025-11-25', capabilities: { tools: {} }, serverInfo: { name: 'f', version: '1' } });
  else if (method === 'tools/list') answer(id, { tools: [{ name: 'flood', inputSchema: { type: 'object' } }] });
  else if (method === 'tools/call') (function pour() { for (let i = 0; i < 50; i++) ${flood}; setImmediate(pour); })();
}).on('close', () => process.exit());`;
}
