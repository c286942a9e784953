/**
 * Operations through the real `POST /v1/ops` of a running gateway with 1, 1000 and 100,000 clients (R0-56, R0-57, R0-59),
 * its memory per client (R0-60), and the growth of what it stores (R0-61). `get_mcp_statistics` of all clients answers
 * with every tier that was given, so that its size grows with them; it is shown beside the others.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { startGateway } from '@tollgate/testkit/gateway';
import { residentBytes } from '@tollgate/testkit/process-table';
import { Client } from 'undici';
import { Histogram } from './histogram.ts';
import { printTable } from './table.ts';

/** What is measured: a process that serves `/v1/ops`. */
export interface OperationsTarget {
  readonly url: string;
  /** Credential of an admin. */
  readonly token: string;
  readonly pid: number | undefined;
  /** Folder of everything it stores; undefined: it stores nothing. */
  readonly dataDir: string | undefined;
}

const CONNECTIONS = 16;
const BATCH = 1000;

/** Starts a gateway with the `mcp` preset and prints the figures. */
export async function benchOperations(quick: boolean): Promise<void> {
  await using gateway = await startGateway({
    version: 1,
    preset: 'mcp',
    // No call reaches a server here.
    servers: { none: { url: 'http://127.0.0.1:9/mcp' } },
    // The sum of all clients must not stop the measurement.
    limits: { emergency_stop: { limit: '1000000000 USD total' } },
  });
  const dataDir = join(gateway.folder, '.tollgate');
  await measureOperations(
    {
      url: `http://127.0.0.1:${gateway.port}`,
      token: readFileSync(join(dataDir, 'admin.token'), 'utf8').trim(),
      pid: gateway.child.pid,
      dataDir,
    },
    quick,
  );
}

export async function measureOperations(target: OperationsTarget, quick: boolean): Promise<void> {
  const repeats = quick ? 200 : 2000;
  const asker = new Asker(target);
  try {
    await asker.ask({ operation: 'get_status' });
    // Compiled code before anything is measured.
    for (let i = 0; i < 500; i++) for (const { input } of cases(1)) await asker.ask(input(i));
    const rows: string[][] = [];
    let before = 1;
    const sizes: { clients: number; memory: number; stored: number }[] = [];
    for (const clients of quick ? [1, 1000, 10_000] : [1, 1000, 100_000]) {
      await fill(asker, before, clients);
      before = clients;
      sizes.push({ clients, memory: residentBytes(target.pid ?? -1) ?? 0, stored: storedBytes(target.dataDir) });
      for (const { name, input, share = 1 } of cases(clients)) {
        rows.push([name, String(clients), ...(await latency(asker, input, Math.ceil(repeats * share)))]);
      }
      rows.push([
        'check_mcp_limit, 16 connections',
        String(clients),
        ...(await throughput(target, clients, quick ? 1 : 5)),
      ]);
    }
    printTable(['operation', 'clients', 'p50 ms', 'p99 ms', 'max ms', 'inside max ms', 'per second'], rows);
    for (const [i, { clients, memory, stored }] of sizes.entries()) {
      const last = sizes[i - 1];
      if (last === undefined) continue;
      const per = (bytes: number) => ((bytes / (clients - last.clients)) * 1000) / 1024 / 1024;
      console.log(
        `${last.clients} to ${clients} clients: ${per(memory - last.memory).toFixed(2)} MB resident memory and ${per(stored - last.stored).toFixed(2)} MB stored for each 1000`,
      );
    }
  } finally {
    await asker.close();
  }
}

interface Case {
  readonly name: string;
  readonly input: (i: number) => unknown;
  /** Of the repeats; slow ones need fewer. */
  readonly share?: number;
}

