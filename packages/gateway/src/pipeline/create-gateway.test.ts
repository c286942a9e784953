import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { type FakeHttpKind, startFakeHttp } from '@tollgate/testkit/fake-http';
import { verifies } from '@tollgate/testkit/verifies';
import { describe, expect, it } from 'vitest';
import {
  createGateway,
  type FinishedCall,
  type GatewayConfig,
  type GatewayHandle,
  type Log,
  TollgateError,
  TransformRegistry,
} from '../index.ts';

const LISTEN = '127.0.0.1:0';

async function connect(url: string, mode: 'legacy' | 'auto' = 'auto', token?: string): Promise<Client> {
  const client = new Client(
    { name: 'library-test', version: '1.0.0' },
    mode === 'auto' ? { versionNegotiation: { mode: 'auto' } } : {},
  );
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  await client.connect(new StreamableHTTPClientTransport(new URL(`${url}/mcp`), { requestInit: { headers } }));
  return client;
}

async function textOf(client: Client, name: string, args: Record<string, unknown> = {}): Promise<string> {
  const { content } = await client.callTool({ name, arguments: args });
  return (content as { text: string }[])[0]?.text ?? '';
}

async function rejected(run: Promise<unknown>): Promise<TollgateError> {
  const error = await run.then(
    () => new Error('expected a rejection'),
    (thrown: unknown) => thrown,
  );
  if (!TollgateError.is(error)) throw error;
  return error;
}

