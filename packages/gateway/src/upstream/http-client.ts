/**
 * The HTTP side of one server: a pool of kept connections, the operator's headers, the token. Everything that
 * goes to the server over HTTP, in either era, goes through here, so limits and credentials cannot be bypassed.
 */
import { Client, type Dispatcher, Pool } from 'undici';
import { type Clock, systemClock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import { keepNewest } from '../core/keep-newest.ts';
import type { Log } from '../core/log.ts';
import type { Principal } from '../core/principal.ts';
import type { ScanCaps } from '../protocol/json/caps.ts';
import type { HttpTarget, ServerOptions } from './options.ts';
import { type SecretSource, SecretTexts } from './secret-texts.ts';
import { type SecureConnect, secureConnect } from './secure-connect.ts';

/** The token of one owner at one server. */
export interface TokenProvider {
  /** The access token when one is at hand and not expired: the synchronous hot path. */
  current(): string | undefined;
  /**
   * A token other than the `rejected` one, refreshed when needed; concurrent calls share one refresh. Undefined: there
   * is none, and the request goes without. Rejects with `server_login_required` or `account_required` when only a
   * person can help.
   */
  renew(rejected: string | undefined): Promise<string | undefined>;
  /**
   * The server wants this scope too (403 `insufficient_scope`, so nothing ran): a token that has it, or the error that
   * says what the caller has to do.
   */
  widen(scope: string, rejected: string): Promise<string>;
  /** The error when the server refuses even a fresh token. */
  refused(status: number): TollgateError;
}

/** The tokens of a server with `auth`. */
export interface Credentials {
  /** True: a call carries a token of its caller's own, never the gateway's. */
  readonly perCaller: boolean;
  /** Undefined: the gateway's own requests (lists, probes, subscriptions). */
  of(principal: Principal | undefined): TokenProvider;
}

export interface HttpDeps {
  readonly log: Log;
  /** Caps of the scanner for what the server sends. */
  readonly caps: ScanCaps;
  /** Required with `auth`, ignored without. */
  readonly credentials?: Credentials | undefined;
  /** Required where headers refer to the vault. */
  readonly secrets?: SecretSource | undefined;
  readonly clock?: Clock | undefined;
}

export type HttpServerOptions = ServerOptions & { readonly target: HttpTarget };

/** Requests that may wait for a connection; beyond that a server that hangs would hold memory without bound. */
const MAX_WAITING = 10_000;
/** Callers whose secrets are kept at hand. */
const MAX_OWN = 1000;
/** How long `close` waits for answers under way before it cuts them. */
const CLOSE_GRACE_MS = 5_000;

/** Set by the gateway for every request: an operator's value would break framing or the mirrored headers. */
const OWN_HEADERS =
  /^(accept|accept-encoding|connection|content-(encoding|length|type)|expect|keep-alive|last-event-id|mcp-.*|proxy-connection|te|trailer|transfer-encoding|upgrade)$/;
const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

export interface PoolStats {
  /** Open connections, idle ones included. */
  readonly connected: number;
  /** Open connections without a request. */
  readonly free: number;
  /** Requests on a connection. */
  readonly running: number;
  /** Requests that wait for one, those included that were given up meanwhile. */
  readonly waiting: number;
}

export class HttpClient {
  readonly name: string;
  readonly options: HttpServerOptions;
  readonly log: Log;
  readonly caps: ScanCaps;
  readonly credentials: Credentials | undefined;
  /** Operator's headers as a flat list, lower-case names. */
  readonly headers: readonly string[];
  /** Path and query of the server's URL. */
  readonly path: string;
  /** The head of a session's GET stream came too late to be waited for: some servers send it with the first event. */
  lateStreams = false;
  readonly #secrets: HttpDeps;
  /** Undefined: no header refers to the vault. */
  readonly #shared: SecretTexts | undefined;
  /** Of callers with secrets of their own, by `Principal.key`. */
  readonly #own = new Map<number, SecretTexts>();
  /** How connections are opened. */
  readonly #connect: Partial<SecureConnect> & { readonly timeout: number };
  readonly #calls: Pool;
  #control: Pool | undefined;
  #streams: Pool | undefined;
  #waiting = 0;
  #finished: Lingering[] = [];
  #closed = false;

  /** Throws `config_invalid` for a header that the gateway itself sets or that HTTP cannot carry. */
  constructor(options: HttpServerOptions, deps: HttpDeps) {
    this.name = options.name;
    this.options = options;
    this.log = deps.log;
    this.caps = deps.caps;
    this.credentials = options.auth === undefined ? undefined : deps.credentials;
    this.headers = operatorHeaders(options);
    this.#secrets = deps;
    this.#shared = this.#secretTexts(undefined);
    this.path = `${options.target.url.pathname}${options.target.url.search}`;
    const { tls } = options.target;
    this.#connect = {
      ...(tls === undefined ? {} : secureConnect(options.name, tls)),
      timeout: options.timeout.connect,
    };
    this.#calls = this.#makePool(options.pool.max);
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Of the connections for calls; `pool.max` of them at most. */
  get stats(): PoolStats {
    const { connected, free, running } = this.#calls.stats;
    return { connected, free, running, waiting: this.#waiting };
  }

  /** Puts secrets of the vault into the headers of this caller's requests; undefined: there are none. */
  secretsOf(principal: Principal | undefined): SecretTexts | undefined {
    if (this.#shared === undefined || principal === undefined || this.options.ownSecrets !== true) return this.#shared;
    const known = this.#own.get(principal.key);
    if (known !== undefined) return known;
    const made = this.#secretTexts(principal)!;
    this.#own.set(principal.key, made);
    keepNewest(this.#own, MAX_OWN);
    return made;
  }

  #secretTexts(principal: Principal | undefined): SecretTexts | undefined {
    const { secrets, clock = systemClock } = this.#secrets;
    const use = { server: this.name, principal, as: 'header' } as const;
    return SecretTexts.of(Object.values(this.options.target.headers), secrets, use, clock);
  }

  /** Starts an exchange. Failures, also immediate ones, arrive at the handler. */
  dispatch(handler: HttpHandler, request: Dispatcher.DispatchOptions, lane: Lane): void {
    if (lane !== 'call') {
      this.#lane(lane).dispatch(request, handler);
      return;
    }
    if (this.#waiting >= MAX_WAITING) {
      const full = `${this.name}: all ${this.options.pool.max} connections are taken and ${MAX_WAITING} requests wait`;
      handler.onResponseError(null, new TollgateError('server_busy', full));
      return;
    }
    this.#waiting++;
    handler.waiting = true;
    this.#calls.dispatch(request, handler);
  }

  /** Called by a handler once, when its request is written or has failed while `waiting`. */
  left(): void {
    this.#waiting--;
  }

  /** Calls `linger` in the next turn of the event loop; one wake-up serves all exchanges of a turn. */
  afterTurn(exchange: Lingering): void {
    if (this.#finished.push(exchange) > 1) return;
    setImmediate(() => {
      const finished = this.#finished;
      this.#finished = [];
      for (const one of finished) one.linger();
    });
  }

  /** Waits for answers under way up to 5 s, then cuts them; long-lived streams are cut at once. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#streams?.destroy();
    let timer: NodeJS.Timeout | undefined;
    const grace = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, CLOSE_GRACE_MS);
    });
    await Promise.race([Promise.all([this.#calls.close(), this.#control?.close()]), grace]);
    clearTimeout(timer);
    await Promise.all([this.#calls.destroy(), this.#control?.destroy()]);
  }

  #lane(lane: 'control' | 'stream'): Pool {
    if (lane === 'control') {
      this.#control ??= this.#born(this.options.pool.max);
      return this.#control;
    }
    this.#streams ??= this.#born(null);
    return this.#streams;
  }

  /** A pool made on demand, dead from the start once the client is closed. */
  #born(connections: number | null): Pool {
    const pool = this.#makePool(connections);
    if (this.#closed) void pool.destroy();
    return pool;
  }

  #makePool(connections: number | null): Pool {
    const { firstByte, idle } = this.options.timeout;
    return new Pool(this.options.target.url.origin, {
      connections,
      factory: (origin, options) => {
        const client = new Client(origin, options);
        // An emitter without an error listener ends the process; handlers never throw, so this is a last resort.
        client.on('error' as 'drain', (cause: unknown) =>
          this.log.error({ server: this.name, err: cause }, 'HTTP client failed'),
        );
        return client;
      },
      connect: this.#connect,
      // HTTP/1.1 only: one exchange per connection, so one broken answer cannot touch another caller's.
      allowH2: false,
      pipelining: 1,
      headersTimeout: firstByte,
      bodyTimeout: idle,
    });
  }
}

/**
 * `call`: shares `pool.max` connections. `control`: notifications and answers to the server, which must get through
 * while calls hold every connection; as many again. `stream`: open for hours, each with a connection of its own.
 */
export type Lane = 'call' | 'control' | 'stream';

/** An exchange that is over before its answer has ended. */
export interface Lingering {
  linger(): void;
}

/** What the client needs of a handler beyond undici's own interface. */
export interface HttpHandler extends Dispatcher.DispatchHandler {
  /** True while a `call` waits for a connection; the handler then clears it and calls `left`. */
  waiting: boolean;
  onResponseError(controller: Dispatcher.DispatchController | null, error: Error): void;
}

function operatorHeaders(options: HttpServerOptions): readonly string[] {
  const flat: string[] = [];
  const { url, headers } = options.target;
  for (const [name, value] of Object.entries(headers)) {
    const lower = name.toLowerCase();
    const where = `servers.${options.name}.headers`;
    if (OWN_HEADERS.test(lower)) {
      throw new TollgateError('config_invalid', `${where}: "${name}" is set by the gateway; remove it`);
    }
    if (lower === 'authorization' && options.auth !== undefined) {
      throw new TollgateError('config_invalid', `${where}: "${name}" and \`auth\` exclude each other; keep one`);
    }
    if (!/^[!#$%&'*+.^_`|~0-9a-z-]+$/.test(lower) || !HEADER_VALUE.test(value)) {
      throw new TollgateError('config_invalid', `${where}: "${name}" or its value cannot be sent in an HTTP header`);
    }
    flat.push(lower, value);
  }
  if (url.username !== '' || url.password !== '') {
    if (flat.some((text, at) => at % 2 === 0 && text === 'authorization') || options.auth !== undefined) {
      throw new TollgateError(
        'config_invalid',
        `servers.${options.name}.url: remove user and password, there is another credential`,
      );
    }
    const pair = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
    flat.push('authorization', `Basic ${Buffer.from(pair).toString('base64')}`);
  }
  return flat;
}
