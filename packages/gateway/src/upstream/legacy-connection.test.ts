import { verifies } from '@tollgate/testkit/verifies';
import { waitUntil } from '@tollgate/testkit/wait';
import { describe, expect, it } from 'vitest';
import { TollgateError } from '../core/errors.ts';
import { DEFAULT_SCAN_CAPS } from '../protocol/json/caps.ts';
import { encode } from '../protocol/json/splice.ts';
import { Field } from '../protocol/message.ts';
import type { Scope, ServerEvent } from '../protocol/peer.ts';
import { principal, rememberingLog, scopeOf, session, start, Trip, toolCall } from './fixtures/rig.ts';
import { LegacyConnection } from './legacy-connection.ts';
import type { LinkListener } from './link.ts';
import { Multiplexer } from './multiplexer.ts';

/** A link in memory: what was sent, and a way to say what the server says. */
class MemoryLink {
  readonly sent: Record<string, unknown>[] = [];
  readonly raw: string[] = [];
  listener!: LinkListener;
  version: string | undefined;
  closed = 0;
  onInitialize = (id: unknown): void =>
    this.says({
      jsonrpc: '2.0',
      id,
      result: {
        protocolVersion: '2025-11-25',
        capabilities: { logging: {} },
        serverInfo: { name: 's' },
        instructions: 'i',
      },
    });

  sendRequest(bytes: Buffer, id: string): void {
    this.#keep(bytes);
    const message = this.sent.at(-1)!;
    expect(String(message['id'])).toBe(id);
    if (message['method'] === 'initialize') this.onInitialize(message['id']);
  }
  async send(bytes: Buffer): Promise<void> {
    this.#keep(bytes);
  }
  negotiated(version: string): void {
    this.version = version;
  }
  async close(): Promise<void> {
    this.closed++;
  }
  says(message: Record<string, unknown>, origin?: string): void {
    this.listener.onMessage(Buffer.from(JSON.stringify(message)), origin);
  }
  #keep(bytes: Buffer): void {
    this.raw.push(bytes.toString());
    this.sent.push(JSON.parse(bytes.toString()) as Record<string, unknown>);
  }
  /** Messages sent after the handshake. */
  get later(): Record<string, unknown>[] {
    return this.sent.slice(2);
  }
}

async function connect(scope?: Scope) {
  const link = new MemoryLink();
  const events: ServerEvent[] = [];
  const closed: TollgateError[] = [];
  const log = rememberingLog();
  const multiplexer = await Multiplexer.open(
    async (listener) => {
      link.listener = listener;
      return link;
    },
    { server: 'fix', caps: DEFAULT_SCAN_CAPS, log },
  );
  const options = {
    capabilities: { roots: {} },
    clientInfo: { name: 'tollgate', version: '9' },
    timeout: 1000,
    scope,
    emit: (event: ServerEvent) => events.push(event),
    onClosed: (error: TollgateError) => closed.push(error),
  };
  const connection = await LegacyConnection.open(multiplexer, options);
  return { link, connection, events, closed, multiplexer, log };
}

const result = (id: unknown, value: unknown) => ({ jsonrpc: '2.0', id, result: value });
const asks = (id: unknown, method: string, params: unknown = {}) => ({ jsonrpc: '2.0', id, method, params });

