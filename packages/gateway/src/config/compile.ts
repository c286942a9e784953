import { createHash } from 'node:crypto';
import { homedir } from 'node:os';
import path from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { AccessOptions } from '../access/options.ts';
import type { AdmissionOptions, RefusalStyle } from '../admission/options.ts';
import type { CatalogOptions } from '../catalog/options.ts';
import { referencesIn } from '../core/secret-reference.ts';
import type { AuthEntry, IdentityOptions } from '../identity/options.ts';
import type { InboundOptions } from '../inbound/options.ts';
import type { BridgeEntry } from '../oauth-bridge/options.ts';
import type { RouteOptions } from '../routing/options.ts';
import type { TrustOptions } from '../trust/options.ts';
import type { ServerOptions, ServerTls } from '../upstream/options.ts';
import type { VaultOptions } from '../vault/options.ts';
import { DEFAULT_CONNECT } from './check-servers.ts';
import { compileAccessRules } from './compile-access.ts';
import { compileAuthEntry, compileBridge } from './compile-auth.ts';
import { compileLimits } from './compile-limits.ts';
import { compileRoute } from './compile-route.ts';
import { compileServerAuth } from './compile-server-auth.ts';
import { compileState, compileStorage } from './compile-stores.ts';
import { compileVault } from './compile-vault.ts';
import type { Environment } from './expand.ts';
import { canonicalPattern } from './globs.ts';
import type { Config, ServerConfig } from './schema.ts';
import type { StateOptions, StorageOptions, WebhookOptions } from './state-options.ts';
import { compileToolRules, type ToolRules } from './tool-rules.ts';
import type { ToolhiveView } from './toolhive/view.ts';
import { isLoopback, isWildcard, type ListenAddress } from './units.ts';
import { deepFreeze } from './values.ts';

/** What an endpoint is, beyond what it lists. */
export interface EndpointOptions {
  readonly path: string;
  readonly catalog: CatalogOptions;
  /** Scope a caller needs; undefined: none. */
  readonly scope: string | undefined;
  readonly refusals: RefusalStyle;
  /** `/s/<server>`, or the `/mcp` that exists when no endpoint was written. */
  readonly implicit: boolean;
}

/** The configuration as the rooms take it: complete, checked, frozen. */
export interface CompiledConfig {
  readonly servers: readonly ServerOptions[];
  /** Written endpoints in file order, then `/s/<server>` for every server. */
  readonly endpoints: readonly EndpointOptions[];
  /** Empty: every name goes to its own server. */
  readonly routes: readonly RouteOptions[];
  readonly tools: ToolRules;
  readonly inbound: InboundOptions;
  readonly listen: ListenAddress;
  /** Equal to `listen` when the admin surfaces share its port. */
  readonly admin: ListenAddress;
  readonly identity: IdentityOptions;
  /** Auth entries whose people sign in through the gateway. */
  readonly bridges: readonly BridgeEntry[];
  /** Undefined: everybody may use what scopes and endpoints allow. */
  readonly access: AccessOptions;
  /** Limits of the preset, of the file, then of routes; tiers, prices, the session guard. */
  readonly admission: AdmissionOptions;
  /** Index of the route whose calls a limit of a route covers, by the name of the limit. */
  readonly routeOfLimit: ReadonlyMap<string, number>;
  /** Unit of costs that are reported without one. */
  readonly currency: string;
  readonly storage: StorageOptions;
  readonly state: StateOptions;
  readonly vault: VaultOptions;
  readonly webhooks: readonly WebhookOptions[];
  readonly trust: TrustOptions;
  /** True: programs of servers may run as the user that can read the vault's key file. */
  readonly sameUserAllowed: boolean;
  readonly refusals: RefusalStyle;
  /** Without a trailing slash. Undefined: clients use the listen address. */
  readonly publicUrl: string | undefined;
  /** Absolute. */
  readonly dataDir: string;
  /** The file of ToolHive that it was made from, for start-up and metrics; undefined: it was another. */
  readonly toolhive: ToolhiveView | undefined;
}

const DEFAULT_ENDPOINT = '/mcp';
const DEFAULT_ADMIN: ListenAddress = { host: '127.0.0.1', port: 7118 };
const DEFAULT_STREAMS_PER_PRINCIPAL = 1000;

