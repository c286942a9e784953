/** What the pages of accounts need of the rest of the gateway. */
import type { Clock } from '../core/clock.ts';
import type { Log } from '../core/log.ts';

/** Sign-ins at servers, as the upstream room does them. `pending` is opaque text that holds secrets. */
export interface SignInPort {
  /** Host of a server whose callers connect accounts of their own; undefined: it is none of these. */
  host(server: string): string | undefined;
  /** Finds the authorization server and makes its page. Rejects with `server_login_required`. */
  begin(server: string, principal: string, redirectUrl: string): Promise<{ page: URL; state: string; pending: string }>;
  /** Redeems the answer and keeps the tokens under the principal. Rejects with `server_login_required`. */
  finish(server: string, principal: string, pending: string, answer: SignInAnswer): Promise<void>;
  /** When the principal last connected an account, in milliseconds since the epoch; undefined: it has none. */
  connectedAt(server: string, principal: string): Promise<number | undefined>;
  /** Client id metadata document for these redirects; undefined: the gateway has none. */
  clientDocument(base: string): object | undefined;
}

/** Who is at a browser, as the identity provider says that knows the caller. */
export interface Proofs {
  /** Host of that provider; undefined: nobody can say whether somebody at a browser is this caller. */
  host(principal: string): string | undefined;
  /** The provider's page; it sends the browser back with `state`. Rejects with `oauth_refused`. */
  begin(principal: string, state: string): Promise<URL>;
  /**
   * Whether who signed in is this very caller: entry, tenant and subject. Each state counts once. `entry`: the one at
   * whose address the answer arrived. Rejects with `oauth_refused` where the provider does not say who it was.
   */
  prove(principal: string, state: string, entry: string, answer: SignInAnswer): Promise<boolean>;
}

/** The query with which the browser comes back. */
export interface SignInAnswer {
  readonly code: string | undefined;
  readonly iss: string | undefined;
  readonly error: string | undefined;
  readonly errorDescription: string | undefined;
}

export interface AccountsDeps {
  readonly log: Log;
  readonly clock: Clock;
  /** Public base URL of the gateway, without a trailing slash. */
  readonly base: () => string;
  readonly signIns: SignInPort;
  readonly proofs: Proofs;
  /** 32 bytes that all gateways of one storage share, so that a link may reach any of them. Default: random. */
  readonly key?: Buffer | undefined;
}

/** Where the browser comes back to: one address for each server, so that answers cannot be mixed up (RFC 9700 4.4.2). */
export function callbackPath(server: string): string {
  return `/connect/callback/${encodeURIComponent(server)}`;
}

/** Identity providers send browsers to the address that is registered there for the bridge; our states tell them apart. */
export const PROOF_PATH = '/oauth/callback/';
export const PROOF_STATE = 'proof.';

export const CLIENT_DOCUMENT = '/connect/client/metadata.json';
