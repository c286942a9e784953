import { PassThrough } from 'node:stream';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { type FakeHttpServer, startFakeHttp } from '@tollgate/testkit/fake-http';
import { verifies } from '@tollgate/testkit/verifies';
import { describe, expect, it } from 'vitest';
import { createProxy, metadataTransformer, redactTransformer, TollgateError, type ToolProxy } from '../index.ts';

const LISTEN = '127.0.0.1:0';
const ADA = 'token-of-ada-0123456789';
const BOB = 'token-of-bob-0123456789';

function mistakeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (TollgateError.is(error) && error.code === 'config_invalid') return error.message;
    throw error;
  }
  throw new Error('expected config_invalid');
}

async function runMistake(proxy: ToolProxy, listen = LISTEN): Promise<string> {
  const error: unknown = await proxy.run('http', { listen }).catch((thrown: unknown) => thrown);
  if (TollgateError.is(error) && error.code === 'config_invalid') return error.message;
  throw new Error('expected config_invalid');
}

interface Answer {
  readonly status: number;
  readonly text: string;
}

/** One modern call by hand, so that statuses and headers of refusals are seen as they are. */
async function call(url: string, tool: string, token?: string): Promise<Answer> {
  const meta = {
    'io.modelcontextprotocol/protocolVersion': '2026-07-28',
    'io.modelcontextprotocol/clientCapabilities': {},
  };
  const params = { name: tool, arguments: { text: 'hi', password: 'hunter2' }, _meta: meta };
  const response = await fetch(url, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      'mcp-protocol-version': '2026-07-28',
      'mcp-method': 'tools/call',
      'mcp-name': tool,
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params }),
  });
  return { status: response.status, text: await response.text() };
}

function guarded(fake: FakeHttpServer, flags: { auth?: boolean; rateLimiting?: boolean } = {}): ToolProxy {
  return createProxy('guarded', flags)
    .addUpstream({ name: 'fake', transport: 'http', url: fake.url })
    .addRoute({ tool: 'echo', to: 'fake', scope: 'talk' })
    .addRoute({ to: 'fake' })
    .setBearerAuth([
      { subject: 'ada', token: ADA, scopes: ['talk'] },
      { subject: 'bob', token: BOB },
    ])
    .setRateLimit({ client: '2/day' });
}

