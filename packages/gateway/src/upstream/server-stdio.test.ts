import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createFakeClock } from '@tollgate/testkit/fake-clock';
import { processTable } from '@tollgate/testkit/process-table';
import { verifies } from '@tollgate/testkit/verifies';
import { waitUntil } from '@tollgate/testkit/wait';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { TollgateError } from '../core/errors.ts';
import { encode } from '../protocol/json/splice.ts';
import type { Server, ServerEvent } from '../protocol/peer.ts';
import {
  callTool,
  principal,
  rememberingLog,
  scopeOf,
  session,
  start,
  stdioOptions,
  toolCall,
} from './fixtures/rig.ts';
import type { ServerOptions } from './options.ts';
import { createServer, createServers, type ServerDeps } from './servers.ts';

/** Installed for the whole workspace by the end-to-end tests. */
const EVERYTHING = '@modelcontextprotocol/server-everything/dist/index.js';

/** For servers that answer the probe: however slowly the machine starts them, that is no silence. */
const PATIENT = { timeout: { connect: 50_000, firstByte: 1, idle: 1, request: 50_000 } };

const open: Server[] = [];
let folder: string;
let trace: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'upstream-'));
  trace = join(folder, 'trace');
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((server) => server.close()));
  const left = startedPids().filter((pid) => processTable().some((entry) => entry.pid === pid));
  rmSync(folder, { recursive: true });
  expect(left).toEqual([]);
});

function traced(): string[] {
  try {
    return readFileSync(trace, 'utf8').split('\n').filter(Boolean);
  } catch {
    return [];
  }
}
function startedPids(): number[] {
  return traced().flatMap((line) => (line.startsWith('start ') ? [Number(line.slice(6))] : []));
}
const got = (method: string): number => traced().filter((line) => line.startsWith(`got ${method} `)).length;

function serve(
  script: string,
  options: Parameters<typeof stdioOptions>[1] = {},
  deps: Partial<ServerDeps> = {},
): Server & { readonly events: ServerEvent[] } {
  const made: ServerOptions = stdioOptions(script, { ...options, env: { TRACE: trace, ...options.env } });
  const server = createServer(made, { log: rememberingLog(), grace: 200, ...deps });
  open.push(server);
  const events: ServerEvent[] = [];
  server.onEvent((event) => events.push(event));
  return Object.assign(server, { events });
}

