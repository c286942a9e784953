/** Failures of one HTTP exchange with a server, in the words of the one error list. Targets and tokens stay out of them. */
import { type ErrorCode, TollgateError } from '../core/errors.ts';
import type { ServerTimeouts } from './options.ts';

/** A duration as people write it: `250 ms`, `30 s`. */
export function duration(ms: number): string {
  return ms < 1000 || ms % 1000 !== 0 ? `${ms} ms` : `${ms / 1000} s`;
}

/** The server answered, but not with what the protocol allows. The call may have run. */
export function protocolFailure(server: string, what: string, cause?: unknown): TollgateError {
  return new TollgateError('server_protocol_error', `${server}: ${what}`, { cause, executed: 'unknown' });
}

export function tooLarge(server: string, limit: number): TollgateError {
  return new TollgateError('server_response_too_large', `${server}: the answer is larger than ${limit} bytes`, {
    executed: 'unknown',
  });
}

interface CodedError {
  readonly code?: unknown;
  readonly name?: unknown;
  readonly message?: unknown;
}

/** What `connect` can say, in words; the code itself where there are none. */
const CONNECT_WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there (connection refused)',
  ENOTFOUND: 'the host name does not resolve',
  EAI_AGAIN: 'the host name could not be resolved now',
  EHOSTUNREACH: 'the host is unreachable',
  ENETUNREACH: 'the network is unreachable',
  ECONNRESET: 'the connection was reset',
  EPROTO: 'TLS failed; check the scheme and the port of the URL',
  UND_ERR_CLOSED: 'the gateway has closed its connections to it',
  UND_ERR_DESTROYED: 'the gateway has closed its connections to it',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'the TLS certificate is self-signed',
  SELF_SIGNED_CERT_IN_CHAIN: 'the TLS certificate chain has a self-signed certificate',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'the TLS certificate cannot be verified',
  CERT_HAS_EXPIRED: 'the TLS certificate has expired',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'the TLS certificate is of an authority that is not trusted (`tls.ca`)',
  ERR_TLS_CERT_ALTNAME_INVALID: 'the TLS certificate is for another host',
  ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION: 'it speaks no version of TLS that is allowed (`tls.minVersion`)',
  ERR_SSL_UNSUPPORTED_PROTOCOL: 'it speaks no version of TLS that is allowed (`tls.minVersion`)',
  ERR_SSL_WRONG_VERSION_NUMBER: 'TLS failed; check the scheme and the port of the URL',
  TOLLGATE_NOT_PINNED: 'no key of its certificate chain is pinned (`tls.pin`)',
};

/**
 * An error of the HTTP client as ours. `sent`: the request had been written, so it may have run; before that it
 * has not. Timeouts say which of `timeout.connect`, `timeout.firstByte` and `timeout.idle` it was.
 */
export function httpFailure(server: string, timeout: ServerTimeouts, sent: boolean, error: unknown): TollgateError {
  if (TollgateError.is(error)) return error;
  const { code: rawCode, name, message } = error as CodedError;
  const code = typeof rawCode === 'string' ? rawCode : '';
  switch (code) {
    case 'UND_ERR_CONNECT_TIMEOUT':
    case 'ETIMEDOUT':
      if (!sent)
        return unavailable(server, `no connection within ${duration(timeout.connect)} (timeout.connect)`, error);
      break;
    case 'UND_ERR_HEADERS_TIMEOUT':
      return expired(server, `sent, no answer began within ${duration(timeout.firstByte)} (timeout.firstByte)`, error);
    case 'UND_ERR_BODY_TIMEOUT':
      return stalled(server, timeout.idle, error);
    case 'UND_ERR_HEADERS_OVERFLOW':
      return protocolFailure(server, 'the headers of the answer are too large', error);
    case 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH':
      return protocolFailure(server, 'the answer is not as long as its Content-Length says', error);
    case 'UND_ERR_INVALID_ARG':
      return new TollgateError('invalid_request', `The request cannot be sent over HTTP: ${String(message)}`, {
        cause: error,
      });
  }
  if (name === 'HTTPParserError') return protocolFailure(server, 'the answer is not HTTP/1.1', error);
  if (sent) return disconnected(server, 'the connection broke before the answer was complete', error);
  return unavailable(server, CONNECT_WORDS[code] ?? `no connection (${code === '' ? 'unknown cause' : code})`, error);
}

