/** The connection to Redis: one client for a server, a sentinel group or a cluster, that reconnects by itself. */
import { readFile } from 'node:fs/promises';
import { cluster, type RedisPort, sentinel, standalone } from '@tollgate/limiter/redis';
import { TollgateError } from '../core/errors.ts';
import { type Log, silentLog } from '../core/log.ts';
import type { Node, RedisOptions, TlsOptions } from './redis-options.ts';

export interface RedisConnection {
  readonly port: RedisPort;
  /** `host:port` of what was configured, for messages; never credentials. */
  readonly address: string;
  /** Resolves with true when it answers within the connect timeout; it goes on trying in any case. */
  readonly reached: Promise<boolean>;
  close(): Promise<void>;
}

const FIRST_PAUSE = 50;
const LONGEST_PAUSE = 2_000;
const PING_MS = 15_000;

/** What the three kinds of client have in common. */
interface AnyClient {
  on(event: 'error', listener: (error: unknown) => void): unknown;
  connect(): Promise<unknown>;
  destroy(): unknown;
}

/**
 * Begins to connect and returns at once; commands reject while there is no connection. Rejects with `config_invalid`
 * when the client library is not installed or a certificate cannot be read. `onProblem` gets each new reason why it
 * cannot be reached.
 */
export async function connectRedis(
  options: RedisOptions,
  log: Log,
  onProblem?: (words: string) => void,
): Promise<RedisConnection> {
  const library = await load();
  const { target, username, password, database, connectTimeoutMs } = options;
  const address = addressOf(options);
  const socket = {
    connectTimeout: connectTimeoutMs,
    reconnectStrategy: (retries: number) => Math.min(FIRST_PAUSE * 2 ** Math.min(retries, 10), LONGEST_PAUSE),
    ...(options.tls === undefined ? {} : await tlsSocket(options.tls)),
  };
  const common = {
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    // A command that waited for a connection would charge for a call that was answered long ago.
    disableOfflineQueue: true,
    pingInterval: PING_MS,
  };
  const at = ({ host, port }: Node) => ({ ...socket, host, port }) as never;
  let client: AnyClient;
  let port: RedisPort;
  switch (target.kind) {
    case 'standalone': {
      const one = library.createClient({ ...common, database, socket: at(target.node) });
      client = one as unknown as AnyClient;
      port = standalone(one as never);
      break;
    }
    case 'cluster': {
      const many = library.createCluster({
        rootNodes: target.nodes.map((node) => ({ socket: at(node) })),
        defaults: { ...common, socket: socket as never },
      });
      client = many as unknown as AnyClient;
      port = cluster(many as never);
      break;
    }
    default: {
      const group = library.createSentinel({
        name: target.master,
        sentinelRootNodes: target.nodes.map(({ host, port: number }) => ({ host, port: number })),
        nodeClientOptions: { ...common, database, socket: socket as never },
        sentinelClientOptions: {
          ...(target.username === undefined ? {} : { username: target.username }),
          ...(target.password === undefined ? {} : { password: target.password }),
          socket: socket as never,
        },
      });
      client = group as unknown as AnyClient;
      port = sentinel(group as never);
    }
  }
  const reached = follow(client, { address, timeout: connectTimeoutMs, log, onProblem });
  return {
    port,
    address,
    reached,
    close: async () => {
      await client.destroy();
    },
  };
}

/** Connects, sends PING and closes, in `timeoutMs` in all. Rejects with the first reason why that cannot be done. */
export async function pingRedis(options: RedisOptions, timeoutMs: number): Promise<void> {
  const failed = Promise.withResolvers<never>();
  // Waiting on is for Redis that goes away; at the start the first refusal is an answer.
  const problem = (words: string) => failed.reject(new Error(words));
  const timer = setTimeout(() => problem(`no answer within ${timeoutMs / 1000} s`), timeoutMs);
  failed.promise.catch(() => undefined);
  const connection = await connectRedis({ ...options, connectTimeoutMs: timeoutMs }, silentLog, problem);
  try {
    const answered = async () => {
      if (await connection.reached) await connection.port.send('', ['PING']);
      else await failed.promise;
    };
    await Promise.race([failed.promise, answered()]);
  } finally {
    clearTimeout(timer);
    await connection.close();
  }
}

/** `host:port` of what is configured, for messages; never credentials. */
export function redisAddress(options: RedisOptions): string {
  return addressOf(options);
}

/** One line when it goes and one when it is asked for again, whatever the client says in between. */
function follow(
  client: AnyClient,
  {
    address,
    timeout,
    log,
    onProblem,
  }: {
    readonly address: string;
    readonly timeout: number;
    readonly log: Log;
    readonly onProblem: ((words: string) => void) | undefined;
  },
): Promise<boolean> {
  let last = '';
  client.on('error', (error) => {
    const words = error instanceof Error ? error.message || error.name : String(error);
    if (words === last) return;
    last = words;
    onProblem?.(words);
    log.warn({ address, problem: words }, 'Redis cannot be reached; trying on');
  });
  const connected = client.connect().then(
    () => true,
    () => false,
  );
  const late = new Promise<boolean>((resolve) => {
    setTimeout(() => resolve(false), timeout).unref();
  });
  return Promise.race([connected, late]);
}

async function load(): Promise<typeof import('@redis/client')> {
  try {
    return await import('@redis/client');
  } catch (error) {
    throw new TollgateError(
      'config_invalid',
      '`state` names Redis, whose client is not installed. Install it with: npm install @redis/client',
      { cause: error },
    );
  }
}

async function tlsSocket({ ca, cert, key, serverName }: TlsOptions): Promise<object> {
  const [authority, certificate, secret] = await Promise.all([ca, cert, key].map(readIf));
  return {
    tls: true,
    minVersion: 'TLSv1.2',
    ...(authority === undefined ? {} : { ca: authority }),
    ...(certificate === undefined ? {} : { cert: certificate }),
    ...(secret === undefined ? {} : { key: secret }),
    ...(serverName === undefined ? {} : { servername: serverName }),
  };
}

async function readIf(file: string | undefined): Promise<Buffer | undefined> {
  if (file === undefined) return undefined;
  try {
    return await readFile(file);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'an error';
    throw new TollgateError('config_invalid', `state.tls: ${file} cannot be read (${code})`, { cause: error });
  }
}

function addressOf({ target }: RedisOptions): string {
  const nodes = target.kind === 'standalone' ? [target.node] : target.nodes;
  return nodes.map(({ host, port }) => `${host.includes(':') ? `[${host}]` : host}:${port}`).join(', ');
}
