/** Connections to a server that runs as a child process: each is a process of its own. */
import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import type { Principal } from '../core/principal.ts';
import { LegacyConnection } from './legacy-connection.ts';
import { openStdioLink, type StdioLink } from './link-stdio.ts';
import { ModernMultiplex } from './modern-multiplex.ts';
import { Multiplexer } from './multiplexer.ts';
import { type Negotiated, negotiate } from './negotiate.ts';
import type { ServerOptions, StdioTarget } from './options.ts';
import { type SecretSource, SecretTexts } from './secret-texts.ts';
import type { Opened, OpenWish, Transport, TransportDeps } from './transport.ts';

/** A legacy server may ignore what it does not know; so long it is waited for before `initialize` is sent too. */
const PROBE_SILENCE_MS = 2000;

export interface StdioTransportDeps extends TransportDeps {
  /** The gateway's own environment. Default `process.env`. */
  readonly environment?: Readonly<Record<string, string | undefined>> | undefined;
  /** Milliseconds between the steps of ending a child. Default 2000. */
  readonly grace?: number | undefined;
  /** Milliseconds without an answer to the modern probe after which `initialize` is sent too. Default 2000. */
  readonly silence?: number | undefined;
  /** Required where the environment refers to the vault. */
  readonly secrets?: SecretSource | undefined;
  readonly clock: Clock;
}

export class StdioTransport implements Transport {
  readonly kind = 'stdio';
  readonly #options: ServerOptions & { readonly target: StdioTarget };
  readonly #deps: StdioTransportDeps;
  /** Processes that run, those that are being negotiated with too; the newest is last. */
  readonly #links = new Map<StdioLink, Multiplexer>();
  #lastStderr: readonly string[] = [];
  #closed: TollgateError | undefined;

  constructor(options: ServerOptions & { readonly target: StdioTarget }, deps: StdioTransportDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  get stderr(): readonly string[] {
    return [...this.#links.keys()].at(-1)?.stderr ?? this.#lastStderr;
  }

  async open(wish: OpenWish): Promise<Opened> {
    const first = await this.#start(wish.scope?.principal);
    try {
      return await this.#negotiated(first, wish);
    } catch (error) {
      // Ending it takes seconds when it does not want to; the caller need not wait for that.
      void first.close(TollgateError.from(error));
      // Some servers end when the first message is not `initialize`; that is an answer too: legacy.
      if (wish.era !== undefined || !diedUnasked(error)) throw error;
    }
    const second = await this.#start(wish.scope?.principal);
    try {
      return await this.#negotiated(second, { ...wish, era: 'legacy' });
    } catch (error) {
      void second.close(TollgateError.from(error));
      throw error;
    }
  }

  async close(reason: TollgateError): Promise<void> {
    this.#closed = reason;
    await Promise.all([...this.#links.values()].map((multiplexer) => multiplexer.close(reason)));
  }

  async #start(principal: Principal | undefined): Promise<Multiplexer> {
    const { name, maxResponse } = this.#options;
    const { target, secrets } = await this.#target(principal);
    if (this.#closed !== undefined) throw this.#closed;
    const { log, caps, environment, grace } = this.#deps;
    const open = openStdioLink(
      { name, target, secrets, maxMessage: maxResponse },
      { log, ...(environment === undefined ? {} : { environment }), ...(grace === undefined ? {} : { grace }) },
    );
    let link: StdioLink | undefined;
    let gone = false;
    const multiplexer = await Multiplexer.open(
      async (listener) => {
        link = await open({
          ...listener,
          onClose: (error) => {
            gone = true;
            if (link !== undefined) this.#forget(link);
            listener.onClose(error);
          },
        });
        return link;
      },
      { server: name, caps, log },
    );
    if (link !== undefined && !gone) this.#links.set(link, multiplexer);
    if (this.#closed !== undefined) await multiplexer.close(this.#closed);
    return multiplexer;
  }

  /** With the secrets of the vault in its environment, as they are now. */
  async #target(
    principal: Principal | undefined,
  ): Promise<{ readonly target: StdioTarget; readonly secrets?: readonly string[] }> {
    const { name, target } = this.#options;
    const { secrets: source, clock } = this.#deps;
    const use = { server: name, principal, as: 'variable' } as const;
    const secrets = SecretTexts.of(Object.values(target.env), source, use, clock);
    if (secrets === undefined) return { target };
    await secrets.load();
    return { target: { ...target, env: secrets.environment(target.env) }, secrets: secrets.values };
  }

  #forget(link: StdioLink): void {
    this.#lastStderr = link.stderr;
    this.#links.delete(link);
  }

  async #negotiated(multiplexer: Multiplexer, wish: OpenWish): Promise<Opened> {
    const { timeout, protocol } = this.#options;
    const { clientInfo, silence = PROBE_SILENCE_MS } = this.#deps;
    const result: Negotiated = await negotiate(multiplexer, wish.era, {
      capabilities: wish.capabilities,
      clientInfo,
      silence: Math.min(silence, timeout.connect),
      // A package runner may have to download the server first, which is not a matter of connecting.
      timeout: Math.max(timeout.connect, timeout.request),
      pinned: protocol === 'modern',
    });
    const close = (reason: TollgateError): Promise<void> => multiplexer.close(reason);
    if (result.era === 'modern') {
      return { connection: new ModernMultiplex(multiplexer, result.info, wish), subscriptions: undefined, close };
    }
    const connection = await new LegacyConnection(
      multiplexer,
      { ...wish, clientInfo, timeout: timeout.request },
      result.initialized,
    ).ready();
    return { connection, subscriptions: connection, close };
  }
}

function diedUnasked(error: unknown): boolean {
  return TollgateError.is(error) && (error.code === 'server_unavailable' || error.code === 'server_disconnected');
}
