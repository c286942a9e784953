/** Connections to a server over HTTP: stateless in the modern era, sessions in the legacy one, HTTP+SSE at last. */
import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import type { Principal } from '../core/principal.ts';
import { discoverMessage, judgeDiscover, type ModernServerInfo, UNDISCOVERED, type Verdict } from './discover.ts';
import { type Credentials, HttpClient, type HttpServerOptions } from './http-client.ts';
import { needsSignIn, statusOf } from './http-failure.ts';
import { createModernHttp, type ModernHttp } from './http-modern.ts';
import { InitializeRefused, LegacyConnection } from './legacy-connection.ts';
import type { OpenLink } from './link.ts';
import { openHttpLink } from './link-http.ts';
import { openSseLink } from './link-sse.ts';
import { Multiplexer } from './multiplexer.ts';
import { refusedAsModern, WrongEra } from './negotiate.ts';
import type { SecretSource } from './secret-texts.ts';
import type { Opened, OpenWish, Transport, TransportDeps } from './transport.ts';

export interface HttpTransportDeps extends TransportDeps {
  /** Required where headers refer to the vault. */
  readonly secrets?: SecretSource | undefined;
  readonly clock: Clock;
  /** Required with `auth`. */
  readonly credentials?: Credentials | undefined;
}

export class HttpTransport implements Transport {
  readonly stderr: readonly string[] = [];
  readonly #options: HttpServerOptions;
  readonly #deps: HttpTransportDeps;
  readonly #client: HttpClient;
  readonly #modern: ModernHttp;
  /** The legacy transport that was found to work. */
  #kind: 'http' | 'sse';

  /** Throws `config_invalid` for headers that cannot be sent. */
  constructor(options: HttpServerOptions, deps: HttpTransportDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#client = new HttpClient(options, deps);
    this.#modern = createModernHttp(this.#client);
    this.#kind = options.protocol === 'sse' ? 'sse' : 'http';
  }

  get kind(): 'http' | 'sse' {
    return this.#kind;
  }

  async open(wish: OpenWish): Promise<Opened> {
    if (wish.era === 'legacy') return this.#openLegacy(wish);
    const verdict = await this.#probe(wish.asker);
    if (verdict.era === 'modern') return this.#openModern(verdict.info, wish);
    if (verdict.era === 'neither') throw verdict.error;
    if (this.#options.protocol === 'modern') return this.#openModern(UNDISCOVERED, wish);
    if (wish.era === 'modern') {
      throw new WrongEra('modern', `Server "${this.#options.name}" does not speak the modern protocol any more`);
    }
    return this.#fallBack(wish);
  }

  account(principal: Principal): Promise<unknown> | undefined {
    const { credentials } = this.#client;
    if (credentials?.perCaller !== true) return undefined;
    const tokens = credentials.of(principal);
    return tokens.current() === undefined ? tokens.renew(undefined) : undefined;
  }

  close(_reason: TollgateError): Promise<void> {
    return this.#client.close();
  }

  /** The modern request first. Credentials, load and faults of the server are no evidence of an era. */
  async #probe(asker: Principal | undefined): Promise<Verdict> {
    const { name, timeout } = this.#options;
    const answer = await this.#modern.post(
      discoverMessage(this.#deps.clientInfo),
      Math.min(timeout.firstByte, timeout.request),
      asker,
    );
    const { status, headers } = answer;
    if (
      needsSignIn(status, headers) ||
      status === 403 ||
      status === 429 ||
      status >= 500 ||
      (status >= 300 && status < 400)
    ) {
      throw answer.refusal();
    }
    return answer.message === undefined ? { era: 'legacy' } : judgeDiscover(name, answer.message);
  }

  #openModern(info: ModernServerInfo, wish: OpenWish): Opened {
    const connection = this.#modern.connection(info);
    connection.onTrouble = wish.onClosed;
    // Stateless: there is nothing to end, and what is in flight ends by itself.
    const close = async (): Promise<void> => {
      connection.onTrouble = undefined;
    };
    return { connection, subscriptions: undefined, close };
  }

  /** `initialize`, and where POST itself is refused the event stream of 2024-11-05. */
  async #fallBack(wish: OpenWish): Promise<Opened> {
    let refused: unknown;
    try {
      return await this.#initialize(openHttpLink(this.#client, { principal: wish.scope?.principal }), wish);
    } catch (error) {
      if (refusedAsModern(error)) return this.#openModern(UNDISCOVERED, wish);
      if (!isRefusal(error)) throw error;
      refused = error;
    }
    try {
      const opened = await this.#initialize(openSseLink(this.#client, wish.scope?.principal), wish);
      this.#kind = 'sse';
      return opened;
    } catch (error) {
      if (TollgateError.is(error) && (error.code === 'server_login_required' || error.code === 'account_required'))
        throw error;
      throw this.#speaksNothing(refused);
    }
  }

  async #openLegacy(wish: OpenWish): Promise<Opened> {
    const sse = this.#kind === 'sse';
    try {
      return await this.#initialize(
        sse
          ? openSseLink(this.#client, wish.scope?.principal)
          : openHttpLink(this.#client, { principal: wish.scope?.principal }),
        wish,
      );
    } catch (error) {
      if (this.#options.protocol !== 'auto' || !isRefusal(error)) throw error;
      this.#kind = 'http';
      throw new WrongEra('legacy', TollgateError.from(error).message, error);
    }
  }

  async #initialize(open: OpenLink, wish: OpenWish): Promise<Opened> {
    const { name, timeout } = this.#options;
    const { caps, log, clientInfo } = this.#deps;
    const multiplexer = await Multiplexer.open(open, { server: name, caps, log });
    try {
      const connection = await LegacyConnection.open(multiplexer, { ...wish, clientInfo, timeout: timeout.request });
      return { connection, subscriptions: connection, close: (reason) => multiplexer.close(reason) };
    } catch (error) {
      await multiplexer.close(TollgateError.from(error));
      throw error;
    }
  }

  #speaksNothing(cause: unknown): TollgateError {
    const { name } = this.#options;
    const { message } = TollgateError.from(cause);
    return new TollgateError(
      'server_protocol_error',
      `Server "${name}" answers at its URL, but not as an MCP server: ${message}. Check the path in servers.${name}.url`,
      { cause },
    );
  }
}

/** The server is there and refuses this way of speaking: by JSON-RPC, or by 400, 404, 405 without it. */
function isRefusal(error: unknown): boolean {
  const status = statusOf(error);
  return error instanceof InitializeRefused || status === 400 || status === 404 || status === 405;
}
