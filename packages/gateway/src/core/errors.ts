/**
 * The one error class and its closed list of codes. Every failure a caller, an operator or a log
 * can see carries one of these; anything else is masked as `internal` and logged with its cause.
 * `docs/errors.md` is kept equal to this table by a test.
 */

export interface ErrorShape {
  /** JSON-RPC error code on MCP paths. */
  readonly rpc: number;
  /** HTTP status where the transport carries one. */
  readonly http: number;
  /** What happened and what to do, for `docs/errors.md`. */
  readonly about: string;
}

export const ERROR_SHAPES = {
  // Parsing and protocol (source: MCP 2026-07-28, basic and transports; JSON-RPC 2.0).
  parse_error: {
    rpc: -32700,
    http: 400,
    about: 'The body is not strict JSON. The message names the byte and the rule.',
  },
  invalid_request: { rpc: -32600, http: 400, about: 'The JSON is not one JSON-RPC message of this protocol.' },
  method_not_found: {
    rpc: -32601,
    http: 404,
    about: 'The method does not exist in this protocol version, or no server offers it.',
  },
  invalid_params: { rpc: -32602, http: 200, about: 'A parameter is missing or wrong.' },
  invalid_meta: { rpc: -32602, http: 400, about: 'A required `_meta` key is missing or malformed.' },
  unknown_name: {
    rpc: -32602,
    http: 200,
    about: 'No tool, prompt or resource of that name is available to this caller.',
  },
  no_route: { rpc: -32602, http: 200, about: 'The name exists but no route of this endpoint takes it.' },
  header_mismatch: {
    rpc: -32020,
    http: 400,
    about: 'A mirrored header is missing, malformed, repeated or differs from the body.',
  },
  missing_client_capability: {
    rpc: -32021,
    http: 400,
    about: 'The call needs a capability that the client did not declare.',
  },
  unsupported_version: {
    rpc: -32022,
    http: 400,
    about: 'The protocol version is not served here; the supported ones are in `data.supported`.',
  },
  // Transport edge.
  host_not_allowed: { rpc: -32600, http: 403, about: 'The Host header is not in `allowedHosts`.' },
  origin_not_allowed: { rpc: -32600, http: 403, about: 'The Origin header is not in `allowedOrigins`.' },
  not_found: { rpc: -32600, http: 404, about: 'No endpoint is served at this path.' },
  method_not_allowed: { rpc: -32600, http: 405, about: 'This HTTP method is not served at this path.' },
  not_acceptable: { rpc: -32600, http: 406, about: 'The Accept header leaves no form in which to answer.' },
  payload_too_large: { rpc: -32600, http: 413, about: 'The body is larger than `caps.body`.' },
  unsupported_media_type: { rpc: -32600, http: 415, about: 'The body must be uncompressed `application/json`.' },
  headers_too_large: { rpc: -32600, http: 431, about: 'The request headers exceed the documented caps.' },
  request_timeout: { rpc: -32600, http: 408, about: 'The request was not sent completely in time.' },
  session_required: {
    rpc: -32600,
    http: 400,
    about: 'A legacy request without a session id; send `initialize` first.',
  },
  session_not_found: {
    rpc: -32600,
    http: 404,
    about: 'The session is unknown, ended or belongs to another caller; initialize again.',
  },
  too_many_streams: { rpc: 503, http: 503, about: 'The cap on open streams or sessions is reached.' },
  // Identity and access.
  unauthorized: {
    rpc: 401,
    http: 401,
    about: 'No accepted credential. A credential that no method accepts is never treated as anonymous.',
  },
  identity_unavailable: {
    rpc: 503,
    http: 503,
    about: 'The credential could not be checked now (keys of its issuer, storage, or too many at once). Nothing ran.',
  },
  insufficient_scope: {
    rpc: 403,
    http: 403,
    about: 'The credential lacks a scope that the first matching route requires.',
  },
  blocked: { rpc: 403, http: 403, about: 'An operator keeps this caller out for now; the message says until when.' },
  user_mismatch: {
    rpc: -32600,
    http: 403,
    about: 'The `user_id` of the request is not the caller, and the caller is no admin. On REST: `USER_MISMATCH`.',
  },
  access_denied: { rpc: 403, http: 200, about: 'A rule on the caller or the arguments denies this call.' },
  oauth_refused: {
    rpc: -32600,
    http: 400,
    about:
      'An OAuth endpoint of the gateway refuses a request; `error` of its answer says why in the words of RFC 6749.',
  },
  // Limits.
  rate_limited: {
    rpc: 429,
    http: 429,
    about: 'A limit is used up. The message and `retryAfterSeconds` say when to repeat.',
  },
  // Servers.
  server_unavailable: { rpc: 503, http: 503, about: 'The server could not be reached or started. Nothing ran.' },
  server_disconnected: {
    rpc: 503,
    http: 503,
    about: 'The server died or closed the connection after the call was sent; it may have run.',
  },
  server_protocol_error: {
    rpc: 503,
    http: 502,
    about: 'The server answered with something that is not a valid MCP response.',
  },
  server_response_too_large: { rpc: 503, http: 502, about: 'The answer of the server is larger than `caps.response`.' },
  server_login_required: {
    rpc: 503,
    http: 503,
    about:
      'The gateway has no valid credential for the server: run `tollgate login NAME`, or do what the message says.',
  },
  account_required: {
    rpc: 403,
    http: 200,
    about:
      'The server needs an account of the caller’s own; the message holds the link to connect it. Nothing ran. See `docs/upstream-auth.md`.',
  },
  server_busy: { rpc: 503, http: 503, about: 'Every instance or connection of the server is taken. Nothing ran.' },
  // Documents that strangers name.
  egress_refused: {
    rpc: 503,
    http: 502,
    about: 'A URL that no operator wrote leads where nothing is fetched from, or answers with something never taken.',
  },
  egress_failed: {
    rpc: 503,
    http: 502,
    about: 'A URL that no operator wrote could not be fetched; a repeat may help.',
  },
  // What must last.
  storage_unavailable: {
    rpc: 503,
    http: 503,
    about: 'The database or the disk did not take or answer it in time. Nothing is lost by repeating it later.',
  },
  vault_unavailable: {
    rpc: 503,
    http: 503,
    about:
      'The vault cannot give or keep a secret now: its key provider or storage does not answer. Nothing is guessed.',
  },
  secret_missing: {
    rpc: 503,
    http: 503,
    about: 'A secret that a server needs is not in the vault, or has expired. The message says how to set it.',
  },
  deadline_exceeded: {
    rpc: 504,
    http: 504,
    about: 'No answer within the configured time; when it had been sent it may have run.',
  },
  cancelled: { rpc: -32800, http: 200, about: 'The caller cancelled the call.' },
  not_bridgeable: {
    rpc: -32603,
    http: 200,
    about: 'The two protocol eras cannot express this combination; see `docs/protocol.md`.',
  },
  input_state_invalid: {
    rpc: -32602,
    http: 200,
    about: 'The `requestState` is forged, expired or belongs to another call.',
  },
  shutting_down: { rpc: 503, http: 503, about: 'The gateway is draining; repeat the request elsewhere or later.' },
  internal: {
    rpc: -32603,
    http: 500,
    about: 'An unexpected failure. The caller sees only this; the log has the cause under the same id.',
  },
  // Configuration and command line (never on the wire).
  config_not_found: { rpc: -32603, http: 500, about: 'No configuration file at the given path, and none found.' },
  config_invalid: {
    rpc: -32603,
    http: 500,
    about: 'The configuration has mistakes; all are listed with file, line, key and fix.',
  },
  consent_required: {
    rpc: -32603,
    http: 500,
    about: 'An implicitly found configuration must be approved once; see `--trust`.',
  },
  listen_failed: { rpc: -32603, http: 500, about: 'The listen address cannot be used.' },
  storage_locked: {
    rpc: -32603,
    http: 500,
    about: 'Another gateway keeps its state there; the message names the ways out.',
  },
  storage_incompatible: {
    rpc: -32603,
    http: 500,
    about: 'The stored data belongs to a newer Tollgate, another ledger or another key.',
  },
  vault_key_wrong: {
    rpc: -32603,
    http: 500,
    about: 'The master key is missing, weak, readable by others, or not the one of this vault. Nothing was changed.',
  },
  gateway_not_running: { rpc: -32603, http: 500, about: 'The command needs a running gateway of this configuration.' },
  usage: { rpc: -32603, http: 500, about: 'The command line is wrong; the message says how to write it.' },
} as const satisfies Record<string, ErrorShape>;

