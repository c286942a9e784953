/** The gateway as a library: what `tollgate serve` does with a file, without its signals and run-time record. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { type CompiledConfig, compile } from '../config/compile.ts';
import { type AppliedChanges, appliedChanges } from '../config/diff.ts';
import type { Environment } from '../config/expand.ts';
import { type LoadedConfig, loadConfig, loadConfigObject } from '../config/load.ts';
import { formatProblems } from '../config/problems.ts';
import type { ConfigInput } from '../config/schema.ts';
import { systemClock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import { type Log, silentLog } from '../core/log.ts';
import type { Mount } from '../inbound/beside.ts';
import { pumpStdio } from '../inbound/stdio-pump.ts';
import type { CallStatistics, FinishedCall } from '../telemetry/calls.ts';
import type { TransformRegistry } from '../transform/registry.ts';
import type { Vault } from '../vault/vault.ts';
import { AppliedConfiguration } from './applied-configuration.ts';
import { Gateway } from './gateway.ts';
import { attachPorts, type SurfacePorts } from './handle-ports.ts';
import { administrationOf, operationsOf } from './ports.ts';
import { withSecrets } from './secret-source.ts';
import { GatewayState } from './state.ts';
import { type StatusReport, statusReport } from './status-report.ts';

type Frozen<T> = T extends readonly (infer Item)[]
  ? readonly Frozen<Item>[]
  : T extends object
    ? { readonly [Key in keyof T]: Frozen<T[Key]> }
    : T;

/** The object form of `tollgate.yaml`. It is copied, never changed. */
export type GatewayConfig = Frozen<ConfigInput>;

export interface GatewayOptions {
  /** A pino logger or anything like one. Default: silent. */
  readonly log?: Log;
  /** Folder at which relative paths of a configuration object start. Default: the current one. */
  readonly baseDir?: string;
  /** Where `${env:X}` looks. Default: `process.env`. */
  readonly env?: Environment;
  /** Transformers of requests and responses. Default: none. */
  readonly transformers?: TransformRegistry;
  /**
   * Where stdio clients attach. `true`: the socket of the configuration's data folder, where `tollgate --stdio` looks
   * (the folder is made). Default false: no socket.
   */
  readonly attach?: boolean;
  /**
   * Whether counters, money, tiers and stops are kept as the configuration says (`dataDir`, `storage`, `state`), so that
   * they outlive this process; one gateway at a time then owns the data folder. False: all of it in memory, `storage`
   * and `state` may not be written. Default: true for a file and for an object that has one of these keys.
   */
  readonly persist?: boolean;
}

export interface StdioOptions {
  /** Default: `process.stdin` and `process.stdout`. */
  readonly stdin?: Readable;
  readonly stdout?: Writable;
  /** Default `/mcp`. */
  readonly endpoint?: string;
}

/** Calls as they end, refusals included. */
export interface CallFeed {
  /** Calls back for every call that ends from now on; returns the way to stop. A listener that throws is dropped. */
  watch(listener: (call: FinishedCall) => void): () => void;
  /** The last 1000, oldest first. */
  recent(): readonly FinishedCall[];
  statistics(): CallStatistics;
}

/** One gateway in this process. Servers are started when it is made, so it must be closed. */
export interface GatewayHandle extends AsyncDisposable {
  readonly calls: CallFeed;
  /** Resolves when the gateway has ended, whoever ended it. */
  readonly closed: Promise<void>;
  /** The gateway as it is now; no secrets. */
  readonly status: StatusReport;
  /**
   * Opens the address of `listen`, and that of `admin` where `controlApi` is set; `url` is the base of the endpoints,
   * `control` that of the control API. Rejects with `listen_failed`, and the gateway is closed then.
   */
  listen(): Promise<{ readonly url: string; readonly control: string }>;
  /**
   * Serves one client on the pipes of this process, instead of listening. Resolves when the client has left, and the
   * gateway is closed then. Nothing else may write to the output.
   */
  serveStdio(options?: StdioOptions): Promise<void>;
  /** Resolves when every server was tried once; bounded by the list timeouts of the endpoints. */
  settled(): Promise<void>;
  /**
   * Swaps in another configuration; running calls keep the old one. Rejects with `config_invalid` (every mistake at
   * once, or what cannot change while the gateway runs), and the old one stays.
   */
  apply(config: GatewayConfig | string): Promise<void>;
  /** Takes no new calls, lets the running ones finish for so many milliseconds, closes. True: all finished. */
  drain(ms: number): Promise<boolean>;
  /** Ends at once: running calls get an error, servers stop. */
  close(): Promise<void>;
}

