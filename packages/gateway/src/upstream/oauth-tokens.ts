/** The access tokens of one server for the running gateway: from the store, refreshed when expired or refused. */
import type {
  AuthorizationServerMetadata,
  StoredOAuthClientInformation,
  StoredOAuthTokens,
} from '@modelcontextprotocol/client';
import { type Clock, systemClock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import type { HttpServerOptions, TokenProvider } from './http-client.ts';
import { signInFetch } from './oauth-fetch.ts';
import { type OAuthEntry, OAuthStore, type OAuthTokensEntry } from './oauth-store.ts';

/** A token is renewed so long before its end that a call under way still finds it valid; a short one at half its life. */
const EARLY_MS = 30_000;
const REFRESH_TIMEOUT_MS = 30_000;
/** After a failed renewal the next calls fail with it at once, instead of each asking again. */
const FAILURE_MEMORY_MS = 1_000;

/** The entry, if it was made for this URL. */
export function sameServer(entry: OAuthEntry | undefined, url: string): OAuthEntry | undefined {
  return entry?.url === url ? entry : undefined;
}

/** All scopes of the lists, each once; empty when there are none. */
export function scopeUnion(...scopes: readonly (string | undefined)[]): string {
  return [...new Set(scopes.flatMap((scope) => scope?.split(' ') ?? []))].filter((one) => one !== '').join(' ');
}

/** What a token endpoint answered, as it is kept. */
export function storedTokens(tokens: StoredOAuthTokens, now: number): OAuthTokensEntry {
  const lifeMs = tokens.expires_in === undefined ? undefined : tokens.expires_in * 1000;
  return {
    accessToken: tokens.access_token,
    ...(tokens.refresh_token === undefined ? {} : { refreshToken: tokens.refresh_token }),
    ...(tokens.scope === undefined ? {} : { scope: tokens.scope }),
    ...(lifeMs === undefined ? {} : { useUntil: now + lifeMs - Math.min(EARLY_MS, lifeMs / 2) }),
  };
}

/** Tokens of one server from the store; refreshed when expired or refused. Nothing is read before the first use. */
export function tokenProvider(
  options: HttpServerOptions,
  storeFile: string,
  clock: Clock = systemClock,
): TokenProvider {
  return new StoredTokens(options, new OAuthStore(storeFile), clock);
}

class StoredTokens implements TokenProvider {
  readonly #options: HttpServerOptions;
  readonly #store: OAuthStore;
  readonly #clock: Clock;
  #token: string | undefined;
  #useUntil = 0;
  /** The last token that the server refused: not used again, wherever it is found. */
  #rejected: string | undefined;
  #recordedScope: string | undefined;
  #renewal: Promise<string> | undefined;
  #failure: { readonly error: TollgateError; readonly until: number } | undefined;

  constructor(options: HttpServerOptions, store: OAuthStore, clock: Clock) {
    this.#options = options;
    this.#store = store;
    this.#clock = clock;
  }

  current(): string | undefined {
    return this.#clock.wall() < this.#useUntil ? this.#token : undefined;
  }

  renew(rejected: string | undefined): Promise<string> {
    if (rejected !== undefined) this.#rejected = rejected;
    const token = this.current();
    // Somebody else's call was quicker.
    if (token !== undefined && rejected !== undefined && token !== rejected) return Promise.resolve(token);
    if (this.#failure !== undefined && this.#clock.monotonic() < this.#failure.until) {
      return Promise.reject(this.#failure.error);
    }
    this.#renewal ??= this.#renew().finally(() => {
      this.#renewal = undefined;
    });
    return this.#renewal;
  }

  needScope(scope: string): void {
    if (scope === this.#recordedScope) return;
    this.#recordedScope = scope;
    const change = async (entry: OAuthEntry | undefined): Promise<OAuthEntry> => {
      if (entry === undefined) throw this.#signIn('nobody has signed in');
      // What was granted is asked for again: a sign-in replaces the old grant (SEP-2350).
      return { ...entry, wantedScope: scopeUnion(entry.wantedScope, entry.tokens?.scope, scope) };
    };
    // A convenience: without it the person signs in, is refused once more, and signs in again.
    this.#store.update(this.#options.name, change).catch(() => {});
  }

  async #renew(): Promise<string> {
    try {
      const usable = this.#usable(await this.#store.read(this.#options.name));
      if (usable !== undefined) return this.#take(usable);
      const entry = await this.#store.update(this.#options.name, async (now) => {
        // Another process may have refreshed or signed in while this one waited for the lock.
        if (now !== undefined && this.#usable(now) !== undefined) return now;
        return this.#refreshed(now);
      });
      if (entry.tokens === undefined) throw this.#signIn('its sign-in has ended');
      return this.#take(entry.tokens);
    } catch (cause) {
      const error = TollgateError.from(cause);
      this.#failure = { error, until: this.#clock.monotonic() + FAILURE_MEMORY_MS };
      throw error;
    }
  }

  #take(tokens: OAuthTokensEntry): string {
    this.#failure = undefined;
    this.#token = tokens.accessToken;
    this.#useUntil = tokens.useUntil ?? Number.POSITIVE_INFINITY;
    return tokens.accessToken;
  }

  #usable(entry: OAuthEntry | undefined): OAuthTokensEntry | undefined {
    const tokens = sameServer(entry, this.#options.target.url.href)?.tokens;
    if (tokens === undefined || tokens.accessToken === this.#rejected) return undefined;
    return (tokens.useUntil ?? Number.POSITIVE_INFINITY) > this.#clock.wall() ? tokens : undefined;
  }

  /** The entry with new tokens; without tokens when the authorization server has ended the sign-in. */
  async #refreshed(entry: OAuthEntry | undefined): Promise<OAuthEntry> {
    const same = sameServer(entry, this.#options.target.url.href);
    if (same?.tokens === undefined) {
      throw this.#signIn(entry === undefined || same !== undefined ? 'nobody has signed in' : 'its URL has changed');
    }
    const { authorizationServer, issuer, tokens } = same;
    const client = issuer === undefined ? undefined : same.clients[issuer];
    if (tokens.refreshToken === undefined || authorizationServer === undefined || client === undefined) {
      throw this.#signIn('its token has expired and cannot be refreshed');
    }
    const { OAuthError, OAuthErrorCode, refreshAuthorization } = await import('@modelcontextprotocol/client');
    try {
      const fresh = await refreshAuthorization(authorizationServer, {
        metadata: same.metadata as AuthorizationServerMetadata,
        clientInformation: client as StoredOAuthClientInformation,
        refreshToken: tokens.refreshToken,
        fetchFn: await signInFetch(this.#options.target.url, AbortSignal.timeout(REFRESH_TIMEOUT_MS)),
        ...(same.resource === undefined ? {} : { resource: same.resource }),
      });
      return { ...same, tokens: { ...tokens, ...storedTokens(fresh, this.#clock.wall()) } };
    } catch (cause) {
      if (cause instanceof OAuthError && cause.code !== OAuthErrorCode.ServerError) {
        const { tokens: _ended, ...rest } = same;
        return rest;
      }
      throw new TollgateError('server_unavailable', `${this.#options.name}: the token could not be refreshed now`, {
        cause,
      });
    }
  }

  #signIn(why: string): TollgateError {
    const { name } = this.#options;
    return new TollgateError('server_login_required', `${name}: ${why}; run \`tollgate login ${name}\``);
  }
}