export type ErrorCode = keyof typeof ERROR_SHAPES;

export interface ErrorOptions {
  readonly cause?: unknown;
  /** JSON-RPC `error.data`; must be safe for the caller. */
  readonly data?: unknown;
  /** Whole seconds until a repeat can help; becomes `Retry-After`. */
  readonly retryAfterSeconds?: number;
  /** Whether the server may have executed the call. Default `no`. */
  readonly executed?: 'no' | 'yes' | 'unknown';
  /** Overrides the status of the table where the specification pins one per situation. */
  readonly http?: number;
  /** Overrides the JSON-RPC code: only to relay the code of a server's own error. */
  readonly rpc?: number;
}

const BRAND = Symbol.for('tollgate.error');

export class TollgateError extends Error {
  override readonly name = 'TollgateError';
  readonly [BRAND] = true;
  readonly code: ErrorCode;
  readonly data: unknown;
  readonly retryAfterSeconds: number | undefined;
  readonly executed: 'no' | 'yes' | 'unknown';
  readonly http: number;
  readonly rpc: number;

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.data = options.data;
    this.retryAfterSeconds = options.retryAfterSeconds;
    this.executed = options.executed ?? 'no';
    this.http = options.http ?? ERROR_SHAPES[code].http;
    this.rpc = options.rpc ?? ERROR_SHAPES[code].rpc;
  }

  /** Brand check by registry symbol: a name can be forged by JSON, a symbol cannot. */
  static is(value: unknown): value is TollgateError {
    return typeof value === 'object' && value !== null && BRAND in value;
  }

  /** Any thrown value as a TollgateError; unknown ones are masked and keep their cause for the log. */
  static from(value: unknown): TollgateError {
    return TollgateError.is(value) ? value : new TollgateError('internal', 'Internal error', { cause: value });
  }
}

/** The same error for a call that had left the gateway: whoever ended it could not know that it was sent. */
export function afterSending(reason: TollgateError): TollgateError {
  return reason.executed === 'no' ? told(reason, 'unknown') : reason;
}

/** The same error for a call that never left the gateway: nothing ran, so that nothing may be charged. */
export function beforeSending(reason: TollgateError): TollgateError {
  return reason.executed === 'no' ? reason : told(reason, 'no');
}

function told({ code, message, cause, data, http, rpc, retryAfterSeconds }: TollgateError, executed: 'no' | 'unknown') {
  const retry = retryAfterSeconds === undefined ? {} : { retryAfterSeconds };
  return new TollgateError(code, message, { cause, data, executed, http, rpc, ...retry });
}