/**
 * Makes a gateway from a configuration object, or from the file at a path (`tollgate.yaml` or an `.mcp.json`; giving
 * the path is consent). Rejects with `config_invalid` (every mistake, with its key) or `config_not_found`.
 */
export async function createGateway(
  config: GatewayConfig | string,
  options: GatewayOptions = {},
  surfaces?: Surfaces,
): Promise<GatewayHandle> {
  const persist = options.persist ?? (typeof config === 'string' || KEPT.some((key) => config[key] !== undefined));
  return gatewayOf(await load(config, options), { ...options, persist }, surfaces);
}

/** What is served beside MCP; made of the gateway's ports by who may import what serves it. */
export type Surfaces = (ports: SurfacePorts) => {
  readonly mount?: Mount | undefined;
  readonly publicMount?: Mount | undefined;
};

/** Keys that say where state is kept. */
const KEPT = ['dataDir', 'storage', 'state'] as const;

/** Like `createGateway`, from what was loaded before; `persist` is false by default. */
export async function gatewayOf(
  loaded: LoadedConfig,
  options: GatewayOptions,
  surfaces?: Surfaces,
): Promise<GatewayHandle> {
  const compiled = compileFor(loaded, options);
  const deps = { clock: systemClock, log: options.log ?? silentLog };
  if (options.persist !== true && (compiled.state.kind !== 'memory' || compiled.storage.sql.kind !== 'sqlite')) {
    throw new TollgateError(
      'config_invalid',
      '`persist: false` contradicts `state` or `storage` of the configuration.',
    );
  }
  if (options.persist !== true && compiled.identity.entries.some(({ kind }) => kind === 'keys')) {
    throw new TollgateError(
      'config_invalid',
      '`auth` has an entry of `keys`, but nothing is kept. Name a `dataDir`, or set `persist: true`.',
    );
  }
  let resolved = { loaded, compiled };
  const resolve = async (vault: Vault): Promise<CompiledConfig> => {
    const next = await withSecrets(loaded, vault);
    resolved = { loaded: next, compiled: next === loaded ? compiled : compileFor(next, options) };
    return resolved.compiled;
  };
  const state =
    options.persist === true ? await GatewayState.open(compiled, deps, resolve) : await GatewayState.transient(deps);
  try {
    if (options.persist !== true) await resolve(state.vault);
    return new LibraryGateway(resolved.loaded, resolved.compiled, state, options, surfaces);
  } catch (error) {
    await state.close();
    throw error;
  }
}

async function load(config: GatewayConfig | string, { baseDir, env }: GatewayOptions): Promise<LoadedConfig> {
  const environment = env === undefined ? {} : { env };
  if (typeof config === 'string') {
    return loadConfig(config, { ...environment, ...(baseDir === undefined ? {} : { cwd: baseDir }) });
  }
  return loadConfigObject(config, { ...environment, ...(baseDir === undefined ? {} : { baseDir }) });
}

class LibraryGateway implements GatewayHandle {
  readonly calls: CallFeed;
  readonly closed: Promise<void>;
  readonly #over = Promise.withResolvers<void>();
  readonly #options: GatewayOptions;
  readonly #state: GatewayState;
  readonly #gateway: Gateway;
  readonly #applied: AppliedConfiguration;
  /** Named last: what is read again by `POST /reload`. */
  #file: string | undefined;
  #ending: Promise<boolean> | undefined;

