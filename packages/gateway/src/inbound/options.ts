/** What the client-facing edges need to know: complete and checked, made by `config/compile`. */
export interface InboundOptions {
  readonly host: string;
  readonly port: number;
  /** Host names (no port) that may stand in Host, lower case; loopback names are added when listening on loopback. */
  readonly allowedHosts: readonly string[];
  /** Origins that may stand in Origin, lower case; on loopback every loopback origin is allowed. */
  readonly allowedOrigins: readonly string[];
  /** Addresses and networks of proxies whose `X-Forwarded-*` counts; empty: nobody's. */
  readonly trustedProxies: readonly string[];
  readonly cors: CorsOptions;
  /** Undefined: plain HTTP. */
  readonly tls: ListenerTls | undefined;
  /** Path of the attach socket for stdio clients; undefined: no attach. */
  readonly attachSocket: string | undefined;
  readonly caps: InboundCaps;
}

export interface InboundCaps {
  /** Bytes of one request body. Default 4 MiB. */
  readonly body: number;
  /** JSON nesting of a body. Default 64. */
  readonly depth: number;
  /** Object keys in one body. Default 10,000. */
  readonly keys: number;
  /** Bytes of one JSON string. Default: the body cap. */
  readonly string: number;
  /** Bytes of all request headers. Default 16 KiB. */
  readonly headers: number;
  /** Milliseconds for the request head, and for the body. Defaults 10 s and 30 s. */
  readonly headerTime: number;
  readonly bodyTime: number;
  /** Open client streams in all, and of one principal. Defaults 20,000 and 1,000; on loopback both 20,000. */
  readonly streams: number;
  readonly streamsPerPrincipal: number;
  /** Legacy sessions in all, and milliseconds without use after which one ends. */
  readonly sessions: number;
  readonly sessionIdle: number;
  /** Bytes waiting for one slow reader before its stream is closed. Default 4 MiB. */
  readonly streamBuffer: number;
  /** Milliseconds between keep-alive comments on quiet streams. Default 15 s. */
  readonly keepAlive: number;
}

export interface CorsOptions {
  /** Request headers that pages may send beside those of MCP, lower case. */
  readonly allowedHeaders: readonly string[];
  /** Response headers that pages may read beside those of MCP. */
  readonly exposedHeaders: readonly string[];
  /** Milliseconds for which a browser remembers a preflight. */
  readonly maxAge: number;
}

export interface ListenerTls {
  /** PEM file of the certificate and what leads to its authority. Absolute, like the next. */
  readonly cert: string;
  readonly key: string;
  readonly minVersion: 'TLSv1.2' | 'TLSv1.3';
}