describe('what a builder says', () => {
  it('is the configuration of the same meaning', () => {
    verifies('R1-46', 'R1-47', 'R1-14');
    const proxy = createProxy('full')
      .addUpstream({ name: 'math', transport: 'stdio', command: 'node', args: ['math.ts'], timeout: 1500 })
      .addUpstream({ name: 'data', transport: 'http', url: 'http://127.0.0.1:1/mcp', headers: { 'x-key': 'k' } })
      .addUpstream({ name: 'old', transport: 'sse', url: 'http://127.0.0.1:1/sse', timeout: { connect: '2s' } })
      .addRoute({ tool: 'math_*', to: 'math', scope: 'calculate', timeout: 250 })
      .addRoute({ to: ['data', 'old'] })
      .setBearerAuth({ name: 'ci', token: ADA, subject: 'robot', scopes: ['calculate'] }, { anonymous: true })
      .setRateLimit({ global: { limit: 1000, windowMs: 60_000 }, client: { limit: '60/min', burst: 10 }, tool: '9/s' })
      .setToolRateLimit('math/power', '5/min')
      .setToolRateLimit('math/*', '50/min', { by: 'everyone' })
      .setToolRateLimit('math/power', '6/min');
    expect(proxy.toConfig({ listen: LISTEN, endpoint: '/team' })).toEqual({
      version: 1,
      listen: LISTEN,
      endpoints: { '/team': {} },
      servers: {
        math: { type: 'stdio', command: 'node', args: ['math.ts'], timeout: { request: '1500ms' } },
        data: { type: 'http', url: 'http://127.0.0.1:1/mcp', headers: { 'x-key': 'k' } },
        old: { type: 'sse', url: 'http://127.0.0.1:1/sse', timeout: { connect: '2s' } },
      },
      routes: [{ tool: 'math_*', to: 'math', scope: 'calculate', timeout: '250ms' }, { to: ['data', 'old'] }],
      auth: [{ name: 'ci', bearer: { token: ADA, subject: 'robot', scopes: ['calculate'] } }, { anonymous: true }],
      limits: {
        global: { by: 'everyone', limit: '1000/60s' },
        client: { by: 'principal', limit: '60/min', burst: 10 },
        tool: { by: 'tool', on: 'tools/call', limit: '9/s' },
        'tool-math-power': { on: 'tools/call', tool: 'math/power', by: 'principal', limit: '6/min' },
        'tool-math': { on: 'tools/call', tool: 'math/*', by: 'everyone', limit: '50/min' },
      },
    });
  });

  it('is refused at once where it can be, with the call that said it', () => {
    const proxy = createProxy('p').addUpstream({ name: 'a', transport: 'http', url: 'http://127.0.0.1:1/mcp' });
    const upstream = { name: 'a', transport: 'http', url: 'http://127.0.0.1:1/mcp' } as const;
    expect(mistakeOf(() => proxy.addUpstream(upstream))).toBe('addUpstream("a"): An upstream has this name already.');
    expect(mistakeOf(() => proxy.addUpstream({ ...upstream, name: 'b', transport: 'ws' as 'http' }))).toContain(
      'addUpstream("b"): There is no transport "ws".',
    );
    expect(mistakeOf(() => proxy.setRateLimit({ client: { limit: 5, windowMs: 1500 } }))).toContain(
      'setRateLimit client windowMs: Must be whole seconds',
    );
    expect(mistakeOf(() => proxy.setRateLimit({ client: { limit: '5/s', windowMs: 1000 } as never }))).toContain(
      'windowMs',
    );
    expect(mistakeOf(() => proxy.setRateLimit({ client: { limit: 0.5, windowMs: 1000 } }))).toContain('whole number');
    expect(mistakeOf(() => proxy.setRateLimit({ clients: '5/s' } as never))).toBe(
      'setRateLimit: Unknown key "clients". Did you mean "client"?',
    );
    expect(mistakeOf(() => createProxy('p', { rateLimit: false } as never))).toContain('Unknown key "rateLimit"');
    expect(mistakeOf(() => proxy.setToolRateLimit('x', '5/s', { by: 'ip' as never }))).toBe(
      'setToolRateLimit("x") by: Nothing is counted by "ip". One of client, everyone.',
    );
    expect(mistakeOf(() => createProxy(''))).toContain('needs a name');
    proxy.addRequestTransformer('t', () => {});
    expect(mistakeOf(() => proxy.addRequestTransformer('t', () => {}))).toContain('already called t');
    expect(mistakeOf(() => proxy.addResponseTransformer('u', 'no' as never))).toBe(
      'addResponseTransformer("u"): This is not a function.',
    );
  });

  it('is refused by run with every other mistake at once, in the words of the builder', async () => {
    const proxy = createProxy('wrong')
      .addUpstream({ name: 'a', transport: 'http', url: 'ftp://x' })
      .addUpstream({ name: 'b', transport: 'stdio', command: 'node', coomand: 'x' } as never)
      .addRoute({ tool: 'x', to: 'nobody' })
      .setBearerAuth([{ token: ADA, scopes: ['talk'] }])
      .setRateLimit({ client: 'often' })
      .setToolRateLimit('c/*', '5/min');
    const message = await runMistake(proxy, 'nonsense');
    expect(message).toMatch(/^The proxy "wrong" has \d mistakes:/);
    for (const place of [
      'addUpstream("a") url: ',
      'addUpstream("b") coomand: Unknown key "coomand". Did you mean "command"?',
      'addRoute number 1 to: There is no server "nobody".',
      'setBearerAuth number 1: The entry needs a name',
      'setRateLimit client limit: "often" is not a limit.',
      'setToolRateLimit("c/*") tool: ',
      'run listen: ',
    ]) {
      expect(message).toContain(`  ${place}`);
    }
    expect(message).not.toContain('limits.');
  });

  it('is checked even where a flag switches it off, and no flag opens the door beyond loopback', async () => {
    const off = createProxy('off', { rateLimiting: false })
      .addUpstream({ name: 'a', transport: 'http', url: 'http://127.0.0.1:1/mcp' })
      .setRateLimit({ client: 'often' });
    expect(await runMistake(off)).toContain('setRateLimit client limit');
    const open = createProxy('open', { auth: false })
      .addUpstream({ name: 'a', transport: 'http', url: 'http://127.0.0.1:1/mcp' })
      .setBearerAuth({ subject: 'ada', token: ADA });
    expect(await runMistake(open, '0.0.0.0:0')).toContain('auth');
  });
});