describe('finding out the era over stdio', () => {
  it('speaks modern with a server that answers discover', async () => {
    verifies('R1-07', 'R1-27');
    const server = serve('modern-server.mjs', PATIENT, { silence: PATIENT.timeout.connect });
    const connection = await server.connect(scopeOf('catalog'));
    expect(connection).toMatchObject({ era: 'modern', version: '2026-07-28', instructions: 'Be modern.' });
    expect(connection.serverInfo).toEqual({ name: 'modern-fixture', version: '1' });
    expect(await callTool(connection, 'echo', { a: 1 })).toBe('{"a":1}');
    expect(got('initialize')).toBe(0);
  });

  it.each(['error', 'silent'])('initializes a legacy server in the same process after %s', async (how) => {
    const server = serve('legacy-server.mjs', {
      env: { DISCOVER: how },
      timeout: { connect: 50, firstByte: 1, idle: 1, request: 15_000 },
    });
    const connection = await server.connect(scopeOf('catalog'));
    expect(connection).toMatchObject({ era: 'legacy', version: '2025-11-25', instructions: 'Be kind.' });
    expect(startedPids()).toHaveLength(1);
    expect(server.view).toMatchObject({ state: 'ready', eras: ['legacy'], instances: 1, transport: 'stdio' });
  });

  it('starts again with initialize when the server dies of the probe, and remembers', async () => {
    const server = serve('legacy-server.mjs', { env: { DISCOVER: 'die' } });
    const connection = await server.connect(scopeOf('catalog'));
    expect(connection.era).toBe('legacy');
    expect(startedPids()).toHaveLength(2);
    await server.connect(scopeOf(session()));
    expect(startedPids()).toHaveLength(3);
    expect(got('server/discover')).toBe(1);
  });

  it('recognises a slow modern server that answers after initialize was sent', async () => {
    const server = serve('modern-server.mjs', {
      env: { SLOW: '150' },
      timeout: { connect: 30, firstByte: 1, idle: 1, request: 15_000 },
    });
    expect((await server.connect(scopeOf('catalog'))).era).toBe('modern');
  });

  it('speaks legacy with a slow server of both eras, which initialize has made a legacy one', async () => {
    const server = serve('modern-server.mjs', {
      env: { SLOW: '150', BOTH: '1' },
      timeout: { connect: 30, firstByte: 1, idle: 1, request: 15_000 },
    });
    expect((await server.connect(scopeOf('catalog'))).era).toBe('legacy');
    expect(startedPids()).toHaveLength(1);
  });

  it('recognises a modern server without discover by its refusal of initialize', async () => {
    const server = serve('modern-server.mjs', { env: { DISCOVER: 'none' } });
    const connection = await server.connect(scopeOf('catalog'));
    expect(connection.era).toBe('modern');
    expect(await callTool(connection, 'echo')).toBe('{}');
  });

  it('obeys a pinned protocol', async () => {
    const modern = serve('modern-server.mjs', { protocol: 'modern', env: { DISCOVER: 'none' } });
    expect((await modern.connect(scopeOf('catalog'))).era).toBe('modern');
    expect(got('initialize')).toBe(0);
    const legacy = serve('legacy-server.mjs', { protocol: 'legacy', name: 'old', env: { DISCOVER: 'die' } });
    expect((await legacy.connect(scopeOf('catalog'))).era).toBe('legacy');
    const wrong = serve('modern-server.mjs', { protocol: 'legacy', name: 'wrong' });
    await expect(wrong.connect(scopeOf('catalog'))).rejects.toMatchObject({ code: 'server_protocol_error' });
    expect(wrong.view.problem).toContain('refused initialize');
  });

  it('tries legacy once for a legacy caller, and then shares the modern process', async () => {
    const server = serve('modern-server.mjs');
    const modern = await server.connect(scopeOf(principal(), 'modern'));
    expect(await server.connect(scopeOf(session()))).toBe(modern);
    expect(await server.connect(scopeOf(session()))).toBe(modern);
    expect(got('initialize')).toBe(1);
    expect(server.view.instances).toBe(1);
  });
});