  constructor(
    loaded: LoadedConfig,
    compiled: CompiledConfig,
    state: GatewayState,
    options: GatewayOptions,
    surfaces: Surfaces | undefined,
  ) {
    this.closed = this.#over.promise;
    this.#options = options;
    this.#file = loaded.source.file;
    this.#state = state;
    const log = options.log ?? silentLog;
    this.#applied = new AppliedConfiguration(loaded, {
      state,
      log,
      apply: (config) => this.#gateway.apply(config),
      compile: (next) => compileFor(next, options),
    });
    const ports = { clock: systemClock, state, gateway: () => this.#gateway };
    const administration = administrationOf(ports);
    const own: SurfacePorts = {
      ...ports,
      log,
      administration,
      operations: operationsOf(ports, administration, () => this.#applied.loaded.warnings),
      status: () => this.status,
      reload: () => this.#reload(),
    };
    attachPorts(this, own);
    this.#gateway = this.#build(compiled, surfaces?.(own) ?? {});
    const { calls } = this.#gateway;
    this.calls = {
      watch: (listener) => calls.watch(listener),
      recent: () => calls.recent(),
      statistics: () => calls.statistics(),
    };
    this.#warn(loaded);
  }

  get status(): StatusReport {
    const { file } = this.#applied.loaded.source;
    return statusReport(this.#gateway, { configuration: file ?? '(object)', reloadProblem: undefined });
  }

  async listen(): Promise<{ readonly url: string; readonly control: string }> {
    try {
      return await this.#gateway.listen();
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  async serveStdio(options: StdioOptions = {}): Promise<void> {
    const { stdin = process.stdin, stdout = process.stdout, endpoint = '/mcp' } = options;
    const place = await privateSocket();
    try {
      await this.#gateway.listenStdio(place.socket);
      await pumpStdio({ socketPath: place.socket, endpoint, stdin, stdout });
    } finally {
      await this.close();
      await place.remove();
    }
  }

  settled(): Promise<void> {
    return this.#gateway.settled();
  }

  async apply(config: GatewayConfig | string): Promise<void> {
    await this.#replace(config);
  }

  drain(ms: number): Promise<boolean> {
    this.#ending ??= this.#applied
      .close()
      .then(() => this.#gateway.drain(ms))
      .finally(() => this.#end());
    return this.#ending;
  }

  async close(): Promise<void> {
    // Also in the middle of draining: whoever closes does not want to wait.
    this.#ending ??= Promise.resolve(true);
    void this.#applied.close();
    await this.#gateway.close().finally(() => this.#end());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #replace(config: GatewayConfig | string): Promise<AppliedChanges> {
    const { before, after } = await this.#applied.replace(() => load(config, this.#options));
    this.#file = after.source.file;
    this.#warn(after);
    const applied = appliedChanges(before, after);
    for (const warning of applied.warnings)
      this.#options.log?.warn({ warning }, 'the applied configuration forgets what was used');
    return applied;
  }

  /** What was given as an object can only be given anew. */
  async #reload(): Promise<AppliedChanges> {
    if (this.#file === undefined) {
      const told = 'This gateway has no file: its program gave it an object, and gives it another with apply().';
      throw new TollgateError('invalid_params', told, { http: 400 });
    }
    return this.#replace(this.#file);
  }

  async #end(): Promise<void> {
    await this.#applied.close();
    await this.#state.close();
    this.#over.resolve();
  }

  #build(compiled: CompiledConfig, { mount, publicMount }: ReturnType<Surfaces>): Gateway {
    const { log = silentLog, transformers } = this.#options;
    return new Gateway(compiled, {
      log,
      state: this.#state,
      ...(mount === undefined ? {} : { mount }),
      ...(publicMount === undefined ? {} : { publicMount }),
      ...(transformers === undefined ? {} : { transforms: transformers }),
    });
  }

  #warn({ warnings, source }: LoadedConfig): void {
    if (warnings.length === 0) return;
    const where = source.file ?? 'the configuration object';
    this.#options.log?.warn({ warnings: formatProblems(warnings) }, `${where} has warnings`);
  }
}

function compileFor(loaded: LoadedConfig, { env, attach }: GatewayOptions): CompiledConfig {
  const compiled = compile(loaded.config, env);
  if (attach === true) return compiled;
  return { ...compiled, inbound: { ...compiled.inbound, attachSocket: undefined } };
}

/** A socket that only this user can reach, gone with the gateway. */
async function privateSocket(): Promise<{ readonly socket: string; remove(): Promise<void> }> {
  if (process.platform === 'win32') {
    return { socket: `\\\\.\\pipe\\tollgate-${randomBytes(16).toString('hex')}`, remove: async () => {} };
  }
  const folder = await mkdtemp(join(tmpdir(), 'tollgate-'));
  return { socket: join(folder, 's'), remove: () => rm(folder, { recursive: true, force: true }) };
}
