/**
 * The HTTP edge: one listener for MCP of both eras, health, and what is mounted beside them. Every request passes
 * the same gate first (raw headers, Host, Origin, path), whatever its path.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { Face } from '../protocol/call.ts';
import { type Mount, serveBeside } from './beside.ts';
import { CertificateKeeper } from './certificate.ts';
import { Connections, MAX_PIPELINED } from './connections.ts';
import { exposedHeaders } from './cors.ts';
import { type Edge, OpenCalls } from './edge.ts';
import { Exchange } from './exchange.ts';
import { HostOriginGuard } from './host-origin.ts';
import { LegacyHttp } from './legacy-http.ts';
import { LegacySse } from './legacy-sse.ts';
import { McpRouter } from './mcp-router.ts';
import type { InboundOptions } from './options.ts';
import { routePath } from './path.ts';
import { Proxies } from './proxies.ts';
import { RequestHead, readHead } from './request-head.ts';
import { securityHeaders } from './security-headers.ts';
import { Streams } from './stream.ts';

/** Idle time of a kept-alive connection: longer than the 60 s of common load balancers, so that they close first. */
const KEEP_ALIVE = 65_000;
/** Milliseconds for a TLS handshake: Node's own two minutes would let strangers hold connections. */
const HANDSHAKE = 10_000;
/** Connections beside those that hold a stream. */
const SPARE_CONNECTIONS = 1024;
/** Milliseconds at the very end: for endpoints to answer ended calls, and for answers to reach their sockets. */
const ANSWER_GRACE = 100;
const FLUSH_GRACE = 200;

export interface HttpEdgeDeps {
  readonly log: Log;
  readonly clock: Clock;
  /** Whether `/readyz` answers 200. A draining edge is never ready. */
  readonly ready: () => boolean;
  /** Control API, REST, pages. */
  readonly mount?: Mount | undefined;
  /** Another certificate has come into use. */
  readonly onCertificate?: (() => void) | undefined;
  /** Milliseconds between looks at the files of the certificate. Default 10 s. */
  readonly certificateEvery?: number | undefined;
}

export interface HttpEdgeView {
  readonly connections: number;
  readonly streams: number;
  readonly calls: number;
  readonly sessions: number;
}

export interface HttpEdge {
  /** Rejects with `listen_failed` that names the address and what to do. */
  listen(): Promise<{ readonly host: string; readonly port: number; readonly url: string }>;
  /**
   * Takes no new connections, calls or sessions; ends listen streams with their final result; waits for open calls,
   * at most `deadlineMs`, then ends them too; then closes.
   */
  drain(deadlineMs: number): Promise<void>;
  /**
   * Takes new allow-lists and caps without closing anything; host and port stay (they need a new edge), and so do the
   * caps on header bytes and connections.
   */
  reconfigure(options: InboundOptions): void;
  /**
   * Reads the certificate of a configuration that is about to be applied; the result puts it into use. Rejects with
   * `config_invalid` for one that could not serve.
   */
  loadCertificate(options: InboundOptions): Promise<() => void>;
  /** SHA-256 of the public key in use, base64; undefined without TLS. */
  readonly pin: string | undefined;
  /** Closes at once: open calls end with `shutting_down`, sockets are destroyed. */
  close(): Promise<void>;
  readonly view: HttpEdgeView;
  /** Where mounted handlers enter the calls that they run: a drain waits for them, a close ends them. */
  readonly calls: OpenCalls;
}

/** Creates the edge; `face` is asked anew for every request, so that a reload is a swap. */
export function createHttpEdge(options: InboundOptions, face: () => Face, deps: HttpEdgeDeps): HttpEdge {
  return new NodeHttpEdge(options, face, deps);
}

class NodeHttpEdge implements HttpEdge {
  readonly #edge: Edge;
  readonly #deps: HttpEdgeDeps;
  readonly #server: Server | TlsServer;
  readonly #certificate: CertificateKeeper | undefined;
  readonly #legacy: LegacyHttp;
  readonly #sse: LegacySse;
  readonly #router: McpRouter;
  readonly #connections = new Connections();
  #guard: HostOriginGuard;
  #proxies: Proxies;
  #exposed: string;
  #port: number;
  #closing = false;

