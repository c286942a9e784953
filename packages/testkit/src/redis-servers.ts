import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createClient } from '@redis/client';
import { type Child, startChild } from './child.ts';
import { freePort } from './ports.ts';
import { findProgram, install } from './services.ts';
import { temporaryDirectory } from './temporary-directory.ts';

export interface RedisServerOptions {
  /** Port to take, for a server that comes back where it was. Default a free one. */
  readonly port?: number;
  /** More flags, as on the command line: `['--maxmemory', '1mb']`. */
  readonly flags?: readonly string[];
  /** TLS only, with a certificate made for this test. */
  readonly tls?: boolean;
}

/** A Redis of one test, with its data in a temporary folder. Disposal ends it. */
export interface RedisServer extends AsyncDisposable {
  readonly port: number;
  readonly url: string;
  /** PEM of the authority that signed its certificate; only with `tls`. */
  readonly ca: string | undefined;
  /** SIGSTOP and SIGCONT: a server that accepts and never answers. */
  pause(): void;
  resume(): void;
  /** Ends it; what was not saved is gone. */
  stop(signal?: NodeJS.Signals): Promise<void>;
  /** Starts it again on the same port and folder, with other flags if given. */
  start(flags?: readonly string[]): Promise<void>;
  /** Sends a command by a connection of its own. */
  command(...args: string[]): Promise<unknown>;
}

const SYSTEM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

function redisProgram(): string {
  const find = () => findProgram('redis-server') ?? findProgram('valkey-server');
  return find() ?? install('redis-server', 'TEST_REDIS_URL', find);
}