describe('createGateway', () => {
  it('serves an object, tells calls and status, and leaves nothing behind', async () => {
    verifies('R1-47');
    const home = await mkdtemp(join(tmpdir(), 'library-'));
    await using fake = await startFakeHttp('modern');
    const config: GatewayConfig = {
      listen: LISTEN,
      servers: { fake: { url: fake.url } },
      limits: { calls: { by: 'principal', limit: '100/min' } },
    };
    const gateway = await createGateway(config, { env: { HOME: home, XDG_STATE_HOME: home } });
    const { url } = await gateway.listen();
    await gateway.settled();
    const seen: FinishedCall[] = [];
    const stop = gateway.calls.watch((call) => seen.push(call));
    const client = await connect(url);
    expect(await textOf(client, 'echo', { text: 'hello' })).toBe('hello');
    await client.close();
    expect(seen.filter((call) => call.method === 'tools/call')).toMatchObject([
      { target: 'fake/echo', principal: 'anonymous', outcome: 'answered' },
    ]);
    stop();
    expect(gateway.calls.recent().length).toBeGreaterThan(0);
    expect(gateway.calls.statistics().tools.get('fake/echo')).toMatchObject({ total: 1, successful: 1 });
    expect(gateway.status).toMatchObject({
      configuration: '(object)',
      generation: 1,
      ready: true,
      url,
      servers: [{ name: 'fake', state: 'ready', problem: undefined }],
    });
    await gateway.close();
    await gateway.close();
    await gateway.closed;
    await expect(fetch(`${url}/mcp`)).rejects.toThrow();
    // No data folder, no socket, no record.
    expect(await readdir(home)).toEqual([]);
    await rm(home, { recursive: true });
  });

  it('rejects with every mistake and its key, before anything starts', async () => {
    const error = await rejected(
      createGateway({ servers: { a: { url: 'ftp://x' } }, limits: { l: { by: 'principal', limit: 'many' } } }),
    );
    expect(error.code).toBe('config_invalid');
    expect(error.message).toMatch(/has 2 mistakes/);
    expect(error.message).toContain('servers.a.url');
    expect(error.message).toContain('limits.l.limit');
    expect((await rejected(createGateway('/nowhere/tollgate.yaml'))).code).toBe('config_not_found');
  });

  it('swaps configurations, and keeps the old one when the new one is wrong', async () => {
    await using one = await startFakeHttp('modern', { name: 'one', extraTools: 1 });
    await using two = await startFakeHttp('modern', { name: 'two', extraTools: 1 });
    await using gateway = await createGateway({ listen: LISTEN, servers: { fake: { url: one.url } } });
    const { url } = await gateway.listen();
    const client = await connect(url);
    expect(await textOf(client, 'tool_0')).toContain('one/');
    expect((await rejected(gateway.apply({ listen: LISTEN, servers: { fake: {} } }))).code).toBe('config_invalid');
    expect(await textOf(client, 'tool_0')).toContain('one/');
    await gateway.apply({ listen: LISTEN, servers: { fake: { url: two.url } } });
    expect(await textOf(client, 'tool_0')).toContain('two/');
    expect(gateway.status.generation).toBe(2);
    await client.close();
  });

  it('reads a file, and tells its warnings to the log', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'library-'));
    await using fake = await startFakeHttp('modern');
    const file = join(folder, 'tollgate.yaml');
    await writeFile(
      file,
      `listen: ${LISTEN}\nservers: { fake: { url: ${fake.url} } }\nauth: [{ name: ci, bearer: { token: 0123456789abcdefghij } }]\n`,
    );
    const lines: string[] = [];
    const write = (fields: object, message: string) => void lines.push(`${message} ${JSON.stringify(fields)}`);
    const log: Log = { debug() {}, info() {}, warn: write, error: write, child: () => log };
    await using gateway = await createGateway(file, { log });
    const { url } = await gateway.listen();
    expect(gateway.status.configuration).toBe(file);
    expect(lines.join('\n')).toContain('plain text');
    expect(lines.join('\n')).not.toContain('0123456789abcdefghij');
    const client = await connect(url, 'auto', '0123456789abcdefghij');
    expect(await textOf(client, 'echo', { text: 'x' })).toBe('x');
    await client.close();
    await rm(folder, { recursive: true });
  });

  it('closes itself when the address is taken, and two gateways live side by side', async () => {
    await using fake = await startFakeHttp('modern');
    const servers = { fake: { url: fake.url } };
    await using first = await createGateway({ listen: LISTEN, servers });
    await using second = await createGateway({ listen: LISTEN, servers });
    const { url } = await first.listen();
    await second.listen();
    const taken = await createGateway({ listen: new URL(url).host, servers });
    expect((await rejected(taken.listen())).code).toBe('listen_failed');
    await taken.closed;
  });

  it('drains: a running call still gets its answer', async () => {
    await using fake = await startFakeHttp('modern');
    await using gateway = await createGateway({ listen: LISTEN, servers: { fake: { url: fake.url } } });
    const { url } = await gateway.listen();
    const client = await connect(url);
    const answer = textOf(client, 'echo', { text: 'late', delay: 200 });
    await expect.poll(() => fake.seen('tools/call').length).toBe(1);
    expect(await gateway.drain(5000)).toBe(true);
    expect(await answer).toBe('late');
    await gateway.closed;
    await client.close();
  });
});

it('ends in order although it never listened, and serves no pipe without an endpoint', async () => {
  await using fake = await startFakeHttp('modern');
  const servers = { fake: { url: fake.url } };
  const idle = await createGateway({ listen: LISTEN, servers });
  expect(await idle.drain(1000)).toBe(true);
  expect(await idle.drain(1000)).toBe(true);
  await idle.close();
  const piped = await createGateway({ listen: LISTEN, servers });
  const pipes = { stdin: new PassThrough(), stdout: new PassThrough() };
  const error = await rejected(piped.serveStdio({ ...pipes, endpoint: '/nowhere' }));
  expect(error.message).toContain('/nowhere');
  await piped.closed;
});

