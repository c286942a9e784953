/** What the upstream room needs to know about a server: complete and checked, made by `config/compile`. */
export interface StdioTarget {
  readonly kind: 'stdio';
  readonly command: string;
  readonly args: readonly string[];
  /** Declared environment, expanded. The child gets these and a minimal base, nothing else. */
  readonly env: Readonly<Record<string, string>>;
  /** Absolute. */
  readonly cwd: string;
}

export interface HttpTarget {
  readonly kind: 'http';
  readonly url: URL;
  /** Operator's headers, expanded; may hold secrets. */
  readonly headers: Readonly<Record<string, string>>;
  /** Undefined: plain HTTP. */
  readonly tls?: ServerTls | undefined;
}

/** How a server is recognised; it is verified in any case. */
export interface ServerTls {
  /** PEM file of authorities, absolute; undefined: those of the system. */
  readonly ca: string | undefined;
  /** SHA-256 of public keys (SPKI), base64, one of which must be in the chain; undefined: not asked. */
  readonly pins: readonly string[] | undefined;
  readonly serverName: string | undefined;
  readonly minVersion: 'TLSv1.2' | 'TLSv1.3';
}

export interface InstanceOptions {
  /** `auto`: shared for modern servers; for legacy ones per session, else per principal. */
  readonly mode: 'auto' | 'shared' | 'per-session' | 'per-principal';
  readonly max: number;
  /** Milliseconds without a call after which an instance is stopped. */
  readonly idle: number;
}

export interface ServerTimeouts {
  readonly connect: number;
  readonly firstByte: number;
  readonly idle: number;
  readonly request: number;
}

export interface ServerOptions {
  readonly name: string;
  readonly target: StdioTarget | HttpTarget;
  readonly protocol: 'auto' | 'modern' | 'legacy' | 'sse';
  /** `oauth`: tokens of `tollgate login NAME` are sent. */
  readonly auth: 'oauth' | undefined;
  readonly timeout: ServerTimeouts;
  readonly instances: InstanceOptions;
  /** Connections kept to an HTTP server. */
  readonly pool: { readonly max: number };
  /** Bytes of one answer or event. */
  readonly maxResponse: number;
}