export async function startRedisServer(options: RedisServerOptions = {}): Promise<RedisServer> {
  const program = redisProgram();
  const folder = await temporaryDirectory('redis');
  const port = options.port ?? (await freePort());
  const ca = options.tls === true ? certificate(folder.path) : undefined;
  const listen =
    ca === undefined
      ? ['--port', String(port)]
      : ['--port', '0', '--tls-port', String(port), '--tls-auth-clients', 'no', ...tlsFiles(folder.path)];
  let flags = options.flags ?? [];
  let child: Child | undefined;
  const start = async (): Promise<void> => {
    const all = [...listen, '--bind', '127.0.0.1', '--dir', folder.path, '--save', '', '--appendonly', 'no', ...flags];
    child = await startChild(program, all, { env: { PATH: SYSTEM_PATH } });
    await child.waitFor(/Ready to accept connections/, 40_000);
  };
  const stop = async (signal: NodeJS.Signals = 'SIGKILL'): Promise<void> => {
    child?.signal('SIGCONT');
    await child?.stop(signal).catch(() => {});
    await child?.[Symbol.asyncDispose]();
    child = undefined;
  };
  await start();
  const url = `${ca === undefined ? 'redis' : 'rediss'}://127.0.0.1:${port}`;
  return {
    port,
    url,
    ca,
    pause: () => child?.signal('SIGSTOP'),
    resume: () => child?.signal('SIGCONT'),
    stop,
    async start(other) {
      if (other !== undefined) flags = other;
      await start();
    },
    async command(...args) {
      const client = createClient({ url, ...(ca === undefined ? {} : { socket: { tls: true, ca } }) });
      client.on('error', () => {});
      await client.connect();
      try {
        return await client.sendCommand(args);
      } finally {
        client.destroy();
      }
    },
    async [Symbol.asyncDispose]() {
      await stop();
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** A cluster of three masters that own all slots. */
export interface RedisCluster extends AsyncDisposable {
  readonly nodes: readonly RedisServer[];
  readonly rootNodes: readonly { readonly url: string }[];
}

export async function startRedisCluster(): Promise<RedisCluster> {
  const stack = new AsyncDisposableStack();
  try {
    const nodes: RedisServer[] = [];
    for (let i = 0; i < 3; i++) {
      // A node that has to wait for its turn on a busy machine is not gone.
      const flags = ['--cluster-enabled', 'yes', '--cluster-node-timeout', '15000'];
      nodes.push(stack.use(await startRedisServer({ flags })));
    }
    const bounds = [0, 5461, 10_923, 16_384];
    for (const [i, node] of nodes.entries()) {
      await node.command('CLUSTER', 'ADDSLOTSRANGE', String(bounds[i]), String(bounds[i + 1]! - 1));
      await node.command('CLUSTER', 'SET-CONFIG-EPOCH', String(i + 1));
    }
    for (const node of nodes.slice(1)) await nodes[0]!.command('CLUSTER', 'MEET', '127.0.0.1', String(node.port));
    for (const node of nodes) {
      await until(async () => String(await node.command('CLUSTER', 'INFO')).includes('cluster_state:ok'));
      await until(async () => String(await node.command('CLUSTER', 'INFO')).includes('cluster_known_nodes:3'));
    }
    return { nodes, rootNodes: nodes.map(({ url }) => ({ url })), [Symbol.asyncDispose]: () => stack.disposeAsync() };
  } catch (error) {
    await stack.disposeAsync();
    throw error;
  }
}

/** A master, a replica and a sentinel that promotes the replica soon after the master is gone. */
export interface RedisSentinel extends AsyncDisposable {
  readonly name: string;
  readonly master: RedisServer;
  readonly replica: RedisServer;
  readonly sentinels: readonly { readonly host: string; readonly port: number }[];
}

export async function startRedisSentinel(): Promise<RedisSentinel> {
  const stack = new AsyncDisposableStack();
  try {
    const name = 'tollgate';
    const master = stack.use(await startRedisServer());
    const replica = stack.use(await startRedisServer({ flags: ['--replicaof', '127.0.0.1', String(master.port)] }));
    await until(async () => String(await replica.command('INFO', 'replication')).includes('master_link_status:up'));
    const folder = stack.use(await temporaryDirectory('sentinel'));
    const port = await freePort();
    const file = join(folder.path, 'sentinel.conf');
    writeFileSync(
      file,
      [
        `port ${port}`,
        'bind 127.0.0.1',
        `dir ${folder.path}`,
        `sentinel monitor ${name} 127.0.0.1 ${master.port} 1`,
        `sentinel down-after-milliseconds ${name} 2000`,
        `sentinel failover-timeout ${name} 5000`,
        '',
      ].join('\n'),
    );
    const child = stack.use(await startChild(redisProgram(), [file, '--sentinel'], { env: { PATH: SYSTEM_PATH } }));
    await child.waitFor(/\+slave/, 40_000);
    const sentinels = [{ host: '127.0.0.1', port }];
    return { name, master, replica, sentinels, [Symbol.asyncDispose]: () => stack.disposeAsync() };
  } catch (error) {
    await stack.disposeAsync();
    throw error;
  }
}

async function until(done: () => Promise<boolean>, timeout = 40_000): Promise<void> {
  const end = Date.now() + timeout;
  for (;;) {
    if (await done().catch(() => false)) return;
    if (Date.now() > end) throw new Error('Redis did not get ready in time');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function tlsFiles(folder: string): string[] {
  const file = (name: string) => join(folder, name);
  return [
    '--tls-cert-file',
    file('cert.pem'),
    '--tls-key-file',
    file('key.pem'),
    '--tls-ca-cert-file',
    file('cert.pem'),
  ];
}

/** A certificate for 127.0.0.1 that signed itself, valid for a day. */
function certificate(folder: string): string {
  const openssl = findProgram('openssl') ?? install('openssl', 'TEST_REDIS_URL', () => findProgram('openssl'));
  const out = ['-keyout', join(folder, 'key.pem'), '-out', join(folder, 'cert.pem')];
  const subject = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1'];
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
  execFileSync(openssl, ['req', '-x509', ...key, '-nodes', '-days', '1', ...subject, ...out], { stdio: 'pipe' });
  return readFileSync(join(folder, 'cert.pem'), 'utf8');
}