describe('transformers in a running gateway', () => {
  const upstreams: readonly (readonly [FakeHttpKind, 'json' | 'sse'])[] = [
    ['modern', 'json'],
    ['modern', 'sse'],
    ['session', 'json'],
    ['session', 'sse'],
  ];
  const registry = (): TransformRegistry =>
    new TransformRegistry()
      .addRequest('shout', (_call, args) => ({ ...args, text: String(args['text']).toUpperCase() }))
      .addResponse('sign', (call, result) => {
        const content = result['content'] as { type: string; text: string }[];
        return {
          ...result,
          content: content.map((block) => ({ ...block, text: `${block.text} (${call.canonicalId})` })),
        };
      });

  for (const [kind, answer] of upstreams) {
    for (const mode of ['legacy', 'auto'] as const) {
      it(`change calls of a client (${mode}) to a server (${kind}, ${answer})`, async () => {
        verifies('R1-35', 'R1-39', 'R1-51');
        await using fake = await startFakeHttp(kind, { answer });
        await using gateway = await createGateway(
          { listen: LISTEN, servers: { fake: { url: fake.url } } },
          { transformers: registry() },
        );
        const { url } = await gateway.listen();
        const client = await connect(url, mode);
        expect(await textOf(client, 'echo', { text: 'hello' })).toBe('HELLO (fake/echo)');
        expect(fake.seen('tools/call')[0]?.message).toMatchObject({ params: { arguments: { text: 'HELLO' } } });
        await client.close();
      });
    }
  }

  async function refusing(
    transformers: TransformRegistry,
    log?: Log,
  ): Promise<{ text: string; calls: number; gateway: GatewayHandle }> {
    await using fake = await startFakeHttp('modern');
    const options = { transformers, ...(log === undefined ? {} : { log }) };
    await using gateway = await createGateway({ listen: LISTEN, servers: { fake: { url: fake.url } } }, options);
    const { url } = await gateway.listen();
    const client = await connect(url);
    const text = await textOf(client, 'echo', { text: 'hello' }).catch((error: Error) => error.message);
    await client.close();
    return { text, calls: fake.seen('tools/call').length, gateway };
  }

  it('refuse a call before it reaches the server', async () => {
    const guard = new TransformRegistry().addRequest('guard', () => {
      throw new TollgateError('access_denied', 'No greetings here.');
    });
    const { text, calls, gateway } = await refusing(guard);
    expect(text).toContain('No greetings here.');
    expect(calls).toBe(0);
    expect(gateway.calls.statistics()).toMatchObject({ refused: 1, failed: 0 });
  });

  it('that fail are masked to the caller and told to the log; a broken one never lets a call pass', async () => {
    const lines: unknown[] = [];
    const log: Log = { debug() {}, info() {}, warn() {}, error: (fields) => void lines.push(fields), child: () => log };
    const broken = new TransformRegistry().addRequest('broken', () => {
      throw new Error('password hunter2');
    });
    const { text, calls } = await refusing(broken, log);
    expect(text).toContain('Internal error');
    expect(text).not.toContain('hunter2');
    expect(calls).toBe(0);
    expect(String(((lines[0] as { err: Error }).err.cause as Error).message)).toContain('hunter2');
  });

  it('that fail on a result withhold it, and say that the call has run', async () => {
    const broken = new TransformRegistry().addResponse('broken', () => {
      throw new TollgateError('access_denied', 'Withheld.');
    });
    const { text, calls } = await refusing(broken);
    expect(text).toContain('Withheld.');
    expect(text).not.toContain('Not run');
    expect(text).not.toContain('hello');
    expect(calls).toBe(1);
  });
});

it('tools with `validate` take a float that has no fraction', async () => {
  await using fake = await startFakeHttp('modern');
  await using gateway = await createGateway({
    listen: LISTEN,
    servers: { fake: { url: fake.url } },
    tools: { 'fake/bytes': { validate: true } },
  });
  const { url } = await gateway.listen();
  await gateway.settled();
  const call = async (size: string): Promise<string> => {
    const meta =
      '"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}';
    const response = await fetch(`${url}/mcp`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
        'mcp-protocol-version': '2026-07-28',
        'mcp-method': 'tools/call',
        'mcp-name': 'bytes',
      },
      body: `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"bytes","arguments":{"size":${size}},${meta}}}`,
    });
    return response.text();
  };
  expect(await call('3.0')).toContain('"text":"012"');
  expect(await call('3.5')).toContain('Invalid arguments for bytes');
});