/** Options for every room from a checked configuration. Pure: opens nothing, starts nothing. */
export function compile(config: Config, env: Environment = process.env): CompiledConfig {
  const loopback = isLoopback(config.listen.host);
  const { rules, names } = compileToolRules(config.tools);
  const endpoints = compileEndpoints(config, names);
  const admin = config.admin ?? (loopback ? config.listen : DEFAULT_ADMIN);
  return deepFreeze({
    servers: Object.entries(config.servers).map(([name, server]) => compileServer(name, server, config.caps.response)),
    endpoints,
    routes: config.routes.map(compileRoute),
    tools: rules,
    inbound: compileInbound(config, loopback, env),
    listen: config.listen,
    admin,
    identity: {
      entries: config.auth?.map(compileAuthEntry) ?? (loopback ? [ANONYMOUS] : []),
      endpointEntries: new Map(
        Object.entries(config.endpoints ?? {}).flatMap(([path, endpoint]) =>
          endpoint.auth === undefined ? [] : [[path, endpoint.auth] as const],
        ),
      ),
      // A proxy brings strangers, each with an address of its own.
      loopback: loopback && config.trustedProxies.length === 0,
    },
    bridges: config.auth?.flatMap(compileBridge) ?? [],
    access: compileAccessRules(config),
    ...compileLimits(config),
    currency: config.currency,
    storage: compileStorage(config.storage),
    state: compileState(config.state),
    vault: compileVault(config, env),
    trust: compileTrust(config.trust),
    sameUserAllowed: config.trust.sameUser === 'allow',
    webhooks: config.webhooks.map(({ url, secret }) => ({ url, secret })),
    refusals: config.refusals,
    publicUrl: config.publicUrl,
    dataDir: config.dataDir,
    toolhive: config.toolhive,
  });
}

const ANONYMOUS: AuthEntry = { kind: 'anonymous', name: 'anonymous', tier: undefined };

function compileServer(name: string, server: ServerConfig, maxResponse: number): ServerOptions {
  const { request } = server.timeout;
  const instances = typeof server.instances === 'string' ? { mode: server.instances } : server.instances;
  return {
    name,
    target:
      server.command === undefined
        ? { kind: 'http', url: new URL(server.url!), headers: server.headers ?? {}, tls: compileTls(server) }
        : { kind: 'stdio', command: server.command, args: server.args ?? [], env: server.env ?? {}, cwd: server.cwd! },
    protocol: server.protocol ?? (server.type === 'sse' ? 'sse' : 'auto'),
    auth: compileServerAuth(server.auth),
    timeout: {
      connect: server.timeout.connect ?? Math.min(DEFAULT_CONNECT, request),
      firstByte: server.timeout.firstByte ?? request,
      idle: server.timeout.idle ?? request,
      request,
    },
    instances: { mode: 'auto', max: 8, idle: 300_000, ...instances },
    pool: { max: server.pool?.max ?? 10 },
    maxResponse,
    ...([server.headers, server.env].some((texts) => Object.values(texts ?? {}).some(isOwn))
      ? { ownSecrets: true }
      : {}),
  };
}

const TLS_VERSIONS = { '1.2': 'TLSv1.2', '1.3': 'TLSv1.3' } as const;

function compileTls({ url, tls }: ServerConfig): ServerTls | undefined {
  if (!url!.startsWith('https:')) return undefined;
  return {
    ca: tls?.ca,
    pins: tls?.pin,
    serverName: tls?.serverName,
    minVersion: TLS_VERSIONS[tls?.minVersion ?? '1.3'],
  };
}

function compileTrust(trust: Config['trust']): TrustOptions {
  const { new: unseen, changed, servers } = trust;
  return {
    new: unseen,
    changed,
    servers: new Map(
      Object.entries(servers).map(([name, own]) => [name, { new: own.new ?? unseen, changed: own.changed ?? changed }]),
    ),
  };
}

/** Refers to a secret of the caller or its tenant. */
function isOwn(text: string): boolean {
  return referencesIn(text).some(({ scope }) => scope !== 'gateway');
}