describe('instances of a stdio server', () => {
  it('gives each legacy session a process of its own with its own capabilities, and ends it with the session', async () => {
    const server = serve('legacy-server.mjs');
    const [a, b] = [session({ sampling: {} }), session({ elicitation: {} })];
    const [one, two] = await Promise.all([server.connect(scopeOf(a)), server.connect(scopeOf(b))]);
    expect(await callTool(one, 'capabilities')).toBe('{"sampling":{}}');
    expect(await callTool(two, 'capabilities')).toBe('{"elicitation":{}}');
    expect(await callTool(one, 'pid')).not.toBe(await callTool(two, 'pid'));
    expect(server.current(scopeOf(a))).toBe(one);
    expect(server.connectionsOf(a)).toEqual([one]);
    a.lifetime.end(new TollgateError('cancelled', 'left'));
    expect(server.current(scopeOf(a))).toBeUndefined();
    await expect(server.connect(scopeOf(a))).rejects.toMatchObject({ code: 'cancelled' });
    await waitUntil('one process', () => server.view.instances === 1);
    expect(server.current(scopeOf(b))).toBe(two);
  });

  it('gives callers without a session one process per principal that declares all that can be bridged', async () => {
    const server = serve('legacy-server.mjs');
    const [ada, bob] = [principal('x/ada'), principal('x/bob')];
    const one = await server.connect(scopeOf(ada, 'modern'));
    expect(await server.connect(scopeOf(ada, 'modern'))).toBe(one);
    expect(await server.connect(scopeOf(bob, 'modern'))).not.toBe(one);
    expect(JSON.parse(await callTool(one, 'capabilities'))).toEqual({
      roots: { listChanged: true },
      sampling: {},
      elicitation: { form: {}, url: {} },
    });
  });

  it('shares one process when told so', async () => {
    const server = serve('legacy-server.mjs', { instances: { mode: 'shared' } });
    const all = await Promise.all(
      [session(), session(), principal(), 'catalog' as const].map((who) => server.connect(scopeOf(who))),
    );
    expect(new Set(all).size).toBe(1);
    expect(startedPids()).toHaveLength(1);
  });

  it('starts one process for callers who come at the same time', async () => {
    const server = serve('legacy-server.mjs');
    const mine = scopeOf(session());
    const all = await Promise.all([1, 2, 3].map(() => server.connect(mine)));
    expect(new Set(all).size).toBe(1);
    expect(startedPids()).toHaveLength(1);
  });

  it('lets nobody hold every instance by watching resources; what gave way comes back and is told', async () => {
    const server = serve('legacy-server.mjs', { instances: { max: 3 } });
    const [eve, ada] = [principal(), principal()];
    const hogs = [1, 2, 3].map(() => scopeOf(session({}, eve)));
    const pids: string[] = [];
    for (const [at, hog] of hogs.entries()) {
      await server.subscribe(`a:${at}`, hog);
      pids.push(await callTool(server.current(hog)!, 'pid'));
    }
    // One of hers more changes nothing: she holds no fewer than anybody.
    await expect(server.connect(scopeOf(session({}, eve)))).rejects.toMatchObject({ code: 'server_busy' });
    const honest = scopeOf(session({}, ada));
    expect(pids).not.toContain(await callTool(await server.connect(honest), 'pid'));
    expect(server.current(hogs[0]!)).toBeUndefined();
    expect(server.current(hogs[1]!)).toBeDefined();
    server.events.length = 0;
    honest.session!.lifetime.end(new TollgateError('cancelled', 'bye'));
    await waitUntil('the return', () => server.current(hogs[0]!) !== undefined);
    await waitUntil('the news of the gap', () => server.events.some(({ type }) => type === 'resource_updated'));
    expect(server.events).toContainEqual(expect.objectContaining({ type: 'resource_updated', uri: 'a:0' }));
  });

  it('stops the least recently used idle instance at the maximum, else says that all are busy', async () => {
    const server = serve('legacy-server.mjs', { instances: { max: 2 } });
    const [a, b, c] = [scopeOf(session()), scopeOf(session()), scopeOf(session())];
    await server.connect(a);
    const two = await server.connect(b);
    server.current(a);
    const busy = start(two, toolCall('never'));
    await server.connect(c);
    expect(server.current(a)).toBeUndefined();
    const three = server.current(c)!;
    start(three, toolCall('never'));
    await expect(server.connect(a)).rejects.toMatchObject({ code: 'server_busy', executed: 'no' });
    expect(server.view).toMatchObject({ instances: 2, pending: 2, state: 'ready' });
    busy.lifetime.end(new TollgateError('cancelled', 'left'));
    await server.connect(a);
  });

  it('stops an idle instance, and starts it again for the next call', async () => {
    // Sweeps look at the clock, as often as they run by real timers.
    let sweeps = 0;
    const clock = createFakeClock();
    const swept = {
      wall: clock.wall,
      monotonic: () => {
        sweeps++;
        return clock.monotonic();
      },
    };
    const server = serve('legacy-server.mjs', { instances: { idle: 100 } }, { clock: swept });
    const mine = scopeOf(session());
    const busy = start(await server.connect(mine), toolCall('never'));
    const before = sweeps;
    await waitUntil('several sweeps', () => {
      clock.advance(100);
      return sweeps > before + 5;
    });
    expect(server.view.instances).toBe(1);
    busy.lifetime.end(new TollgateError('cancelled', 'left'));
    await waitUntil('the idle stop', () => {
      clock.advance(100);
      return server.view.instances === 0;
    });
    expect(server.view).toMatchObject({ state: 'idle', problem: undefined });
    expect(await callTool(await server.connect(mine), 'echo')).toBe('{}');
  });
});

