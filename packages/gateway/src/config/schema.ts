/**
 * The schema of `tollgate.yaml`: one source of types, defaults, the JSON Schema for editors and
 * `docs/configuration.md`. A key does not exist before the code that obeys it; keys of the product's plan that
 * are still to come are refused by name.
 */
import * as z from 'zod';
import type { LimitOptions } from '../admission/options.ts';
import { access } from './schema/access.ts';
import { auth } from './schema/auth.ts';
import { endpoints, refusals, routes, tools } from './schema/endpoints.ts';
import { choice, duration, list, message, parsed, section, size, text, whole } from './schema/kit.ts';
import { limits, sessionGuard, tiers } from './schema/limits.ts';
import { corsHeader, hostName, network, origin, publicUrl } from './schema/names.ts';
import { currency, unpriced } from './schema/prices.ts';
import { servers } from './schema/servers.ts';
import { state, storage, webhooks } from './schema/stores.ts';
import { trust } from './schema/trust.ts';
import { vault } from './schema/vault.ts';
import type { ToolhiveView } from './toolhive/view.ts';
import { parseListen } from './units.ts';

const LATER = ['cache', 'resilience', 'transforms', 'guards', 'notify', 'audit', 'telemetry'] as const;

const listen = () => parsed('a listen address', '127.0.0.1:7117', parseListen, { unit: 'listen' });

const caps = section({
  body: size().prefault('4MiB').describe('One request body.'),
  depth: whole(1, 512).prefault(64).describe('Nesting of JSON in a body.'),
  keys: whole(1, 10_000_000).prefault(10_000).describe('Object keys in one body.'),
  string: size().optional().describe('One JSON string. Default: `body`.'),
  headers: size().prefault('16KiB').describe('All headers of a request.'),
  headerTime: duration().prefault('10s').describe('To send the head of a request.'),
  bodyTime: duration().prefault('30s').describe('To send its body.'),
  response: size().prefault('64MiB').describe('One answer or event of a server.'),
  streams: whole(1, 1_000_000).prefault(20_000).describe('Open client streams in all.'),
  streamsPerPrincipal: whole(1, 1_000_000)
    .optional()
    .describe('Open streams of one principal. Default 1000, on loopback the same as `streams`.'),
  sessions: whole(1, 1_000_000).prefault(10_000).describe('Legacy sessions in all.'),
  sessionIdle: duration().prefault('30m').describe('A legacy session without use for so long ends.'),
  streamBuffer: size().prefault('4MiB').describe('Waiting for one slow reader before its stream is closed.'),
  keepAlive: duration()
    .prefault('15s')
    .describe(
      'Between keep-alive comments on quiet streams. A legacy call that is quiet for so long becomes a stream.',
    ),
});

const tls = section({
  cert: text('a file', './cert.pem').describe('PEM file: the certificate, then what leads to its authority.'),
  key: text('a file', './key.pem').describe('PEM file of its private key, without a passphrase.'),
  minVersion: choice(['1.3', '1.2'])
    .prefault('1.3')
    .describe('Lowest version of TLS that clients may speak. `1.2` only for clients that cannot do better.'),
});

const cors = section({
  allowedHeaders: list(corsHeader(), 'header names', '[traceparent]')
    .prefault([])
    .describe('Request headers that pages may send, beside those of MCP and `Authorization`.'),
  exposedHeaders: list(corsHeader(), 'header names', '[x-request-id]')
    .prefault([])
    .describe('Response headers that pages may read, beside those of MCP, challenges and limits.'),
  maxAge: duration().prefault('10m').describe('For so long a browser remembers what it may send.'),
});