  constructor(options: InboundOptions, face: () => Face, deps: HttpEdgeDeps) {
    this.#deps = deps;
    const edge: Edge = {
      options,
      face,
      clock: deps.clock,
      log: deps.log,
      streams: new Streams(() => edge.options.caps),
      calls: new OpenCalls(),
    };
    this.#edge = edge;
    this.#legacy = new LegacyHttp(this.#edge);
    this.#sse = new LegacySse(this.#edge);
    this.#router = new McpRouter(this.#edge, this.#legacy, this.#sse, () => this.#closing);
    this.#port = options.port;
    this.#guard = new HostOriginGuard(options, options.port);
    this.#proxies = new Proxies(options.trustedProxies);
    this.#exposed = exposedHeaders(options.cors);
    const { headerTime, bodyTime, headers, streams } = options.caps;
    const settings = {
      maxHeaderSize: headers,
      headersTimeout: headerTime,
      requestTimeout: headerTime + bodyTime,
      connectionsCheckingInterval: Math.max(10, Math.min(1000, headerTime / 2, bodyTime / 2)),
      keepAliveTimeout: KEEP_ALIVE,
      requireHostHeader: true,
      insecureHTTPParser: false,
    };
    if (options.tls === undefined) {
      this.#server = createServer(settings);
      this.#server.on('connection', (socket) => this.#connections.add(socket));
    } else {
      const server = createTlsServer({ ...settings, handshakeTimeout: HANDSHAKE });
      this.#server = server;
      this.#certificate = new CertificateKeeper(
        options.tls,
        ({ context }) => {
          server.setSecureContext(context);
          deps.onCertificate?.();
        },
        deps.log,
        deps.certificateEvery,
      );
      server.on('connection', (socket) => this.#connections.addRaw(socket as Socket));
      server.on('secureConnection', (socket) => this.#connections.add(socket));
    }
    // Node would silently leave out the fields above its own limit, and with them a repeated one.
    this.#server.maxHeadersCount = 0;
    this.#server.maxConnections = streams + SPARE_CONNECTIONS;
    this.#server.on('request', (request: IncomingMessage, response: ServerResponse) =>
      this.#onRequest(request, response),
    );
    this.#server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => this.#clientError(error, socket));
    this.#server.on('error', (error: Error) => {
      // A failure to listen is told to who called `listen`.
      if (this.#server.listening) deps.log.error({ err: error }, 'the HTTP listener failed');
    });
    this.#server.on('drop', () =>
      deps.log.warn({ connections: this.#connections.size }, 'all client connections are taken'),
    );
  }

  get view(): HttpEdgeView {
    return {
      connections: this.#connections.size,
      streams: this.#edge.streams.size,
      calls: this.#edge.calls.size,
      sessions: this.#legacy.sessions + this.#sse.sessions,
    };
  }

  get calls(): OpenCalls {
    return this.#edge.calls;
  }