describe('a stdio server that misbehaves', () => {
  it('tells each caller in flight once when the child dies, and starts again at once', async () => {
    const server = serve('legacy-server.mjs');
    const mine = scopeOf(session());
    const connection = await server.connect(mine);
    const waiting = start(connection, toolCall('never'));
    const fatal = start(connection, toolCall('die'));
    for (const trip of [waiting, fatal]) {
      expect(await trip.ended).toMatchObject({ code: 'server_disconnected', executed: 'unknown' });
      expect(trip.ends).toBe(1);
    }
    expect(server.current(mine)).toBeUndefined();
    expect(server.view).toMatchObject({ state: 'failed', stderr: ['fatal: told to die'] });
    expect(server.view.problem).toContain('exited with code 3. On stderr: fatal: told to die');
    expect(await callTool(await server.connect(mine), 'echo')).toBe('{}');
    expect(server.view).toMatchObject({ state: 'ready', problem: undefined });
  });

  it('leaves other sessions alone when one process dies', async () => {
    verifies('R1-06');
    const server = serve('legacy-server.mjs');
    const [a, b] = [scopeOf(session()), scopeOf(session())];
    const other = await server.connect(b);
    await start(await server.connect(a), toolCall('die')).ended;
    expect(server.current(b)).toBe(other);
    expect(await callTool(other, 'echo')).toBe('{}');
    expect(server.view.state).toBe('ready');
  });

  it('remembers why it cannot start, waits longer each time, and says when to come back', async () => {
    const clock = createFakeClock();
    const server = serve(
      'legacy-server.mjs',
      { env: { NEEDS: 'GITHUB_TOKEN' } },
      {
        clock,
        environment: { PATH: process.env['PATH'], GITHUB_TOKEN: 'ghp_x' },
      },
    );
    const mine = scopeOf('catalog');
    await expect(server.connect(mine)).rejects.toThrow(/GITHUB_TOKEN is set in your shell but not passed/);
    const starts = startedPids().length;
    await expect(server.connect(mine)).rejects.toMatchObject({ code: 'server_unavailable', retryAfterSeconds: 2 });
    expect(startedPids()).toHaveLength(starts);
    expect(server.view).toMatchObject({ state: 'failed', instances: 0 });
    expect(server.view.problem).toContain(`add env: { GITHUB_TOKEN: "\${env:GITHUB_TOKEN}" }`);
    clock.advance(1300);
    await expect(server.connect(mine)).rejects.toThrow(/GITHUB_TOKEN/);
    expect(startedPids().length).toBeGreaterThan(starts);
    clock.advance(1300);
    await expect(server.connect(mine)).rejects.toMatchObject({ retryAfterSeconds: expect.any(Number) as number });
    expect(server.events.map((event) => event.type === 'state' && event.state)).toEqual([
      'starting',
      'failed',
      'starting',
      'failed',
    ]);
  });

  it('says what a server wrote that starts and never answers, and ends it', async () => {
    const made = stdioOptions('x', { timeout: { connect: 50, firstByte: 1, idle: 1, request: 2000 } });
    // A shell is up at once, however busy the machine is: what it writes is there long before the time is up.
    const code = 'echo "Waiting for a missing licence" >&2; while read -r line; do :; done';
    const server = createServer(
      { ...made, target: { kind: 'stdio', command: '/bin/sh', args: ['-c', code], env: {}, cwd: folder } },
      { log: rememberingLog(), grace: 100 },
    );
    open.push(server);
    const failure = server.connect(scopeOf('catalog'));
    await expect(failure).rejects.toMatchObject({ code: 'server_unavailable', executed: 'no' });
    await expect(failure).rejects.toThrow(/did not answer .* within 2 s\. On stderr: Waiting for a missing licence/);
    expect(server.view).toMatchObject({ state: 'failed', instances: 0 });
  });

  it('says what is wrong when the command does not exist', async () => {
    const made = stdioOptions('x');
    const server = createServer(
      {
        ...made,
        target: {
          kind: 'stdio',
          command: 'no-such-command',
          args: ['--api-key', 'sk-secret123'],
          env: {},
          cwd: folder,
        },
      },
      { log: rememberingLog() },
    );
    open.push(server);
    await expect(server.connect(scopeOf('catalog'))).rejects.toMatchObject({ code: 'server_unavailable' });
    expect(server.view.problem).toContain('"no-such-command" is not on the PATH');
    expect(server.view.target).toBe('no-such-command --api-key ***');
  });

  it.each(['twice', 'wrongId', 'noise', 'stderrFlood'])('serves on after %s', async (tool) => {
    const server = serve('legacy-server.mjs', { env: { BANNER: '1' } });
    const connection = await server.connect(scopeOf(session()));
    const before = start(connection, toolCall('never'));
    expect(await callTool(connection, tool)).toMatch(/first|right|after noise|flooded/);
    expect(await callTool(connection, 'echo', { still: 'here' })).toBe('{"still":"here"}');
    expect(before.ends).toBe(0);
  });

  it.each([
    ['garbage', 'server_protocol_error'],
    ['huge', 'server_response_too_large'],
  ])('fails the one call that got %s', async (tool, code) => {
    const server = serve('legacy-server.mjs');
    const connection = await server.connect(scopeOf(session()));
    const before = start(connection, toolCall('never'));
    expect(await start(connection, toolCall(tool)).ended).toMatchObject({ code, executed: 'unknown' });
    expect(await callTool(connection, 'echo')).toBe('{}');
    expect(before.ends).toBe(0);
  });

  it('kills what a child leaves behind', async () => {
    const server = serve('legacy-server.mjs', { env: { STUBBORN: '1' } }, { grace: 50 });
    const connection = await server.connect(scopeOf(session()));
    const grandchild = Number(await callTool(connection, 'fork'));
    await server.close();
    expect(processTable().filter((entry) => entry.pid === grandchild)).toEqual([]);
    expect(server.view.state).toBe('stopped');
    await expect(server.connect(scopeOf(session()))).rejects.toMatchObject({ code: 'shutting_down' });
  });

  it('ends calls in flight with shutting_down when it is closed', async () => {
    const server = serve('legacy-server.mjs');
    const trip = start(await server.connect(scopeOf(session())), toolCall('never'));
    await server.close();
    expect(await trip.ended).toMatchObject({ code: 'shutting_down', executed: 'unknown' });
  });

  it('closes a process whose start is under way', async () => {
    const server = serve('legacy-server.mjs', { env: { DISCOVER: 'silent' } });
    const connecting = server.connect(scopeOf(session()));
    connecting.catch(() => {});
    await waitUntil('the start', () => startedPids().length === 1);
    await server.close();
    await expect(connecting).rejects.toBeInstanceOf(TollgateError);
    await waitUntil('the end', () => processTable().every((entry) => !startedPids().includes(entry.pid)));
  });
});

