/** Where state is kept: what must last (`storage`), and what is shared and fast (`state`). */
import * as z from 'zod';
import { quote, UnitError } from '../units.ts';
import { choice, duration, either, flag, list, message, parsed, secret, section, text, whole } from './kit.ts';
import { ruleName } from './names.ts';

/** URLs here may hold a password, so that no message quotes them. */
function storeUrl(value: string, schemes: readonly string[], example: string): URL {
  const url = URL.parse(value);
  if (url === null || !schemes.includes(url.protocol) || url.hostname === '') {
    throw new UnitError(`The URL must begin with ${schemes[0]}// and name a host.`, `For example ${example}.`);
  }
  return url;
}

const POSTGRES = ['postgres:', 'postgresql:'] as const;
const POSTGRES_EXAMPLE = 'postgres://tollgate@db.example/tollgate';

function postgresUrl(value: string): string {
  const url = storeUrl(value, POSTGRES, POSTGRES_EXAMPLE);
  if (url.pathname.length < 2) throw new UnitError('The URL names no database.', `For example ${POSTGRES_EXAMPLE}.`);
  return value;
}

const REDIS = ['redis:', 'rediss:'] as const;
const REDIS_EXAMPLE = 'redis://redis.example:6379';

function redisUrl(value: string): string {
  const url = storeUrl(value, REDIS, REDIS_EXAMPLE);
  if (!/^\/?(?:\d{1,5})?$/.test(url.pathname) || url.search !== '' || url.hash !== '') {
    throw new UnitError(
      'After the host there may only be the number of a database.',
      `For example ${REDIS_EXAMPLE}/0.`,
    );
  }
  return value;
}

/** 32 bytes, as `openssl rand -hex 32` or `openssl rand -base64 32` prints them. */
export function parseKey(value: string): Buffer {
  const bytes = /^[0-9A-Fa-f]{64}$/.test(value)
    ? Buffer.from(value, 'hex')
    : /^[A-Za-z0-9+/]{43}=$/.test(value)
      ? Buffer.from(value, 'base64')
      : undefined;
  if (bytes === undefined)
    throw new UnitError('A key is 32 bytes in hex or base64.', 'Make one: openssl rand -hex 32.');
  return bytes;
}

const keep = section({
  admissions: whole(0, 10_000_000).prefault(10_000).describe('So many of the last admissions.'),
  refusals: whole(0, 1_000_000_000).prefault(1_000_000).describe('So many of the last refusals.'),
  refusalDays: whole(1, 3660).prefault(30).describe('Days after which a refusal goes, however few there are.'),
});

const storageMap = section(
  {
    sqlite: text('a file', 'tollgate.db')
      .optional()
      .describe('File of the embedded database. Relative paths start at `dataDir`. Default `tollgate.db`.'),
    postgres: parsed('a URL', POSTGRES_EXAMPLE, postgresUrl, { unit: 'url' })
      .optional()
      .describe('PostgreSQL in place of it. A password in it is never shown; TLS by `?sslmode=`.'),
    pool: whole(2, 1000).optional().describe('Connections to PostgreSQL at most. Default 10.'),
    connectTimeout: duration().optional().describe('To reach PostgreSQL. Default 5s.'),
    statementTimeout: duration().optional().describe('Of one statement of PostgreSQL. Default 10s.'),
    encryptionKey: secret('a key', '"${file:/run/secrets/state-key}"', (value) => {
      parseKey(value);
      return value;
    })
      .optional()
      .describe('32 bytes in hex or base64; journal and snapshots of counters are encrypted with it. Never shown.'),
    compress: flag().prefault(false).describe('Journal and snapshots are stored compressed.'),
    keep: keep.prefault({}).describe('How many decisions are kept.'),
  },
  { hints: { url: 'Write postgres: postgres://….', path: 'Write `sqlite`.', file: 'Write `sqlite`.' } },
);

const storageText = parsed(
  'a storage',
  'sqlite',
  (value) => {
    if (value === 'sqlite' || POSTGRES.some((scheme) => value.startsWith(scheme))) {
      return value === 'sqlite' ? value : postgresUrl(value);
    }
    throw new UnitError('This is no storage.', `Write sqlite or ${POSTGRES_EXAMPLE}.`);
  },
  { unit: 'url' },
);

export const storage = either(storageText, storageMap, 'Must be sqlite, a postgres:// URL or a map');

export interface HostAndPort {
  readonly host: string;
  readonly port: number;
}

/** `redis.example:6379`, `[::1]:6379`; the port may be left out. */
export function parseNode(value: string, defaultPort: number): HostAndPort {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::(\d{1,5}))?$/.exec(value);
  const port = match?.[3] === undefined ? defaultPort : Number(match[3]);
  if (match === null || port < 1 || port > 65_535) {
    throw new UnitError(`${quote(value)} is not a host and port.`, 'For example redis-1.example:6379.');
  }
  return { host: (match[1] ?? match[2]!).toLowerCase(), port };
}

