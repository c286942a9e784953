/** The upstream servers of a gateway, made by a factory keyed by transport type. */
import { type Clock, systemClock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import { IMPLEMENTATION } from '../core/version.ts';
import { DEFAULT_SCAN_CAPS, type ScanCaps } from '../protocol/json/caps.ts';
import type { Server } from '../protocol/peer.ts';
import type { ClientIdentity } from './discover.ts';
import type { Credentials, HttpServerOptions } from './http-client.ts';
import type { HttpTarget, ServerOptions, StdioTarget } from './options.ts';
import type { SecretSource } from './secret-texts.ts';
import { UpstreamServer } from './server.ts';
import type { Transport, TransportDeps } from './transport.ts';
import { HttpTransport } from './transport-http.ts';
import { StdioTransport } from './transport-stdio.ts';

export interface ServerDeps {
  readonly log: Log;
  /** Default: the system's. */
  readonly clock?: Clock;
  /** How the gateway introduces itself to servers. Default: its name and version. */
  readonly clientInfo?: ClientIdentity;
  /** Caps on what servers send. Default: those of requests, but with loose text and no cap on keys or strings of its own. */
  readonly caps?: ScanCaps;
  /** Tokens of the servers with `auth`. */
  readonly credentials?: (options: HttpServerOptions) => Credentials | undefined;
  /** Values of `${vault:x}` in headers and environments. Default: none, and a server with one cannot be reached. */
  readonly secrets?: SecretSource | undefined;
  /** The gateway's own environment. Default `process.env`. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Milliseconds between the steps of ending a child process. Default 2000. */
  readonly grace?: number;
  /** Milliseconds for which a child may say nothing before it is taken for a legacy server. Default 2000. */
  readonly silence?: number;
}

type TransportFactory<Target> = (
  options: ServerOptions & { readonly target: Target },
  deps: TransportDeps,
  all: ServerDeps,
) => Transport;

const FACTORIES: { readonly stdio: TransportFactory<StdioTarget>; readonly http: TransportFactory<HttpTarget> } = {
  stdio: (options, deps, { environment, grace, silence, secrets, clock = systemClock }) =>
    new StdioTransport(options, { ...deps, environment, grace, silence, secrets, clock }),
  http: (options, deps, { credentials, secrets, clock = systemClock }) =>
    new HttpTransport(options, { ...deps, credentials: credentials?.(options), secrets, clock }),
};

/**
 * Caps on answers: a server's texts may quote anything, a list of tools has many keys, and one string may be a whole
 * file. The size as such is capped by `ServerOptions.maxResponse`.
 */
function responseCaps(options: ServerOptions): ScanCaps {
  return { ...DEFAULT_SCAN_CAPS, keys: 1_000_000, string: options.maxResponse, looseText: true };
}

/** One server. Nothing is started before the first `connect`. Throws `config_invalid` for headers that cannot be sent. */
export function createServer(options: ServerOptions, deps: ServerDeps): Server {
  const log = deps.log.child({ server: options.name });
  const clientInfo = deps.clientInfo ?? IMPLEMENTATION;
  const base: TransportDeps = { log, clientInfo, caps: deps.caps ?? responseCaps(options) };
  const { target } = options;
  const transport =
    target.kind === 'stdio'
      ? FACTORIES.stdio({ ...options, target }, base, deps)
      : FACTORIES.http({ ...options, target }, base, deps);
  return new UpstreamServer(options, transport, { log, clientInfo, clock: deps.clock ?? systemClock });
}

export interface Servers {
  /** The server of this name, or undefined. */
  get(name: string): Server | undefined;
  /** In the order of the configuration. */
  readonly all: readonly Server[];
  /** Ends all of them, at the same time, within about 6 s. */
  close(): Promise<void>;
}

/** All servers of a configuration. Throws `config_invalid` when two have one name, or as `createServer`. */
export function createServers(list: readonly ServerOptions[], deps: ServerDeps): Servers {
  const byName = new Map<string, Server>();
  for (const options of list) {
    if (byName.has(options.name))
      throw new TollgateError('config_invalid', `servers: "${options.name}" is there twice`);
    byName.set(options.name, createServer(options, deps));
  }
  const all = [...byName.values()];
  return {
    get: (name) => byName.get(name),
    all,
    close: async () => {
      await Promise.all(all.map((server) => server.close()));
    },
  };
}