describe('what a stdio server says by itself', () => {
  it('restores progress tokens and gives log messages to the only call', async () => {
    const server = serve('legacy-server.mjs');
    const connection = await server.connect(scopeOf(session()));
    const trip = start(connection, toolCall('progress', {}, { progressToken: 'mine' }));
    await trip.ended;
    expect(trip.notifications.map((message) => message.object()['params'])).toEqual([
      { progressToken: 'mine', progress: 1, total: 2 },
    ]);
    const logged = start(connection, toolCall('log'));
    await logged.ended;
    expect(logged.notifications).toHaveLength(1);
  });

  it('carries a question to the caller and the answer back', async () => {
    const server = serve('legacy-server.mjs');
    const connection = await server.connect(scopeOf(session({ elicitation: {} })));
    const trip = start(connection, toolCall('elicit'));
    const { answer } = await waitUntil('the question', () => trip.asked[0]);
    answer(encode({ jsonrpc: '2.0', id: 0, result: { action: 'accept', content: { n: 1 } } }));
    const end = await trip.ended;
    expect(end instanceof Error ? end : end.bytes.toString()).toContain(
      '{\\"action\\":\\"accept\\",\\"content\\":{\\"n\\":1}}',
    );
    const withdrawn = start(connection, toolCall('withdraw'));
    await withdrawn.ended;
    expect(withdrawn.withdrawn).toHaveLength(1);
  });

  it('gives a question outside any call to the session whose process asks', async () => {
    const server = serve('legacy-server.mjs');
    const mine = session({ roots: {} });
    await callTool(await server.connect(scopeOf(mine)), 'unrelated');
    const event = await waitUntil('the question', () => server.events.find((one) => one.type === 'request'));
    if (event.type !== 'request') throw new Error('unreachable');
    expect(event.scope.session).toBe(mine);
    event.answer(encode({ jsonrpc: '2.0', id: 0, result: { roots: [{ uri: 'file:///x' }] } }));
    await waitUntil('the answer', () =>
      traced().some((line) => line.includes('roots {"roots":[{"uri":"file:///x"}]}')),
    );
  });

  it('counts subscriptions of a legacy connection and renews them after a restart', async () => {
    const server = serve('legacy-server.mjs');
    const mine = scopeOf(session());
    const [stop, again] = await Promise.all([server.subscribe('a:1', mine), server.subscribe('a:1', mine)]);
    expect(got('resources/subscribe')).toBe(1);
    await callTool(server.current(mine)!, 'touch', { uri: 'a:1' });
    expect(server.events).toContainEqual(expect.objectContaining({ type: 'resource_updated', uri: 'a:1' }));
    stop();
    stop();
    await callTool(server.current(mine)!, 'changed');
    expect(got('resources/unsubscribe')).toBe(0);
    expect(server.events).toContainEqual({ type: 'list_changed', kind: 'tools' });
    await start(server.current(mine)!, toolCall('die')).ended;
    await waitUntil('the restart', () => got('resources/subscribe') === 2);
    await waitUntil(
      'news of the gap',
      () => server.events.filter((event) => event.type === 'resource_updated').length === 2,
    );
    again();
    await waitUntil('the end', () => got('resources/unsubscribe') === 1);
  });

  it('listens to a modern server with the union of what is watched, also after a restart', async () => {
    const server = serve('modern-server.mjs');
    const [ada, bob] = [scopeOf(principal(), 'modern'), scopeOf(principal(), 'modern')];
    const connection = await server.connect(ada);
    await waitUntil('the list stream', () => got('subscriptions/listen') === 1);
    await callTool(connection, 'changed');
    expect(server.events).toContainEqual({ type: 'list_changed', kind: 'tools' });
    const [stopOne] = await Promise.all([
      server.subscribe('a:1', ada),
      server.subscribe('a:1', bob),
      server.subscribe('a:2', bob),
    ]);
    expect(got('subscriptions/listen')).toBe(2);
    await expect(server.subscribe('forbidden:1', ada)).rejects.toMatchObject({ code: 'invalid_params' });
    await callTool(connection, 'touch', { uri: 'a:2' });
    const updated = server.events.find((event) => event.type === 'resource_updated');
    expect(updated).toMatchObject({ uri: 'a:2', connection: undefined });
    expect(updated?.type === 'resource_updated' && updated.message.object()['params']).toEqual({ uri: 'a:2' });
    stopOne();
    expect(connection.pending).toBe(0);

    const before = got('subscriptions/listen');
    server.events.length = 0;
    await start(connection, toolCall('die')).ended;
    await waitUntil('the new stream', () => got('subscriptions/listen') > before);
    await waitUntil(
      'news of the gap',
      () => server.events.filter((event) => event.type === 'resource_updated').length === 2,
    );
    expect(server.events).toContainEqual({ type: 'list_changed', kind: 'tools' });
  });

  it('listens again when the server ends the subscription', async () => {
    const server = serve('modern-server.mjs');
    const mine = scopeOf(principal(), 'modern');
    await server.subscribe('a:1', mine);
    const before = got('subscriptions/listen');
    await callTool(server.current(mine)!, 'drop');
    await waitUntil('the new stream', () => got('subscriptions/listen') > before);
  });

  it('refuses requests of a modern server, which has none', async () => {
    const server = serve('modern-server.mjs');
    expect(await callTool(await server.connect(scopeOf('catalog')), 'ask')).toBe('asked');
    await waitUntil('the refusal', () => traced().some((line) => line.startsWith('got answer 5 -32601')));
  });
});

