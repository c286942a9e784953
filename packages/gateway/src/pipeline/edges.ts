import type { CompiledConfig } from '../config/compile.ts';
import { isLoopback } from '../config/units.ts';
import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import { localPrincipal, type PrincipalKeys } from '../identity/principals.ts';
import type { Mount } from '../inbound/beside.ts';
import type { OpenCalls } from '../inbound/edge.ts';
import { createHttpEdge, type HttpEdge, type HttpEdgeView } from '../inbound/http.ts';
import type { InboundOptions } from '../inbound/options.ts';
import { createStdioEdge, type StdioEdge } from '../inbound/stdio.ts';
import type { Face } from '../protocol/call.ts';
import { userName } from './same-user.ts';

interface EdgesDeps {
  readonly log: Log;
  readonly clock: Clock;
  readonly keys: PrincipalKeys;
  readonly ready: () => boolean;
  /** Paths beside the endpoints, for everybody. */
  readonly open: Mount;
  /** Paths of the control API. Default: the address of `admin` is not opened. */
  readonly control: Mount | undefined;
  readonly onCertificate: (() => void) | undefined;
  readonly onClients: ((count: number) => void) | undefined;
}

export interface Listening {
  /** Base URL of the endpoints. */
  readonly url: string;
  /** Base URL of the control API. */
  readonly control: string;
}

/** Where a gateway can be reached: the address of the endpoints, that of the admin surfaces, and the attach socket. */
export class Edges {
  readonly #face: Face;
  readonly #deps: EdgesDeps;
  readonly #http: HttpEdge;
  /** Undefined: it is the same address, or there is nothing to serve on it. */
  readonly #admin: HttpEdge | undefined;
  #inbound: InboundOptions;
  #stdio: StdioEdge | undefined;

  constructor(config: CompiledConfig, face: Face, deps: EdgesDeps) {
    const { log, clock, ready, open, control, onCertificate } = deps;
    this.#face = face;
    this.#deps = deps;
    this.#inbound = config.inbound;
    const edge = { log, clock, ready, onCertificate };
    const shared = sameAddress(config.listen, config.admin);
    const all: Mount = (...asked) => open(...asked) || control?.(...asked) === true;
    this.#http = createHttpEdge(config.inbound, () => face, { ...edge, mount: shared ? all : open });
    this.#admin =
      shared || control === undefined
        ? undefined
        : createHttpEdge(adminOptions(config), () => NO_ENDPOINTS, { ...edge, mount: control });
    const { attachSocket } = config.inbound;
    if (attachSocket !== undefined) this.#stdio = this.#stdioEdge(attachSocket);
  }

  get view(): HttpEdgeView & { readonly stdioClients: number } {
    return { ...this.#http.view, stdioClients: this.#stdio?.clientCount ?? 0 };
  }

  /** SHA-256 of the public key with which the control API is served, base64; undefined without TLS. */
  get controlPin(): string | undefined {
    return (this.#admin ?? this.#http).pin;
  }

  /** Calls that are open on the client-facing address; handlers mounted there enter their own. */
  get openCalls(): OpenCalls {
    return this.#http.calls;
  }

  /** Opens the ports. Rejects with `listen_failed`. */
  async listen(): Promise<Listening> {
    const { url } = await this.#http.listen();
    const control = this.#admin === undefined ? url : (await this.#admin.listen()).url;
    return { url, control };
  }

  /** Opens the attach socket: this one, or the one that is configured, if any. */
  async attach(socket?: string): Promise<void> {
    if (socket !== undefined) this.#stdio = this.#stdioEdge(socket);
    await this.#stdio?.listen();
  }

  /** The certificates of a configuration, read and checked; each of the functions puts one into use. */
  certificates({ inbound }: CompiledConfig): Promise<(() => void)[]> {
    const edges = this.#admin === undefined ? [this.#http] : [this.#http, this.#admin];
    return Promise.all(edges.map((edge) => edge.loadCertificate(inbound)));
  }

  /** Takes over what may change while it listens. */
  reconfigure(config: CompiledConfig): void {
    this.#inbound = config.inbound;
    this.#http.reconfigure(config.inbound);
    this.#admin?.reconfigure(adminOptions(config));
    this.#stdio?.reconfigure(config.inbound);
  }

  /** No new calls; those that run have so many milliseconds. */
  async drain(deadlineMs: number): Promise<void> {
    await Promise.all([this.#http.drain(deadlineMs), this.#stdio?.drain(deadlineMs)]);
  }

  async close(): Promise<void> {
    await Promise.all([this.#http.close(), this.#admin?.close(), this.#stdio?.close()]);
  }

  #stdioEdge(attachSocket: string): StdioEdge {
    const { log, clock, keys, onClients } = this.#deps;
    const principal = localPrincipal(keys, userName());
    return createStdioEdge({ ...this.#inbound, attachSocket }, () => this.#face, { log, clock, principal, onClients });
  }
}

/** The admin surfaces speak TLS where they leave the machine; on loopback a certificate for its names would be needed. */
function adminOptions({ inbound, admin }: CompiledConfig): InboundOptions {
  const tls = isLoopback(admin.host) ? undefined : inbound.tls;
  return { ...inbound, ...admin, tls, attachSocket: undefined };
}

const NO_ENDPOINTS: Face = {
  endpoint: () => undefined,
  identify: () => new TollgateError('unauthorized', 'No endpoint is served here'),
  guard: undefined,
  barred: () => undefined,
  withdrawals: 0,
  draining: false,
};

function sameAddress(a: { host: string; port: number }, b: { host: string; port: number }): boolean {
  return a.host === b.host && a.port === b.port;
}