function cases(clients: number): readonly Case[] {
  const client = (i: number): string => `client_${(i * 7919) % clients}`;
  const content = Array.from(
    { length: 90 },
    (_, i) => `${'Reads the file, then summarises it for the user. '.repeat(22)}${i}`,
  );
  return [
    {
      name: 'check_mcp_limit',
      input: (i) => ({ client_id: client(i), endpoint: 'tools/call', estimated_cost: 0.000001 }),
    },
    {
      name: 'get_mcp_statistics, one client',
      input: (i) => ({ operation: 'get_mcp_statistics', client_id: client(i) }),
    },
    {
      name: 'get_mcp_statistics, all clients',
      input: () => ({ operation: 'get_mcp_statistics', client_id: 'anonymous' }),
      share: 0.02,
    },
    {
      name: 'set_client_tier',
      input: (i) => ({
        operation: 'set_client_tier',
        client_id: client(i),
        tier: i % 2 === 0 ? 'premium' : 'standard',
      }),
      share: 0.25,
    },
    {
      name: 'validate_endpoint',
      input: (i) => ({ operation: 'validate_endpoint', client_id: client(i), endpoint: 'tools/call' }),
    },
    { name: 'get_status', input: () => ({ operation: 'get_status' }) },
    {
      name: 'security_scan, 1 KB',
      input: (i) => ({ operation: 'security_scan', client_id: client(i), content: content[i % 90] }),
    },
    { name: 'security_scan, 97 KB', input: () => ({ operation: 'security_scan', content }), share: 0.1 },
  ];
}

/** One at a time: what a caller waits, and the largest `processing_time_ms`. */
async function latency(asker: Asker, input: (i: number) => unknown, repeats: number): Promise<string[]> {
  const histogram = new Histogram();
  let slowest = 0;
  let inside = 0;
  for (let i = 0; i < repeats; i++) {
    const body = input(i);
    const started = performance.now();
    const answer = await asker.ask(body);
    const took = performance.now() - started;
    histogram.add(took * 1e6);
    slowest = Math.max(slowest, took);
    inside = Math.max(inside, Number(answer['processing_time_ms']));
  }
  const at = (percent: number): string => (histogram.percentile(percent) / 1e6).toFixed(2);
  return [at(50), at(99), slowest.toFixed(2), inside.toFixed(2), ''];
}

async function throughput(target: OperationsTarget, clients: number, seconds: number): Promise<string[]> {
  const askers = Array.from({ length: CONNECTIONS }, () => new Asker(target));
  const histogram = new Histogram();
  let slowest = 0;
  const until = performance.now() + seconds * 1000;
  await Promise.all(
    askers.map(async (asker, n) => {
      for (let i = n; performance.now() < until; i += CONNECTIONS) {
        const started = performance.now();
        await asker.ask({ client_id: `client_${(i * 7919) % clients}`, endpoint: 'tools/call', estimated_cost: 0 });
        const took = performance.now() - started;
        histogram.add(took * 1e6);
        slowest = Math.max(slowest, took);
      }
      await asker.close();
    }),
  );
  const at = (percent: number): string => (histogram.percentile(percent) / 1e6).toFixed(2);
  return [at(50), at(99), slowest.toFixed(2), '', (histogram.total / seconds).toFixed(0)];
}

/** Every client makes a call that costs money and is given a tier. */
async function fill(asker: Asker, from: number, to: number): Promise<void> {
  for (let at = from; at < to; at += BATCH) {
    const ids = Array.from({ length: Math.min(BATCH, to - at) }, (_, i) => `client_${at + i}`);
    await asker.ask(ids.map((client_id) => ({ client_id, endpoint: 'tools/call', estimated_cost: 0.01 })));
  }
}

class Asker {
  readonly #client: Client;
  readonly #headers: Record<string, string>;

  constructor({ url, token }: OperationsTarget) {
    this.#client = new Client(url);
    this.#headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  }

  async ask(input: unknown): Promise<Record<string, unknown>> {
    const { statusCode, body } = await this.#client.request({
      method: 'POST',
      path: '/v1/ops',
      headers: this.#headers,
      body: JSON.stringify(input),
    });
    const answer = (await body.json()) as Record<string, unknown>;
    if (statusCode !== 200) throw new Error(`/v1/ops answered ${statusCode}: ${JSON.stringify(answer).slice(0, 300)}`);
    return answer;
  }

  async close(): Promise<void> {
    await this.#client.close();
  }
}

function storedBytes(folder: string | undefined): number {
  if (folder === undefined) return 0;
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, { parentPath, name }) => sum + statSync(join(parentPath, name)).size, 0);
}
