import { resolve } from 'node:path';
import { startFakeHttp } from '@tollgate/testkit/fake-http';
import { startGateway } from '@tollgate/testkit/gateway';
import { modernRequest } from '@tollgate/testkit/modern-request';
import { type RawConnection, rawConnection, rawRequest } from '@tollgate/testkit/raw-http';
import { parseSse } from '@tollgate/testkit/sse';
import { verifies } from '@tollgate/testkit/verifies';
import { expect, it } from 'vitest';

const FULL = process.env['TOLLGATE_PROOF'] === 'full';
const CLIENTS = 200;
const CALLS = FULL ? 1_000_000 : 10_000;
const FAKE_STDIO = resolve(import.meta.dirname, '../packages/testkit/src/fake-stdio.ts');
const SERVERS = ['modern', 'session', 'events', 'legacystdio', 'modernstdio'] as const;

/** Answers overtake each other: a fixed pattern of delays up to 20 ms. */
const shuffled = (call: number): number => (call * 7919) % 21;

const LEGACY_HEADERS: [string, string][] = [
  ['Content-Type', 'application/json'],
  ['Accept', 'application/json, text/event-stream'],
  ['MCP-Protocol-Version', '2025-11-25'],
];

/** One caller with a connection of its own that counts its ids from 0, as all others do. */
async function caller(number: number, port: number, calls: number): Promise<string[]> {
  const wrong: string[] = [];
  await using connection = await rawConnection(port);
  const session = number % 2 === 0 ? undefined : await initialize(connection, port);
  for (let id = 0; id < calls; id += 1) {
    const server = SERVERS[(number + id) % SERVERS.length];
    const text = `caller ${number} call ${id}`;
    const params = { name: `${server}_echo`, arguments: { text } };
    if (session === undefined) connection.send(rawRequest(port, modernRequest(id, 'tools/call', params)));
    else {
      const body = JSON.stringify({ jsonrpc: '2.0', id, method: 'tools/call', params });
      const headers = [...LEGACY_HEADERS, ['Mcp-Session-Id', session] as [string, string]];
      connection.send(rawRequest(port, { headers, body }));
    }
    const response = await connection.response(60_000);
    const last = response.header('content-type')?.startsWith('text/event-stream')
      ? (parseSse(response.body).at(-1)?.data ?? '{}')
      : response.body;
    const message = JSON.parse(last) as { id?: unknown; result?: { content?: { text?: string }[] } };
    if (message.id !== id || message.result?.content?.[0]?.text !== text) {
      wrong.push(`${text}: HTTP ${response.status} ${last.slice(0, 300)}`);
      if (wrong.length > 3) return wrong;
    }
  }
  return wrong;
}

async function initialize(connection: RawConnection, port: number): Promise<string> {
  const params = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'isolation', version: '1' } };
  const body = JSON.stringify({ jsonrpc: '2.0', id: 0, method: 'initialize', params });
  connection.send(rawRequest(port, { headers: LEGACY_HEADERS, body }));
  const response = await connection.response();
  const session = response.header('mcp-session-id');
  if (session === undefined) throw new Error(`No session: ${response.status} ${response.body}`);
  const headers = [...LEGACY_HEADERS, ['Mcp-Session-Id', session] as [string, string]];
  const initialized = JSON.stringify({ jsonrpc: '2.0', method: 'notifications/initialized' });
  connection.send(rawRequest(port, { headers, body: initialized }));
  const accepted = await connection.response();
  if (accepted.status !== 202) throw new Error(`notifications/initialized: ${accepted.status}`);
  return session;
}

it(
  `no answer is swapped between ${CLIENTS} callers that use the same ids, ${CALLS} calls`,
  async () => {
    verifies('R1-23', 'R1-24');
    await using modern = await startFakeHttp('modern', { latency: shuffled, keep: 0 });
    await using session = await startFakeHttp('session', { latency: shuffled, keep: 0, answer: 'sse' });
    await using events = await startFakeHttp('sse', { latency: shuffled, keep: 0 });
    const stdio = (era: string) => ({
      command: process.execPath,
      args: [FAKE_STDIO, JSON.stringify({ era, shuffle: 21 })],
      instances: { mode: 'shared' },
    });
    await using gateway = await startGateway({
      version: 1,
      endpoints: { '/mcp': { servers: '*', naming: 'prefix' } },
      servers: {
        modern: { url: modern.url },
        session: { url: session.url },
        events: { url: events.url, protocol: 'sse' },
        legacystdio: stdio('legacy'),
        modernstdio: stdio('modern'),
      },
    });
    const wrong = await Promise.all(
      Array.from({ length: CLIENTS }, (_, number) => caller(number, gateway.port, CALLS / CLIENTS)),
    );
    // Connections are kept and shared: far fewer than calls.
    for (const server of [modern, session]) {
      expect(server.count('tools/call')).toBeGreaterThan(CALLS / 10);
      expect(server.accepted()).toBeLessThan(CALLS / 20);
    }
    expect(wrong.flat().slice(0, 10), gateway.child.transcript().slice(-4_000)).toEqual([]);
  },
  FULL ? 3_600_000 : 240_000,
);