  async listen(): Promise<{ host: string; port: number; url: string }> {
    const { host, port, tls } = this.#edge.options;
    await this.#certificate?.start();
    await new Promise<void>((resolve, reject) => {
      const failed = (error: NodeJS.ErrnoException): void => reject(listenFailed(host, port, error));
      this.#server.once('error', failed);
      this.#server.listen({ host, port }, () => {
        this.#server.off('error', failed);
        resolve();
      });
    });
    const bound = (this.#server.address() as AddressInfo).port;
    this.#port = bound;
    this.#guard = new HostOriginGuard(this.#edge.options, bound);
    return {
      host,
      port: bound,
      url: `${tls === undefined ? 'http' : 'https'}://${host.includes(':') ? `[${host}]` : host}:${bound}`,
    };
  }

  reconfigure(options: InboundOptions): void {
    const { host, port, tls } = this.#edge.options;
    this.#edge.options = { ...options, host, port, tls };
    this.#proxies = new Proxies(options.trustedProxies);
    this.#exposed = exposedHeaders(options.cors);
    this.#guard = new HostOriginGuard(this.#edge.options, this.#port);
    this.#server.headersTimeout = options.caps.headerTime;
    this.#server.requestTimeout = options.caps.headerTime + options.caps.bodyTime;
  }

  async loadCertificate({ tls }: InboundOptions): Promise<() => void> {
    const keeper = this.#certificate;
    if (keeper === undefined || tls === undefined) return () => {};
    const loaded = await keeper.next(tls);
    return () => keeper.adopt(tls, loaded);
  }

  get pin(): string | undefined {
    return this.#certificate?.pin;
  }

  async drain(deadlineMs: number): Promise<void> {
    this.#closing = true;
    this.#server.close();
    this.#edge.calls.end('listening');
    await this.#edge.calls.empty(deadlineMs);
    await this.close();
  }

  async close(): Promise<void> {
    this.#closing = true;
    this.#certificate?.stop();
    this.#edge.calls.end('all');
    // Endpoints may need a turn to answer the calls that were just ended.
    await this.#edge.calls.empty(ANSWER_GRACE);
    this.#legacy.close();
    this.#sse.close();
    this.#edge.streams.close();
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeIdleConnections();
    const timer = setTimeout(() => this.#connections.destroy(), FLUSH_GRACE);
    await closed;
    clearTimeout(timer);
  }

  get #draining(): boolean {
    return this.#closing || this.#edge.face().draining;
  }

  #onRequest(request: IncomingMessage, response: ServerResponse): void {
    const head = readHead(request);
    const { socket } = request;
    if (head instanceof RequestHead) this.#proxies.settle(head, socket.remoteAddress, socket instanceof TLSSocket);
    const path =
      head instanceof Error ? head : (this.#guard.check(head.host, head.origin) ?? routePath(request.url ?? ''));
    // Until Origin is known to be good, nothing in the answer lets a page read it.
    const origin = path instanceof Error ? undefined : (head as RequestHead).origin;
    const connection = this.#connections.begin(socket, response);
    const exchange = new Exchange(response, origin, this.#exposed, connection);
    if (this.#closing) exchange.closeAfter();
    if (head instanceof Error || path instanceof Error) {
      const { code } = path as TollgateError;
      this.#deps.log.debug({ code, host: request.headers.host, origin: request.headers.origin }, 'refused at the gate');
      exchange.always = securityHeaders(head instanceof RequestHead && head.secure);
      exchange.refuseUnread(path as TollgateError);
      return;
    }
    if (connection !== undefined && connection.open > MAX_PIPELINED) {
      exchange.refuseUnread(new TollgateError('too_many_streams', 'Too many unanswered requests on this connection.'));
      return;
    }
    try {
      if (!this.#router.route(request, exchange, head, path)) {
        serveBeside(request, exchange, head, path, {
          metadata: (asked) => this.#edge.face().metadata?.(asked),
          ready: () => !this.#draining && this.#deps.ready(),
          mount: this.#deps.mount,
          cors: this.#edge.options.cors,
        });
      }
    } catch (error) {
      this.#deps.log.error({ err: error, path }, 'a request handler failed');
      exchange.refuse(TollgateError.from(error));
    }
  }

  /** Answers what is not HTTP, or never became a whole request; then the connection cannot be used again. */
  #clientError(error: NodeJS.ErrnoException, socket: Socket): void {
    // Plain HTTP, or a handshake that failed: there is nobody to whom words could be said.
    const opened = !(this.#certificate !== undefined && !this.#connections.has(socket));
    if (opened && socket.writable && this.#connections.silent(socket)) {
      const status = CLIENT_ERRORS[error.code ?? ''] ?? '400 Bad Request';
      socket.end(`HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`, () => socket.destroy());
    } else {
      socket.destroy();
    }
  }
}

/** The status that says why Node gave the request up. */
const CLIENT_ERRORS: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
  HPE_CHUNK_EXTENSIONS_OVERFLOW: '413 Content Too Large',
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
};

function listenFailed(host: string, port: number, error: NodeJS.ErrnoException): TollgateError {
  const why =
    error.code === 'EADDRINUSE'
      ? 'the port is taken; stop the other program or choose another port with `listen` or --listen'
      : error.code === 'EACCES'
        ? 'the port needs more rights; choose one above 1023 with `listen`'
        : `${error.code ?? 'error'}; set \`listen\` to an address of this machine`;
  return new TollgateError('listen_failed', `Cannot listen on ${host}:${port}: ${why}.`, { cause: error });
}