describe('a proxy that runs', () => {
  it('serves, transforms, counts and tells the health of its upstreams', async () => {
    verifies('R1-46', 'R1-47', 'R1-35', 'R1-36', 'R1-37', 'R1-51');
    await using good = await startFakeHttp('modern', { name: 'good' });
    await using gone = await startFakeHttp('modern', { name: 'gone' });
    await gone[Symbol.asyncDispose]();
    const proxy = createProxy('edge')
      .addUpstream({ name: 'good', transport: 'http', url: good.url })
      .addUpstream({ name: 'gone', transport: 'http', url: gone.url })
      .addRequestTransformer('secrets', redactTransformer(['password']))
      .addResponseTransformer('who', metadataTransformer('edge'));
    expect(proxy.getStats()).toMatchObject({ name: 'edge', total: 0, successRate: 1, upstreams: {}, tools: {} });
    expect(proxy.getUpstreamHealth()).toEqual({ good: false, gone: false });
    const running = await proxy.run('http', { listen: LISTEN });
    expect(proxy.getUpstreamHealth()).toEqual({ good: true, gone: false });
    const client = new Client({ name: 't', version: '1' }, { versionNegotiation: { mode: 'auto' } });
    await client.connect(new StreamableHTTPClientTransport(new URL(running.url!)));
    const result = await client.callTool({ name: 'echo', arguments: { text: 'hi', password: 'hunter2' } });
    expect(result).toMatchObject({
      content: [{ text: 'hi' }],
      _meta: { 'tollgate/proxy': { requestId: expect.stringMatching(/^tg-/), clientId: 'anonymous', proxy: 'edge' } },
    });
    expect(good.seen('tools/call')[0]?.message).toMatchObject({ params: { arguments: { password: '[redacted]' } } });
    await client.close();
    expect(proxy.getStats()).toMatchObject({
      upstreams: { good: { total: 1, successful: 1 } },
      tools: { 'good/echo': { total: 1, latency: { min: expect.any(Number), max: expect.any(Number) } } },
    });
    expect(mistakeOf(() => proxy.addRoute({ to: 'good' }))).toContain('runs already');
    expect(await proxy.run('http').catch((error: Error) => error.message)).toContain('runs already');
    await running.close();
    await running.finished;
  });

  it('serves over stdio, and ends when its client leaves', async () => {
    verifies('R1-48', 'R1-46');
    await using fake = await startFakeHttp('session');
    const proxy = createProxy('pipes').addUpstream({ name: 'fake', transport: 'http', url: fake.url });
    const stdin = new PassThrough();
    const stdout = new PassThrough();
    const lines: string[] = [];
    stdout.setEncoding('utf8').on('data', (text: string) => lines.push(...text.split('\n').filter(Boolean)));
    const running = await proxy.run('stdio', { stdin, stdout });
    expect(running.url).toBeUndefined();
    const send = (message: object) => stdin.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`);
    const clientInfo = { name: 't', version: '1' };
    send({ id: 1, method: 'initialize', params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo } });
    await expect.poll(() => lines.length).toBe(1);
    send({ method: 'notifications/initialized' });
    send({ id: 2, method: 'tools/call', params: { name: 'echo', arguments: { text: 'through pipes' } } });
    await expect.poll(() => lines.join('\n')).toContain('through pipes');
    stdin.end();
    await running.finished;
    expect(proxy.getStats().tools).toMatchObject({ 'fake/echo': { successful: 1 } });
  });

  it('can be run again after the address was taken', async () => {
    await using fake = await startFakeHttp('modern');
    const proxy = createProxy('again').addUpstream({ name: 'fake', transport: 'http', url: fake.url });
    const listen = `127.0.0.1:${fake.port}`;
    expect(await proxy.run('http', { listen }).catch((error: TollgateError) => error.code)).toBe('listen_failed');
    await using running = await proxy.run('http', { listen: LISTEN });
    expect((await call(running.url!, 'echo')).text).toContain('hi');
  });
});

describe('auth, limits and authorization', () => {
  it('all run before anything reaches an upstream', async () => {
    verifies('R1-21', 'R1-10', 'R1-15', 'R1-19');
    await using fake = await startFakeHttp('modern');
    await using running = await guarded(fake).run('http', { listen: LISTEN });
    const url = running.url!;
    // Its own listing may come at any time; of callers nothing may come that was not allowed.
    const fromCallers = () => fake.requests.filter(({ message }) => !/list|discover/.test(String(message?.['method'])));
    expect((await call(url, 'echo')).status).toBe(401);
    expect((await call(url, 'echo', 'token-of-nobody-0123456')).status).toBe(401);
    const denied = await call(url, 'echo', BOB);
    expect(denied.text).toContain('insufficient_scope');
    expect((await call(url, 'no_such_tool', ADA)).text).toContain('-32602');
    expect(fromCallers()).toEqual([]);

    expect((await call(url, 'echo', ADA)).text).toContain('hi');
    expect((await call(url, 'echo', ADA)).text).toContain('hi');
    expect(fake.seen('tools/call').length).toBe(2);
    const limited = await call(url, 'echo', ADA);
    expect(limited.text).toContain('rate_limited');
    expect(fake.seen('tools/call').length).toBe(2);
    // What was refused for its scope was not charged.
    expect((await call(url, 'bytes', BOB)).text).toContain('"content"');
    expect(fromCallers().map(({ message }) => message?.['method'])).toEqual(['tools/call', 'tools/call', 'tools/call']);
    for (const { headers } of fake.requests) expect(headers.authorization).toBeUndefined();
  });

  it('let a token that is given alone use everything, as bearer-user, and one with a subject nothing but what it is given', async () => {
    verifies('X1-06');
    await using fake = await startFakeHttp('modern');
    const proxy = () =>
      createProxy('whole')
        .addUpstream({ name: 'fake', transport: 'http', url: fake.url })
        .addRoute({ tool: 'echo', to: 'fake', scope: 'talk' })
        .addRoute({ to: 'fake' });
    {
      await using running = await proxy().setBearerAuth({ token: ADA }).run('http', { listen: LISTEN });
      expect((await call(running.url!, 'echo', ADA)).text).toContain('"text":"hi"');
      expect((await call(running.url!, 'echo', BOB)).status).toBe(401);
      expect(running.gateway.calls.recent()[0]).toMatchObject({ principal: 'bearer-user/bearer-user' });
    }
    await using running = await proxy().setBearerAuth({ token: ADA, subject: 'ada' }).run('http', { listen: LISTEN });
    expect((await call(running.url!, 'echo', ADA)).text).toContain('insufficient_scope');
    expect((await call(running.url!, 'bytes', ADA)).text).toContain('"content"');
  });

  it('are switched off at construction, each alone', async () => {
    verifies('R1-22');
    await using fake = await startFakeHttp('modern');
    {
      await using running = await guarded(fake, { rateLimiting: false }).run('http', { listen: LISTEN });
      expect((await call(running.url!, 'echo')).status).toBe(401);
      for (let i = 0; i < 4; i++) expect((await call(running.url!, 'echo', ADA)).text).toContain('"text":"hi"');
    }
    {
      await using running = await guarded(fake, { auth: false }).run('http', { listen: LISTEN });
      expect((await call(running.url!, 'echo')).text).toContain('"text":"hi"');
      expect((await call(running.url!, 'echo')).text).toContain('"text":"hi"');
      expect((await call(running.url!, 'echo')).text).toContain('rate_limited');
    }
  });
});

describe('a tool that is registered', () => {
  it('is listed, invoked with the credential of its server, and its answers are validated', async () => {
    verifies('R2-01', 'R1-28');
    await using fake = await startFakeHttp('modern');
    const proxy = createProxy('integration')
      .addUpstream({ name: 'fake', transport: 'http', url: fake.url, headers: { 'x-api-key': 'key-of-the-server' } })
      .setBearerAuth({ subject: 'ada', token: ADA });
    await using running = await proxy.run('http', { listen: LISTEN });
    expect(running.gateway.status.servers).toMatchObject([{ name: 'fake', state: 'ready', tools: expect.any(Number) }]);
    expect((await call(running.url!, 'echo')).status).toBe(401);
    expect(fake.seen('tools/call')).toEqual([]);
    expect((await call(running.url!, 'echo', ADA)).text).toContain('"text":"hi"');
    expect(fake.seen('tools/call')[0]?.headers['x-api-key']).toBe('key-of-the-server');
    for (const fault of ['garbage', 'html', 'empty_response', 'invalid_utf8', 'request_instead', 'wrong_id']) {
      const { text } = await call(running.url!, `fault_${fault}`, ADA);
      expect(JSON.parse(text), fault).toMatchObject({ id: 1, error: { code: 503, data: { executed: 'unknown' } } });
    }
    const big = await call(running.url!, 'big_number', ADA);
    expect(big.text).toContain('12345678901234567890');
    expect(proxy.getStats()).toMatchObject({ successful: 2, failed: 6 });
  });
});