describe('legacy connection', () => {
  it('introduces itself and shows what the server said', async () => {
    const { link, connection } = await connect();
    expect(link.sent).toEqual([
      {
        jsonrpc: '2.0',
        id: 1,
        method: 'initialize',
        params: {
          protocolVersion: '2025-11-25',
          capabilities: { roots: {} },
          clientInfo: { name: 'tollgate', version: '9' },
        },
      },
      { jsonrpc: '2.0', method: 'notifications/initialized' },
    ]);
    expect(connection).toMatchObject({ era: 'legacy', version: '2025-11-25', instructions: 'i', pending: 0 });
    expect(link.version).toBe('2025-11-25');
  });

  it('is there when the server has taken `initialized` and can be heard', async () => {
    const link = new MemoryLink();
    const steps: string[] = [];
    const gates = { taken: () => {}, heard: () => {} };
    link.send = (bytes) => {
      steps.push(String((JSON.parse(bytes.toString()) as Record<string, unknown>)['method']));
      return new Promise((resolve) => {
        gates.taken = resolve;
      });
    };
    const listening = (): Promise<void> => {
      steps.push('listening');
      return new Promise((resolve) => {
        gates.heard = resolve;
      });
    };
    const multiplexer = await Multiplexer.open(async (listener) => Object.assign(link, { listener, listening }), {
      server: 'fix',
      caps: DEFAULT_SCAN_CAPS,
      log: rememberingLog(),
    });
    const opening = LegacyConnection.open(multiplexer, {
      capabilities: {},
      clientInfo: { name: 'tollgate', version: '9' },
      timeout: 1000,
      scope: undefined,
      emit: () => {},
      onClosed: () => {},
    }).then(() => steps.push('open'));
    await waitUntil('initialized', () => steps.length === 1);
    expect(steps).toEqual(['notifications/initialized']);
    gates.taken();
    await waitUntil('the stream', () => steps.length === 2);
    expect(steps).toEqual(['notifications/initialized', 'listening']);
    gates.heard();
    await opening;
    expect(steps).toEqual(['notifications/initialized', 'listening', 'open']);
  });

  it('gives every answer to its own caller, whatever ids and tokens the callers use', async () => {
    verifies('R1-07');
    const { link, connection } = await connect();
    const trips = Array.from({ length: 50 }, () =>
      start(connection, toolCall('t', {}, { progressToken: 'same' }), new Trip(), '"real"'),
    );
    expect(connection.pending).toBe(50);
    const sent = link.later as { id: number; params: { name: string; _meta: { progressToken: number } } }[];
    expect(new Set(sent.map((message) => message.id)).size).toBe(50);
    expect(
      sent.every((message) => message.params.name === 'real' && message.params._meta.progressToken === message.id),
    ).toBe(true);
    for (const { id } of [...sent].reverse()) {
      link.says({ jsonrpc: '2.0', method: 'notifications/progress', params: { progressToken: id, progress: id } });
      link.says(result(id, { of: id }));
    }
    for (const [i, trip] of trips.entries()) {
      const end = await trip.ended;
      if (end instanceof Error) throw end;
      expect(end.json(Field.result)).toEqual({ of: sent[i]!.id });
      expect(trip.notifications).toHaveLength(1);
      expect(trip.notifications[0]!.json(Field.params)).toEqual({ progressToken: 'same', progress: sent[i]!.id });
    }
    expect(connection.pending).toBe(0);
  });

  it('drops and counts answers to nothing, and survives garbage', async () => {
    const { link, connection, multiplexer } = await connect();
    const one = start(connection, toolCall('a'));
    const two = start(connection, toolCall('b'));
    const [a, b] = link.later.map((message) => message['id'] as number);
    link.says(result(String(a), {}));
    link.says(result(999, {}));
    link.says({ jsonrpc: '2.0', error: { code: -32700, message: 'Parse error' } });
    link.listener.onMessage(Buffer.from('{"level":30}'), undefined);
    link.listener.onMessage(Buffer.from([0x7b, 0xff, 0x7d]), undefined);
    expect(one.ends + two.ends).toBe(0);
    expect(multiplexer.counts).toEqual({ strays: 3, garbage: 2 });
    link.says(result(a, {}));
    link.says(result(a, { again: true }));
    link.listener.onMessage(Buffer.from(`{"jsonrpc":"2.0","id":${b},"result":{"x":}}`), undefined);
    expect(await two.ended).toMatchObject({ code: 'server_protocol_error', executed: 'unknown' });
    expect(one.ends).toBe(1);
    expect(multiplexer.counts).toEqual({ strays: 4, garbage: 3 });
  });

  it('cancels upstream with its own id and drops the late answer', async () => {
    const { link, connection, multiplexer } = await connect();
    const trip = start(connection, toolCall('a'));
    const id = link.later[0]!['id'];
    trip.lifetime.end(new TollgateError('deadline_exceeded', 'too late'));
    expect(link.later[1]).toMatchObject({ method: 'notifications/cancelled', params: { requestId: id } });
    expect(await trip.ended).toMatchObject({ code: 'deadline_exceeded', executed: 'unknown' });
    link.says(result(id, {}));
    expect(trip.ends).toBe(1);
    expect(multiplexer.counts.strays).toBe(0);
    link.says(result(id, {}));
    expect(multiplexer.counts.strays).toBe(1);
    const over = start(connection, toolCall('a'), trip);
    expect(over.ends).toBe(2);
    expect(link.later).toHaveLength(2);
  });

  it('fails everything in flight when the link is gone', async () => {
    const { link, connection, closed } = await connect();
    const trips = [start(connection, toolCall('a')), start(connection, toolCall('b'))];
    link.listener.onClose(new TollgateError('server_unavailable', 'Server "fix" exited with code 1.'));
    for (const trip of trips) {
      expect(await trip.ended).toMatchObject({
        code: 'server_disconnected',
        executed: 'unknown',
        message: 'Server "fix" exited with code 1.',
      });
    }
    expect(closed).toHaveLength(1);
    expect(await start(connection, toolCall('c')).ended).toMatchObject({ code: 'server_unavailable', executed: 'no' });
  });

  it('answers ping itself and echoes ids of any form', async () => {
    const { link } = await connect();
    for (const id of ['"x\\n\\u0041"', '-7', '9007199254740993']) {
      link.listener.onMessage(Buffer.from(`{"jsonrpc":"2.0","id":${id},"method":"ping"}`), undefined);
      expect(link.raw.at(-1)).toBe(`{"jsonrpc":"2.0","id":${id},"result":{}}`);
    }
  });

  it('gives a request of the server to the call on whose stream it came, else to the only one in flight', async () => {
    const { link, connection } = await connect();
    const one = start(connection, toolCall('a'));
    link.says(asks('q', 'elicitation/create'));
    one.asked[0]!.answer(encode({ jsonrpc: '2.0', id: 0, result: { action: 'accept' } }));
    expect(link.sent.at(-1)).toEqual(result('q', { action: 'accept' }));
    one.asked[0]!.answer(encode({ jsonrpc: '2.0', id: 0, result: { action: 'decline' } }));
    expect(link.later).toHaveLength(2);

    const two = start(connection, toolCall('b'));
    const id = String(link.sent.at(-1)!['id']);
    link.says(asks(3, 'sampling/createMessage'), id);
    expect(one.asked).toHaveLength(1);
    two.asked[0]!.answer(new TollgateError('missing_client_capability', 'no sampling'));
    expect(link.sent.at(-1)).toEqual({ jsonrpc: '2.0', id: 3, error: { code: -32021, message: 'no sampling' } });
  });

  it('declines, on a shared connection, what could be for several callers or for none', async () => {
    const { link, connection, events } = await connect();
    link.says(asks(1, 'roots/list'));
    expect(link.sent.at(-1)).toMatchObject({ id: 1, error: {} });
    const trips = [start(connection, toolCall('a')), start(connection, toolCall('b'))];
    link.says(asks(2, 'elicitation/create'));
    expect(link.sent.at(-1)).toMatchObject({ id: 2, error: {} });
    link.says({ jsonrpc: '2.0', method: 'notifications/message', params: { level: 'info', data: 'private' } });
    expect(trips.flatMap((trip) => [...trip.asked, ...trip.notifications])).toEqual([]);
    expect(events).toMatchObject([{ type: 'log', scope: undefined }]);
  });

  it('asks nobody on behalf of a cancelled call', async () => {
    const { link, connection } = await connect();
    const gone = start(connection, toolCall('a'));
    const id = link.later[0]!['id'];
    gone.lifetime.end(new TollgateError('cancelled', 'left'));
    const stranger = start(connection, toolCall('b'));
    link.says(asks(1, 'elicitation/create'));
    link.says(asks(2, 'elicitation/create'), String(id));
    link.says({ jsonrpc: '2.0', method: 'notifications/message', params: { level: 'info', data: 'private' } });
    expect([...stranger.asked, ...stranger.notifications]).toEqual([]);
    expect(link.sent.slice(-2)).toMatchObject([
      { id: 1, error: {} },
      { id: 2, error: {} },
    ]);
    link.says(result(id, {}));
    link.says(asks(3, 'elicitation/create'));
    expect(stranger.asked).toHaveLength(1);
  });

  it('hands to the session what belongs to no call on its own connection', async () => {
    const scope = scopeOf(session());
    const { link, connection, events } = await connect(scope);
    link.says(asks('r', 'roots/list'));
    const event = events[0]!;
    if (event.type !== 'request') throw new Error('no request event');
    expect(event.scope).toBe(scope);
    expect(event.connection).toBe(connection);
    event.answer(encode({ jsonrpc: '2.0', id: 5, result: { roots: [] } }));
    expect(link.sent.at(-1)).toEqual(result('r', { roots: [] }));
    link.says({ jsonrpc: '2.0', method: 'notifications/message', params: { level: 'info', data: 'x' } });
    expect(events[1]).toMatchObject({ type: 'log', scope });
  });

  it('tells of list changes and updates as events', async () => {
    const { link, events } = await connect(scopeOf(principal()));
    for (const kind of ['tools', 'prompts', 'resources']) {
      link.says({ jsonrpc: '2.0', method: `notifications/${kind}/list_changed` });
    }
    link.says({ jsonrpc: '2.0', method: 'notifications/resources/updated', params: { uri: 'a:b' } });
    expect(events.map((event) => (event.type === 'list_changed' ? event.kind : event.type))).toEqual([
      'tools',
      'prompts',
      'resources',
      'resource_updated',
    ]);
    expect(events[3]).toMatchObject({ uri: 'a:b' });
  });

  it('on the catalog connection has no roots and declines the rest, even during a call', async () => {
    const { link, connection } = await connect(scopeOf('catalog'));
    const trip = start(connection, toolCall('a'));
    link.says(asks('r', 'roots/list'));
    expect(link.sent.at(-1)).toEqual(result('r', { roots: [] }));
    link.says(asks('s', 'sampling/createMessage'));
    expect(link.sent.at(-1)).toMatchObject({ id: 's', error: {} });
    expect(trip.asked).toEqual([]);
  });

  it('withdraws what the server takes back; a later answer is not sent', async () => {
    const { link, connection, events } = await connect(scopeOf(session()));
    const trip = start(connection, toolCall('a'));
    link.says(asks('q', 'elicitation/create'));
    link.says({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 'q' } });
    expect(trip.withdrawn).toEqual([trip.asked[0]!.message]);
    const before = link.sent.length;
    trip.asked[0]!.answer(encode({ jsonrpc: '2.0', id: 0, result: {} }));
    expect(link.sent).toHaveLength(before);

    link.says(result(link.later[0]!['id'], {}));
    link.says(asks('q', 'roots/list'));
    link.says(asks('q2', 'roots/list'));
    link.says({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 'q' } });
    link.listener.onClose(new TollgateError('server_disconnected', 'gone'));
    expect(events.map((event) => event.type)).toEqual(['request', 'request', 'request_withdrawn', 'request_withdrawn']);
  });

  it('bounds what a server may ask at once', async () => {
    const { link, connection } = await connect();
    const trip = start(connection, toolCall('a'));
    for (let id = 0; id < 300; id++) link.says(asks(id, 'roots/list'));
    link.says(asks(0, 'roots/list'));
    expect(trip.asked).toHaveLength(256);
    expect(link.sent.at(-1)).toMatchObject({ id: 299, error: { code: 503 } });
  });

  it('rejects when the server refuses or speaks an unknown version, and never cancels initialize', async () => {
    const link = new MemoryLink();
    const open = () =>
      Multiplexer.open(
        async (listener) => {
          link.listener = listener;
          return link;
        },
        { server: 'fix', caps: DEFAULT_SCAN_CAPS, log: rememberingLog() },
      );
    const options = {
      capabilities: {},
      clientInfo: { name: 't', version: '1' },
      timeout: 20,
      scope: undefined,
      emit: () => {},
      onClosed: () => {},
    };
    link.onInitialize = (id) => link.says(result(id, { protocolVersion: '1999-01-01' }));
    await expect(LegacyConnection.open(await open(), options)).rejects.toThrow(/version "1999-01-01".*not supported/);
    link.onInitialize = (id) => link.says({ jsonrpc: '2.0', id, error: { code: -1, message: 'go away' } });
    await expect(LegacyConnection.open(await open(), options)).rejects.toThrow('refused initialize: go away');
    link.onInitialize = () => {};
    await expect(LegacyConnection.open(await open(), options)).rejects.toMatchObject({ code: 'deadline_exceeded' });
    expect(link.sent.map((message) => message['method'])).toEqual(['initialize', 'initialize', 'initialize']);
  });

  it('waits for nothing that a handler breaks', async () => {
    const { link, connection, log } = await connect();
    const bad = new Trip();
    bad.onResponse = () => {
      throw new Error('bug');
    };
    start(connection, toolCall('a'), bad);
    const good = start(connection, toolCall('b'));
    const [a, b] = link.later.map((message) => message['id']);
    link.says(result(a, {}));
    link.says(result(b, {}));
    await waitUntil('the other answer', () => good.ends === 1);
    expect(log.lines.some((line) => line.level === 'error')).toBe(true);
  });
});