export function stalled(server: string, idleMs: number, cause?: unknown): TollgateError {
  return expired(server, `the answer stalled for ${duration(idleMs)} (timeout.idle)`, cause);
}

export function disconnected(server: string, what: string, cause?: unknown): TollgateError {
  return new TollgateError('server_disconnected', `${server}: ${what}`, { cause, executed: 'unknown' });
}

function unavailable(server: string, what: string, cause: unknown): TollgateError {
  return new TollgateError('server_unavailable', `${server}: ${what}`, { cause });
}

function expired(server: string, what: string, cause: unknown): TollgateError {
  return new TollgateError('deadline_exceeded', `${server}: ${what}`, { cause, executed: 'unknown' });
}

/** Seconds of a `Retry-After` header, an HTTP date included; undefined when absent or unreadable. */
function retryAfter(value: string | string[] | undefined): number | undefined {
  if (typeof value !== 'string') return undefined;
  if (/^\d{1,9}$/.test(value)) return Number(value);
  const at = Date.parse(value);
  return Number.isNaN(at) ? undefined : Math.max(0, Math.ceil((at - Date.now()) / 1000));
}

export type ResponseHeaders = Readonly<Record<string, string | string[] | undefined>>;

/** True when only another credential can help: 401, and 403 for want of a scope. */
export function needsSignIn(status: number, headers: ResponseHeaders): boolean {
  if (status === 401) return true;
  const challenge = headers['www-authenticate'];
  return status === 403 && typeof challenge === 'string' && challenge.includes('insufficient_scope');
}

/** The scopes that a 403 asks for (RFC 6750 section 3), or undefined when it is about something else. */
export function missingScope(headers: ResponseHeaders): string | undefined {
  if (!needsSignIn(403, headers)) return undefined;
  return /\bscope="([^"]{1,1000})"/.exec(String(headers['www-authenticate']))?.[1];
}

/** Statuses of the failures below, for those who decide by them; kept out of what callers see. */
const statuses = new WeakMap<TollgateError, number>();

/** The HTTP status that this failure is about; undefined when it is about none. */
export function statusOf(error: unknown): number | undefined {
  return TollgateError.is(error) ? statuses.get(error) : undefined;
}

/**
 * An HTTP status without a JSON-RPC message in the body. 401, 403 for want of scope: a sign-in is needed;
 * redirects are refused, since a credential must not travel to a place the operator did not write.
 */
export function statusFailure(server: string, status: number, headers: ResponseHeaders): TollgateError {
  const error = statusError(server, status, headers);
  statuses.set(error, status);
  return error;
}

function statusError(server: string, status: number, headers: ResponseHeaders): TollgateError {
  if (needsSignIn(status, headers)) {
    const fix = `check \`servers.${server}.headers\`, or set \`auth: oauth\` and run \`tollgate login ${server}\``;
    const what = status === 401 ? 'the server does not accept our credential' : 'our credential lacks a scope';
    return new TollgateError('server_login_required', `${server}: ${what} (HTTP ${status}); ${fix}`);
  }
  if (status >= 300 && status < 400) {
    return protocolFailure(server, `HTTP ${status} redirects to ${place(headers['location'])}; set that as \`url\``);
  }
  if (status < 300) return protocolFailure(server, `HTTP ${status} without an answer to the request`);
  let code: ErrorCode = 'server_unavailable';
  if (status === 429) code = 'server_busy';
  else if (status >= 500 && status !== 503) code = 'server_protocol_error';
  const seconds = retryAfter(headers['retry-after']);
  return new TollgateError(code, `${server}: HTTP ${status} without a JSON-RPC answer`, {
    // A refusal (4xx, 503) ran nothing; any other 5xx may come from the middle of the work, or from a proxy.
    executed: code === 'server_protocol_error' ? 'unknown' : 'no',
    ...(seconds === undefined ? {} : { retryAfterSeconds: seconds }),
  });
}

/** The target of a redirect without its query, which may carry a token. */
function place(location: string | string[] | undefined): string {
  if (typeof location !== 'string') return 'nowhere';
  const end = location.search(/[?#]/);
  const text = end < 0 ? location : location.slice(0, end);
  return JSON.stringify(text.slice(0, 200));
}

/** A failure of one caller's account: nothing is wrong with the server. `access_denied`: its issuer gives no token. */
export function isAboutAccount({ code }: TollgateError): boolean {
  return code === 'account_required' || code === 'access_denied';
}