export const configSchema = section(
  {
    version: z
      .literal(1, { error: message('The only version is 1.', 'Write version: 1.') })
      .prefault(1)
      .describe('Version of this format.'),
    preset: choice(['mcp'])
      .optional()
      .describe(
        '`mcp`: limits for each kind of request, per-call, hourly and daily costs with three tiers, and an emergency stop; see below. What stands in `limits` and `tiers` under the same name is laid over it.',
      ),
    publicUrl: publicUrl()
      .optional()
      .describe('The gateway as clients reach it; its host and origin are allowed. Default: the listen address.'),
    listen: listen()
      .prefault('127.0.0.1:7117')
      .describe(
        'Address of the endpoints. Beyond loopback it is refused without `auth`; `anonymous` counts only with `public: true`.',
      ),
    admin: listen()
      .optional()
      .describe('Address of the admin surfaces. Default: the same as `listen` on loopback, else 127.0.0.1:7118.'),
    allowedHosts: list(hostName(), 'host names', '[gw.example]')
      .prefault([])
      .describe('Names that may stand in Host, beside that of `publicUrl` and, on loopback, the loopback names.'),
    allowedOrigins: list(origin(), 'origins', '["https://app.example"]')
      .prefault([])
      .describe('Pages that may call, beside the origin of `publicUrl` and, on loopback, every loopback origin.'),
    trustedProxies: list(network(), 'addresses or networks', '[10.0.0.0/8]')
      .prefault([])
      .describe(
        'Proxies whose `X-Forwarded-For`, `-Host` and `-Proto` count: the address of a client is the right-most one that is none of them. From everybody else these headers have no effect.',
      ),
    tls: tls.optional().describe('Serve HTTPS. The files are read again when they change. Default: plain HTTP.'),
    cors: cors
      .prefault({})
      .describe('What pages of `allowedOrigins` may send and read. Cookies are never allowed along.'),
    caps: caps.prefault({}).describe('Upper bounds; all have a default.'),
    dataDir: text('a folder', '.tollgate')
      .optional()
      .describe('State of this gateway. Default: `.tollgate` beside the file.'),
    storage: storage
      .prefault('sqlite')
      .describe('What must last: ledger, tiers, grants, decisions. `sqlite`, a `postgres://` URL, or a map.'),
    state: state
      .prefault('memory')
      .describe('Counters of limits: in this process (`memory`), or shared by several (`redis://…`, or a map).'),
    vault: vault
      .prefault({})
      .describe('Where secrets are kept: sealed in `storage`, under a master key that is kept elsewhere.'),
    currency: currency
      .prefault('USD')
      .describe('Unit of the costs of the preset, and of costs that are reported without a unit.'),
    servers: servers.prefault({}),
    endpoints: endpoints.optional(),
    tools: tools.prefault({}),
    routes: routes.prefault([]),
    auth: auth.optional(),
    access: access.optional(),
    limits: limits.prefault({}),
    tiers: tiers.prefault({}),
    unpriced: unpriced
      .prefault('warn')
      .describe(
        'A call without a price where a limit on an amount covers it: let it pass, say so in the log, or refuse it.',
      ),
    sessionGuard: sessionGuard.optional(),
    webhooks: webhooks.prefault([]),
    trust: trust.prefault({}),
    refusals: refusals
      .prefault('default')
      .describe(
        'Form of refusals on MCP paths. `default`: HTTP 200 with a result or error that every client shows; `http`: HTTP 429 with the JSON-RPC error; `legacy-codes`: the default form with codes -32001 to -32005.',
      ),
  },
  {
    later: LATER,
    hints: {
      mcpServers: 'In tollgate.yaml the key is `servers`.',
      upstreams: 'The key is `servers`.',
      port: 'Write listen: 127.0.0.1:7117.',
      host: 'Write listen: 127.0.0.1:7117.',
      rateLimiting: 'Write `limits`.',
      budgets: 'Write `limits`, for example limit: 20 USD/day.',
      prices: 'Write `price` in `tools`.',
      redis: 'Write state: redis://….',
      database: 'Write storage: postgres://….',
      rateLimits: 'Write `limits`.',
      apiVersion: 'Of manifests, only those of toolhive.stacklok.dev are read.',
      kind: 'Of manifests, only those of toolhive.stacklok.dev are read.',
    },
  },
).describe('Configuration of Tollgate.');

type Parsed = z.output<typeof configSchema>;

/** A complete, checked configuration: defaults filled in, units read, paths absolute. Frozen. */
export type Config = Readonly<Parsed> & {
  readonly dataDir: string;
  /** Where each of `limits` was written: in the file, or only in the preset. */
  readonly origins: Readonly<Record<string, LimitOptions['origin']>>;
  /** The file of ToolHive that it was made from; undefined: it was another. */
  readonly toolhive: ToolhiveView | undefined;
};
type Written = z.input<typeof configSchema>;
/**
 * What may be written: the type of the object that `createGateway` takes. A limit needs `by` and `limit`; only one
 * that is laid over a limit of the preset may leave them out.
 */
export type ConfigInput = Omit<Written, 'limits'> & {
  limits?: Readonly<Record<string, Partial<NonNullable<Written['limits']>[string]>>> | undefined;
};
export type ServerConfig = Config['servers'][string];
export type AuthConfig = NonNullable<Config['auth']>[number];
export type LimitConfig = Config['limits'][string];
export type RouteConfig = Config['routes'][number];