function compileEndpoints(config: Config, names: ReadonlyMap<string, string>): EndpointOptions[] {
  const all = Object.keys(config.servers);
  const base = {
    names,
    onUnavailable: 'partial',
    listTimeout: 5000,
    allow: undefined,
    deny: [],
    naming: 'auto',
  } as const;
  const own: EndpointOptions[] =
    config.endpoints === undefined
      ? [
          {
            path: DEFAULT_ENDPOINT,
            catalog: { ...base, endpoint: DEFAULT_ENDPOINT, servers: all },
            scope: undefined,
            refusals: config.refusals,
            implicit: true,
          },
        ]
      : Object.entries(config.endpoints).map(([path, endpoint]) => ({
          path,
          catalog: {
            endpoint: path,
            servers: endpoint.servers === '*' ? all : endpoint.servers,
            naming: endpoint.naming,
            allow: endpoint.tools.allow === '*' ? undefined : endpoint.tools.allow?.map(canonicalPattern),
            deny: endpoint.tools.deny.map(canonicalPattern),
            names,
            onUnavailable: endpoint.onUnavailable,
            listTimeout: endpoint.listTimeout,
          },
          scope: endpoint.scope,
          refusals: endpoint.refusals ?? config.refusals,
          implicit: false,
        }));
  const alone = all.map((name): EndpointOptions => {
    const path = `/s/${name}`;
    // What a file of ToolHive hides must not be reachable beside it.
    const filter = config.toolhive && own.find(({ catalog }) => catalog.servers.includes(name));
    return {
      path,
      catalog: { ...base, endpoint: path, servers: [name], allow: filter?.catalog.allow },
      scope: undefined,
      refusals: config.refusals,
      implicit: true,
    };
  });
  return [...own, ...alone];
}

function compileInbound(config: Config, loopback: boolean, env: Environment): InboundOptions {
  const { listen, caps } = config;
  const hosts = new Set(config.allowedHosts);
  const origins = new Set(config.allowedOrigins);
  if (config.publicUrl !== undefined) {
    const url = new URL(config.publicUrl);
    hosts.add(url.hostname);
    origins.add(url.origin);
  }
  if (!loopback && !isWildcard(listen.host)) hosts.add(listen.host.includes(':') ? `[${listen.host}]` : listen.host);
  return {
    host: listen.host,
    port: listen.port,
    allowedHosts: [...hosts],
    allowedOrigins: [...origins],
    trustedProxies: config.trustedProxies,
    cors: config.cors,
    tls: config.tls === undefined ? undefined : { ...config.tls, minVersion: TLS_VERSIONS[config.tls.minVersion] },
    attachSocket: attachSocket(config.dataDir, env),
    caps: {
      ...caps,
      string: caps.string ?? caps.body,
      streamsPerPrincipal:
        caps.streamsPerPrincipal ?? (loopback ? caps.streams : Math.min(DEFAULT_STREAMS_PER_PRINCIPAL, caps.streams)),
    },
  };
}

/** Longest path of a Unix socket that every platform takes, its final zero included. */
const MAX_SOCKET_PATH = 103;

/** In the data folder where its path is short enough for a socket, else in the user's run-time or cache folder. */
function attachSocket(dataDir: string, env: Environment): string {
  const id = createHash('sha256').update(dataDir).digest('hex').slice(0, 16);
  if (process.platform === 'win32') return `\\\\.\\pipe\\tollgate-${id}`;
  const own = path.join(dataDir, 'attach.sock');
  if (Buffer.byteLength(own) <= MAX_SOCKET_PATH) return own;
  const runtime = env['XDG_RUNTIME_DIR'];
  const folder =
    runtime !== undefined && path.isAbsolute(runtime) ? runtime : path.join(env['HOME'] || homedir(), '.cache');
  return path.join(folder, 'tollgate', `${id}.sock`);
}

/** What a running gateway cannot change: the keys, by name, that differ between two configurations. */
export function restartOnlyChanges(before: CompiledConfig, after: CompiledConfig): string[] {
  const keys = ['listen', 'admin', 'dataDir', 'storage', 'state'] as const;
  const changed: string[] = keys.filter((key) => !isDeepStrictEqual(before[key], after[key]));
  // The file of the master key goes with the data folder, which is named already.
  if (!changed.includes('dataDir') && !isDeepStrictEqual(before.vault, after.vault)) changed.push('vault');
  if ((before.inbound.tls === undefined) !== (after.inbound.tls === undefined)) changed.push('tls');
  for (const cap of ['headers', 'streams'] as const) {
    if (before.inbound.caps[cap] !== after.inbound.caps[cap]) changed.push(`caps.${cap}`);
  }
  return changed;
}