describe('servers', () => {
  it('runs several side by side, made by transport type', async () => {
    verifies('R1-06', 'R1-26');
    const servers = createServers(
      [stdioOptions('legacy-server.mjs', { name: 'one' }), stdioOptions('modern-server.mjs', { name: 'two' })],
      { log: rememberingLog(), grace: 200 },
    );
    open.push(...servers.all);
    const [one, two] = await Promise.all(servers.all.map((server) => server.connect(scopeOf('catalog'))));
    expect([one!.era, two!.era]).toEqual(['legacy', 'modern']);
    expect(servers.get('two')).toBe(servers.all[1]);
    expect(servers.get('three')).toBeUndefined();
    await servers.close();
    expect(servers.all.map((server) => server.view.state)).toEqual(['stopped', 'stopped']);
    expect(() => createServers([stdioOptions('x'), stdioOptions('x')], { log: rememberingLog() })).toThrow(/twice/);
  });

  it('works with a real server from npm', async () => {
    verifies('R1-07');
    const script = fileURLToPath(import.meta.resolve(EVERYTHING));
    const made = stdioOptions('x', {
      name: 'everything',
      timeout: { connect: 2000, firstByte: 1, idle: 1, request: 50_000 },
    });
    const server = createServer(
      { ...made, target: { kind: 'stdio', command: process.execPath, args: [script, 'stdio'], env: {}, cwd: folder } },
      { log: rememberingLog(), grace: 500 },
    );
    open.push(server);
    const connection = await server.connect(scopeOf(session()));
    expect(connection.era).toBe('legacy');
    expect(await callTool(connection, 'echo', { message: 'hi' })).toBe('Echo: hi');
  });
});
