/**
 * A gateway put together in code, call by call: what the pieces say becomes the object form of `tollgate.yaml`, so
 * there is one meaning and one set of checks.
 */
import type { Readable, Writable } from 'node:stream';
import { type LoadedConfig, loadConfigObject } from '../config/load.ts';
import { formatPath, type KeyPath, type Problem } from '../config/problems.ts';
import { TollgateError } from '../core/errors.ts';
import { type Log, silentLog } from '../core/log.ts';
import type { CallCounts } from '../telemetry/calls.ts';
import { type RequestTransformer, type ResponseTransformer, TransformRegistry } from '../transform/registry.ts';
import {
  type AuthInput,
  type BearerOptions,
  checkTransformer,
  durations,
  knownKeys,
  type LimitInput,
  limitOf,
  mistake,
  type ProxyFlags,
  type Rate,
  type RateLimits,
  type RouteInput,
  type RouteOptions,
  type ServerInput,
  type UpstreamOptions,
} from './builder-options.ts';
import { type GatewayConfig, type GatewayHandle, gatewayOf } from './create-gateway.ts';

export interface ProxyRunOptions {
  /** Address for `http`. Default `127.0.0.1:7117`; port 0 is any free one. */
  readonly listen?: string;
  /** Path of the endpoint. Default `/mcp`. */
  readonly endpoint?: string;
  /** A pino logger or anything like one. Default: silent. */
  readonly log?: Log;
  /** Folder at which relative paths start. Default: the current one. */
  readonly baseDir?: string;
  /** Pipes for `stdio`. Default: those of the process. */
  readonly stdin?: Readable;
  readonly stdout?: Writable;
}

export interface ProxyStatistics extends CallCounts {
  readonly name: string;
  readonly upstreams: Readonly<Record<string, CallCounts>>;
  /** By canonical id. */
  readonly tools: Readonly<Record<string, CallCounts>>;
}

export interface RunningProxy extends AsyncDisposable {
  /** URL of the endpoint; undefined over stdio. */
  readonly url: string | undefined;
  readonly gateway: GatewayHandle;
  /** Settles when it is over: closed, or the stdio client left. */
  readonly finished: Promise<void>;
  close(): Promise<void>;
}

/** The limits of `setRateLimit`: what counts, and by what. */
const RATE_LIMITS = {
  global: { by: 'everyone' },
  client: { by: 'principal' },
  session: { by: 'session' },
  tool: { by: 'tool', on: 'tools/call' },
  server: { by: 'server' },
} as const satisfies Record<keyof RateLimits, Omit<LimitInput, 'limit'>>;

const NOTHING: CallCounts = {
  total: 0,
  successful: 0,
  failed: 0,
  refused: 0,
  cancelled: 0,
  successRate: 1,
  latency: undefined,
};

/** A proxy to be put together; `run` starts it. */
export function createProxy(name: string, flags: ProxyFlags = {}): ToolProxy {
  return new ToolProxy(name, flags);
}

/** Who a token is that is given alone. */
const WHOLE_PROXY: Pick<BearerOptions, 'subject' | 'scopes'> = { subject: 'bearer-user', scopes: ['*'] };

export class ToolProxy {
  readonly name: string;
  readonly #flags: Required<ProxyFlags>;
  readonly #servers: Record<string, ServerInput> = Object.create(null);
  readonly #routes: RouteInput[] = [];
  readonly #limits: Record<string, LimitInput> = Object.create(null);
  /** Where each limit was set, for messages. */
  readonly #limitPlaces = new Map<string, string>();
  #auth: readonly AuthInput[] | undefined;
  readonly #transformers = new TransformRegistry();
  #gateway: GatewayHandle | undefined;

  constructor(name: string, flags: ProxyFlags) {
    if (typeof name !== 'string' || name === '') throw mistake('createProxy', 'A proxy needs a name.');
    knownKeys('createProxy', flags, ['auth', 'rateLimiting']);
    this.name = name;
    this.#flags = { auth: flags.auth ?? true, rateLimiting: flags.rateLimiting ?? true };
  }

  /** Adds a server. Throws `config_invalid` when the name is taken; everything else is checked by `run`. */
  addUpstream(upstream: UpstreamOptions): this {
    const { name, transport, timeout, ...rest } = upstream;
    const place = `addUpstream(${JSON.stringify(name)})`;
    if (Object.hasOwn(this.#servers, name)) throw mistake(place, 'An upstream has this name already.');
    if (!['stdio', 'http', 'sse'].includes(transport)) {
      throw mistake(place, `There is no transport ${JSON.stringify(transport)}.`, 'One of stdio, http, sse.');
    }
    const waits = typeof timeout === 'object' ? timeout : { request: timeout };
    const own = timeout === undefined ? {} : { timeout: durations(waits, ['connect', 'firstByte', 'idle', 'request']) };
    this.#configure(() => {
      this.#servers[name] = { type: transport, ...rest, ...own } as ServerInput;
    });
    return this;
  }

