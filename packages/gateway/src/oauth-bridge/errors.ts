import { TollgateError } from '../core/errors.ts';

/** Errors of OAuth endpoints, in the words of RFC 6749, 7591 and 8707: what a client's program reads. */
export type OAuthCode =
  | 'invalid_request'
  | 'invalid_client'
  | 'invalid_grant'
  | 'invalid_scope'
  | 'invalid_target'
  | 'unsupported_grant_type'
  | 'unsupported_response_type'
  | 'access_denied'
  | 'server_error'
  | 'temporarily_unavailable'
  | 'invalid_redirect_uri'
  | 'invalid_client_metadata';

const STATUS: Readonly<Partial<Record<OAuthCode, number>>> = {
  invalid_client: 401,
  access_denied: 403,
  server_error: 500,
  temporarily_unavailable: 503,
};

interface RefusalOptions {
  readonly http?: number;
  readonly retryAfterSeconds?: number;
  readonly cause?: unknown;
}

/** A refusal of an OAuth endpoint; the message is for people and safe to show. */
export function refusal(error: OAuthCode, message: string, options: RefusalOptions = {}): TollgateError {
  return new TollgateError('oauth_refused', message, { http: STATUS[error] ?? 400, data: { error }, ...options });
}

export function tooOften(seconds: number): TollgateError {
  return refusal('temporarily_unavailable', `Too many of these for now. Repeat this in ${seconds} s.`, {
    http: 429,
    retryAfterSeconds: seconds,
  });
}

/** The word for a client's program of any error; failures of our own are not told apart. */
export function oauthCodeOf(error: TollgateError): OAuthCode {
  if (error.code === 'oauth_refused') return (error.data as { readonly error: OAuthCode }).error;
  if (error.code === 'storage_unavailable' || error.code === 'vault_unavailable') return 'temporarily_unavailable';
  return 'server_error';
}