/** A rule's name, or the namespace and name of a resource of Kubernetes. */
function ledgerName(value: string): string {
  if (/^[A-Za-z0-9_-]{1,64}$/.test(value)) return value;
  if (/^[a-z0-9-]{1,63}:[A-Za-z0-9._-]{1,253}$/.test(value)) return value;
  throw new UnitError(`${quote(value)} is not a name.`, 'Use 1 to 64 letters, digits, "_" and "-", or namespace:name.');
}

const nodes = (example: string) =>
  list(
    parsed('a host and port', example, (value) => {
      parseNode(value, 1);
      return value;
    }),
    'hosts',
    `[${example}]`,
  );

const tls = section({
  ca: text('a file', './redis-ca.pem').optional().describe('Certificates to trust. Default those of the system.'),
  cert: text('a file', './client.pem').optional().describe('Certificate of this gateway; with `key`.'),
  key: text('a file', './client-key.pem').optional().describe('Its private key.'),
  serverName: text('a host name', 'redis.example').optional().describe('Name in the server’s certificate.'),
});

const sentinel = section({
  master: ruleName('the name of a master', 'mymaster').describe('As the sentinels call it.'),
  nodes: nodes('sentinel-1.example:26379').describe('The sentinels; any that answers is enough.'),
  username: text('a user', 'tollgate').optional().describe('Of the sentinels, where they ask for one.'),
  password: secret('a password', '"${env:SENTINEL_PASSWORD}"').optional().describe('Of the sentinels. Never shown.'),
});

const stateMap = section(
  {
    url: parsed('a URL', REDIS_EXAMPLE, redisUrl, { unit: 'url' })
      .optional()
      .describe('One Redis or Valkey: `redis://`, or `rediss://` with TLS.'),
    cluster: nodes('redis-1.example:6379').optional().describe('Redis Cluster: nodes to begin with.'),
    sentinel: sentinel.optional().describe('A master that sentinels name.'),
    username: text('a user', 'tollgate').optional().describe('ACL user.'),
    password: secret('a password', '"${env:REDIS_PASSWORD}"').optional().describe('Never shown.'),
    tls: z
      .union([z.literal(true), tls], {
        error: message('Must be true or a map with `ca`, `cert`, `key`, `serverName`.'),
      })
      .optional()
      .describe('Encrypt the connections.'),
    database: whole(0, 65_535).optional().describe('Number of the database. Default 0.'),
    commandTimeout: duration()
      .prefault('50ms')
      .describe('How long a decision waits for Redis before `onError` decides.'),
    connectTimeout: duration().prefault('2s').describe('To connect.'),
    ledger: parsed('the name of a ledger', 'tollgate', ledgerName)
      .prefault('tollgate')
      .describe(
        'Name under which counters and money are kept, or `namespace:name`. Gateways of one name share limits and need one storage; two products on one Redis need two names.',
      ),
    keyLayout: choice(['tollgate', 'toolhive'])
      .prefault('tollgate')
      .describe(
        'How keys begin. `tollgate`: `<ledger>:{all}:`; `toolhive`: `thv:rl:{<ledger>}:`, as the keys of ToolHive do, for access rules and dashboards of Redis that know those. What follows are digests in both: nothing that a caller sent stands in a key.',
      ),
  },
  {
    hints: {
      host: 'Write url: redis://host:6379.',
      address: 'Write url: redis://host:6379.',
      keyPrefix: 'Write `ledger`.',
    },
  },
);

const stateText = parsed(
  'a state',
  'memory',
  (value) => {
    if (value === 'memory') return value;
    if (REDIS.some((scheme) => value.startsWith(scheme))) return redisUrl(value);
    throw new UnitError('This is no state.', `Write memory or ${REDIS_EXAMPLE}.`);
  },
  { unit: 'url' },
);

export const state = either(stateText, stateMap, 'Must be memory, a redis:// URL or a map');

const webhook = section(
  {
    // Chat systems put the secret into the path, so that the whole address is one.
    url: secret('a URL', '"${env:ALERT_URL}"', (value) => {
      const url = URL.parse(value);
      if (url === null || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
        throw new UnitError(
          'The URL must begin with https:// or http://.',
          'For example https://hooks.example/tollgate.',
        );
      }
      return value;
    }).describe('Gets a POST with JSON for every alert. Never shown.'),
    secret: secret('a key to sign with', '"${env:ALERT_SECRET}"')
      .optional()
      .describe('The body is signed with it (HMAC-SHA256), at least 16 characters. Never shown.'),
  },
  { later: ['events', 'headers'] },
);

export const webhooks = list(
  webhook,
  'webhooks',
  '[{ url: "${env:ALERT_URL}", secret: "${env:ALERT_SECRET}" }]',
).describe('Who is told when a limit reaches one of its `alerts`, latches, or a price turns out above its `max`.');