  /** Adds a route behind those there are. Without any, every name goes to its own server. */
  addRoute(route: RouteOptions): this {
    this.#configure(() => this.#routes.push(durations(route, ['timeout']) as RouteInput));
    return this;
  }

  /**
   * Who may call; replaces what was set before. `anonymous`: callers without a credential too. Default: they may not.
   * A token of which nothing else is said guards the whole proxy: its bearer is `bearer-user` with scope `*`.
   */
  setBearerAuth(
    bearers: BearerOptions | readonly BearerOptions[],
    options: { readonly anonymous?: boolean } = {},
  ): this {
    knownKeys('setBearerAuth', options, ['anonymous']);
    const entries: AuthInput[] = [bearers].flat().map((options) => {
      const { name, ...bearer } = Object.keys(options).join() === 'token' ? { ...options, ...WHOLE_PROXY } : options;
      const own = name ?? bearer.subject;
      return own === undefined ? { bearer } : { name: own, bearer };
    });
    this.#configure(() => {
      this.#auth = options.anonymous === true ? [...entries, { anonymous: true }] : entries;
    });
    return this;
  }

  /** Limits that count every call; those not given stay as they were. */
  setRateLimit(rates: RateLimits): this {
    knownKeys('setRateLimit', rates, Object.keys(RATE_LIMITS));
    for (const [key, rate] of Object.entries(rates) as [keyof RateLimits, Rate | undefined][]) {
      if (rate === undefined) continue;
      this.#setLimit(key, `setRateLimit ${key}`, { ...RATE_LIMITS[key], ...limitOf(rate, `setRateLimit ${key}`) });
    }
    return this;
  }

  /**
   * A limit on the tools that match a pattern (`calculate`, `math/*`), counted for each client, or with
   * `by: 'everyone'` for all together. A second one for the same pattern replaces the first.
   */
  setToolRateLimit(pattern: string, rate: Rate, options: { readonly by?: 'client' | 'everyone' } = {}): this {
    const place = `setToolRateLimit(${JSON.stringify(pattern)})`;
    knownKeys(place, options, ['by']);
    const { by = 'client' } = options;
    if (by !== 'client' && by !== 'everyone') {
      throw mistake(`${place} by`, `Nothing is counted by ${JSON.stringify(by)}.`, 'One of client, everyone.');
    }
    const known = [...this.#limitPlaces].find(([, other]) => other === place)?.[0];
    this.#setLimit(known ?? this.#limitName(pattern), place, {
      on: 'tools/call',
      tool: pattern,
      by: by === 'client' ? 'principal' : 'everyone',
      ...limitOf(rate, place),
    });
    return this;
  }

  /** Sees and may change the arguments of every tool call, in the order of addition. Throws on a name twice. */
  addRequestTransformer(name: string, transformer: RequestTransformer): this {
    checkTransformer('addRequestTransformer', name, transformer);
    this.#configure(() => this.#transformers.addRequest(name, transformer));
    return this;
  }

  /** Sees and may change the result of every tool call, in the order of addition. Throws on a name twice. */
  addResponseTransformer(name: string, transformer: ResponseTransformer): this {
    checkTransformer('addResponseTransformer', name, transformer);
    this.#configure(() => this.#transformers.addResponse(name, transformer));
    return this;
  }

  /** What the pieces say, as `tollgate.yaml` would; with the flags applied. */
  toConfig(options: Pick<ProxyRunOptions, 'listen' | 'endpoint'> = {}): GatewayConfig {
    const all = this.#written(options);
    const { auth, limits, routes, ...rest } = all;
    return {
      ...rest,
      ...(this.#flags.auth ? { auth, routes } : { routes: (routes ?? []).map(({ scope: _scope, ...route }) => route) }),
      ...(this.#flags.rateLimiting ? { limits } : {}),
    };
  }

  /**
   * Starts: `http` listens, `stdio` serves the client on the pipes of this process. Resolves when every upstream was
   * tried once. Rejects with `config_invalid` and every mistake, or with `listen_failed`.
   */
  async run(transport: 'http' | 'stdio', options: ProxyRunOptions = {}): Promise<RunningProxy> {
    if (transport !== 'http' && transport !== 'stdio') {
      throw mistake('run', `There is no transport ${JSON.stringify(transport)}.`, 'One of http, stdio.');
    }
    if (this.#gateway !== undefined) throw mistake('run', 'The proxy runs already.', 'Make another with createProxy.');
    const { baseDir, log = silentLog, stdin, stdout, endpoint } = options;
    const loaded = this.#load(options);
    const gateway = await gatewayOf(loaded, {
      log: log.child({ proxy: this.name }),
      transformers: this.#transformers,
      ...(baseDir === undefined ? {} : { baseDir }),
    });
    this.#gateway = gateway;
    const close = (): Promise<void> => gateway.close();
    try {
      let url: string | undefined;
      if (transport === 'http') {
        url = (await gateway.listen()).url + (endpoint ?? '/mcp');
        await gateway.settled();
      } else {
        const pipes = { ...(stdin === undefined ? {} : { stdin }), ...(stdout === undefined ? {} : { stdout }) };
        const served = gateway.serveStdio({ ...pipes, ...(endpoint === undefined ? {} : { endpoint }) });
        await Promise.race([served, gateway.settled()]);
        served.catch((error: unknown) => log.error({ err: error }, 'the stdio client cannot be served'));
      }
      return { url, gateway, finished: gateway.closed, close, [Symbol.asyncDispose]: close };
    } catch (error) {
      await close();
      this.#gateway = undefined;
      throw error;
    }
  }

  /** Counts and latencies since the start; zero before it. */
  getStats(): ProxyStatistics {
    if (this.#gateway === undefined) return { name: this.name, ...NOTHING, upstreams: {}, tools: {} };
    const { servers, tools, ...counts } = this.#gateway.calls.statistics();
    return { name: this.name, ...counts, upstreams: Object.fromEntries(servers), tools: Object.fromEntries(tools) };
  }

  /** By name: true when the upstream works as far as is known. Before the start nothing is known to work. */
  getUpstreamHealth(): Record<string, boolean> {
    const views = new Map(this.#gateway?.status.servers.map((server) => [server.name, server]) ?? []);
    return Object.fromEntries(
      Object.keys(this.#servers).map((name) => {
        const view = views.get(name);
        return [name, view?.problem === undefined && (view?.state === 'ready' || view?.state === 'idle')];
      }),
    );
  }

  #written({ listen, endpoint }: Pick<ProxyRunOptions, 'listen' | 'endpoint'>): GatewayConfig {
    return {
      version: 1,
      ...(listen === undefined ? {} : { listen }),
      ...(endpoint === undefined ? {} : { endpoints: { [endpoint]: {} } }),
      servers: this.#servers,
      routes: this.#routes,
      limits: this.#limits,
      ...(this.#auth === undefined ? {} : { auth: this.#auth }),
    };
  }

  /** Also what a flag switches off is checked: a mistake must not wait until it is switched on. */
  #load(options: ProxyRunOptions): LoadedConfig {
    const base = options.baseDir === undefined ? {} : { baseDir: options.baseDir };
    try {
      if (!this.#flags.auth || !this.#flags.rateLimiting)
        loadConfigObject(this.#written({ listen: '127.0.0.1:0' }), base);
      return loadConfigObject(this.toConfig(options), base);
    } catch (error) {
      throw this.#located(error);
    }
  }

  /** The error in the words of the builder: which call, not which key of a file. */
  #located(error: unknown): unknown {
    const data = TollgateError.is(error)
      ? (error.data as { readonly problems?: readonly Problem[] } | undefined)
      : undefined;
    const problems = data?.problems?.filter((problem) => problem.severity === 'error');
    if (problems === undefined || problems.length === 0) return error;
    const lines = problems.map(({ path, what, fix }) => `  ${`${this.#place(path)}: ${what} ${fix}`.trimEnd()}`);
    const head = `The proxy ${JSON.stringify(this.name)} has ${lines.length === 1 ? '1 mistake' : `${lines.length} mistakes`}:`;
    return new TollgateError('config_invalid', [head, ...lines].join('\n'), { data });
  }

  #place(path: KeyPath): string {
    const [section, key, ...rest] = path;
    const within = (call: string, keys: KeyPath): string => (keys.length === 0 ? call : `${call} ${formatPath(keys)}`);
    if (key !== undefined) {
      if (section === 'servers') return within(`addUpstream(${JSON.stringify(key)})`, rest);
      if (section === 'routes') return within(`addRoute number ${Number(key) + 1}`, rest);
      if (section === 'limits') return within(this.#limitPlaces.get(String(key)) ?? 'setRateLimit', rest);
      if (section === 'auth') {
        return within(`setBearerAuth number ${Number(key) + 1}`, rest[0] === 'bearer' ? rest.slice(1) : rest);
      }
    }
    if (section === 'servers') return 'addUpstream';
    return section === 'listen' ? 'run listen' : section === 'endpoints' ? 'run endpoint' : formatPath(path);
  }

  #setLimit(name: string, place: string, limit: LimitInput): void {
    this.#configure(() => {
      this.#limits[name] = limit;
      this.#limitPlaces.set(name, place);
    });
  }

  /** A name for the limit that callers will read in refusals. */
  #limitName(pattern: string): string {
    const base = `tool-${pattern.replaceAll(/[^A-Za-z0-9_-]+/g, '-').replaceAll(/^-+|-+$/g, '')}`.slice(0, 58);
    let name = base;
    for (let n = 2; Object.hasOwn(this.#limits, name); n++) name = `${base}-${n}`;
    return name;
  }

  #configure(change: () => void): void {
    if (this.#gateway !== undefined) {
      throw mistake('createProxy', 'The proxy runs already and cannot be changed.', 'Use apply of its gateway.');
    }
    change();
  }
}
