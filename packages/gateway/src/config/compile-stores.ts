import type { RedisOptions, RedisTarget, TlsOptions } from '../store/redis-options.ts';
import { parseKey, parseNode } from './schema/stores.ts';
import type { Config } from './schema.ts';
import type { StateOptions, StorageOptions } from './state-options.ts';

const DEFAULT_FILE = 'tollgate.db';
const DEFAULT_POOL = 10;
const DEFAULT_CONNECT_MS = 5000;
const DEFAULT_STATEMENT_MS = 10_000;
const REDIS_PORT = 6379;
const SENTINEL_PORT = 26_379;
const DAY_MS = 86_400_000;

type StorageMap = Exclude<Config['storage'], string>;
type StateMap = Exclude<Config['state'], string>;

export function compileStorage(storage: Config['storage']): StorageOptions {
  if (typeof storage === 'string') {
    return { sql: storage === 'sqlite' ? { kind: 'sqlite', file: DEFAULT_FILE } : postgres(storage) };
  }
  const { encryptionKey, compress, keep, sqlite } = storage;
  return {
    sql:
      storage.postgres === undefined
        ? { kind: 'sqlite', file: sqlite ?? DEFAULT_FILE }
        : postgres(storage.postgres, storage),
    ...(encryptionKey === undefined ? {} : { encryptionKey: parseKey(encryptionKey) }),
    compress,
    keep: { admissions: keep.admissions, refusals: keep.refusals, refusalAge: keep.refusalDays * DAY_MS },
  };
}

function postgres(url: string, options: Partial<StorageMap> = {}): StorageOptions['sql'] {
  return {
    kind: 'postgres',
    url,
    poolMax: options.pool ?? DEFAULT_POOL,
    connectTimeoutMs: options.connectTimeout ?? DEFAULT_CONNECT_MS,
    statementTimeoutMs: options.statementTimeout ?? DEFAULT_STATEMENT_MS,
  };
}

const PLAIN: StateMap = { commandTimeout: 50, connectTimeout: 2000, ledger: 'tollgate', keyLayout: 'tollgate' };
/** First part of the keys of ToolHive's limits. */
const TOOLHIVE_PREFIX = 'thv:rl';

export function compileState(state: Config['state']): StateOptions {
  if (state === 'memory') return { kind: 'memory' };
  return compileRedis(typeof state === 'string' ? { ...PLAIN, url: state } : state);
}

function compileRedis(state: StateMap): RedisOptions {
  const url = state.url === undefined ? undefined : new URL(state.url);
  const decoded = (text: string | undefined) => (text === undefined || text === '' ? undefined : decode(text));
  return {
    kind: 'redis',
    target: targetOf(state, url),
    tls: compileTls(state.tls, url),
    username: state.username ?? decoded(url?.username),
    password: state.password ?? decoded(url?.password),
    database: state.database ?? Number(url?.pathname.slice(1) ?? 0),
    commandTimeoutMs: state.commandTimeout,
    connectTimeoutMs: state.connectTimeout,
    ledger: state.ledger,
    keys:
      state.keyLayout === 'toolhive'
        ? { prefix: TOOLHIVE_PREFIX, tag: state.ledger }
        : { prefix: state.ledger, tag: 'all' },
  };
}

/** A password with a lone `%` was written as it is. */
function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function targetOf({ cluster, sentinel }: StateMap, url: URL | undefined): RedisTarget {
  if (cluster !== undefined) return { kind: 'cluster', nodes: cluster.map((node) => parseNode(node, REDIS_PORT)) };
  if (sentinel !== undefined) {
    const { master, nodes, username, password } = sentinel;
    return {
      kind: 'sentinel',
      master,
      nodes: nodes.map((node) => parseNode(node, SENTINEL_PORT)),
      username,
      password,
    };
  }
  const host = url!.hostname.replace(/^\[(.*)\]$/, '$1');
  return { kind: 'standalone', node: { host, port: url!.port === '' ? REDIS_PORT : Number(url!.port) } };
}

function compileTls(tls: StateMap['tls'], url: URL | undefined): TlsOptions | undefined {
  if (tls === undefined && url?.protocol !== 'rediss:') return undefined;
  const given = typeof tls === 'object' ? tls : {};
  return { ca: given.ca, cert: given.cert, key: given.key, serverName: given.serverName };
}
