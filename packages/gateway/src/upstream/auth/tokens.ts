/** The access tokens that calls carry: remembered, renewed once for all who wait, widened when a scope is missing. */
import type { Clock } from '../../core/clock.ts';
import { TollgateError } from '../../core/errors.ts';
import type { SecretOwner } from '../../core/secrets.ts';
import type { HttpServerOptions, TokenProvider } from '../http-client.ts';
import { hasScopes, scopeUnion } from './discovery.ts';
import type { Grant, Grants, GrantTokens } from './grants.ts';
import { refreshed } from './sign-in.ts';

const REFRESH_TIMEOUT_MS = 15_000;
/** After a failed renewal the next calls fail with it at once, instead of each asking again. */
const FAILURE_MEMORY_MS = 1_000;
/** A token of the vault is read again so often: a sign-in that was revoked ends within this time. */
const TRUST_MS = 30_000;
/** A scope that was asked for and not given is not asked for again before. */
const ASK_AGAIN_MS = 10 * 60_000;
/** Characters of all scopes together: a server that names another one with every 403 must not fill the vault. */
const MAX_SCOPE = 2_000;

export interface AccessToken {
  readonly token: string;
  /** Milliseconds since the epoch; infinite: until the server refuses it. */
  readonly useUntil: number;
}

export abstract class RenewedTokens implements TokenProvider {
  protected readonly clock: Clock;
  #rejected: { readonly token: string; readonly until: number } | undefined;
  #token: string | undefined;
  #useUntil = 0;
  #renewal: Promise<string | undefined> | undefined;
  #failure: { readonly error: TollgateError; readonly until: number } | undefined;

  constructor(clock: Clock) {
    this.clock = clock;
  }

  /**
   * The last token that the server refused: not used again, wherever it is found, but for a time only. A 401 may have
   * been about one call; where there is no other token, those of everybody else would end with it.
   */
  protected get rejected(): string | undefined {
    return this.#rejected !== undefined && this.clock.wall() < this.#rejected.until ? this.#rejected.token : undefined;
  }

  /** A usable token other than `rejected`; undefined: there is none, and the request goes without. */
  protected abstract obtain(): Promise<AccessToken | undefined>;
  abstract widen(scope: string, rejected: string): Promise<string>;
  abstract refused(status: number): TollgateError;

  current(): string | undefined {
    return this.clock.wall() < this.#useUntil ? this.#token : undefined;
  }

  renew(rejected: string | undefined): Promise<string | undefined> {
    if (rejected !== undefined) this.#rejected = { token: rejected, until: this.clock.wall() + TRUST_MS };
    const token = this.current();
    // Somebody else's call was quicker.
    if (token !== undefined && rejected !== undefined && token !== rejected) return Promise.resolve(token);
    if (this.#failure !== undefined && this.clock.monotonic() < this.#failure.until) {
      return Promise.reject(this.#failure.error);
    }
    this.#renewal ??= this.#renew().finally(() => {
      this.#renewal = undefined;
    });
    return this.#renewal;
  }

  /** Whether a failure is remembered for a second: asking again would cost a request to somebody else. */
  protected lasts(_failure: TollgateError): boolean {
    return true;
  }

  /** What is remembered is asked for anew by the next call. */
  protected forget(): void {
    this.#useUntil = 0;
    this.#failure = undefined;
  }

  async #renew(): Promise<string | undefined> {
    try {
      const fresh = await this.obtain();
      this.#failure = undefined;
      this.#token = fresh?.token;
      this.#useUntil = fresh?.useUntil ?? 0;
      return fresh?.token;
    } catch (cause) {
      const error = TollgateError.from(cause);
      this.#useUntil = 0;
      if (this.lasts(error)) {
        this.#failure = { error, until: this.clock.monotonic() + FAILURE_MEMORY_MS };
      }
      throw error;
    }
  }
}

export interface GrantTokensDeps {
  readonly grants: Grants;
  readonly clock: Clock;
  readonly owner: SecretOwner;
  /** The error when only a person can help. `why` is the rest of a sentence that begins with the server's name. */
  readonly missing: (why: string) => TollgateError;
  /** True: without a sign-in requests go without a token, and the server may accept them (lists). */
  readonly optional?: boolean;
}

/** Of a person's sign-in: out of the vault, refreshed under the vault's lock, so that a refresh token is used once. */
export class SignedInTokens extends RenewedTokens {
  readonly #options: HttpServerOptions;
  readonly #deps: GrantTokensDeps;

  constructor(options: HttpServerOptions, deps: GrantTokensDeps) {
    super(deps.clock);
    this.#options = options;
    this.#deps = deps;
  }

  protected async obtain(): Promise<AccessToken | undefined> {
    const { grants, owner, optional } = this.#deps;
    const { name, target } = this.#options;
    const now = this.#usable(await grants.read(name, owner, target.url.href));
    if (now !== undefined) return this.#trusted(now);
    let without = false;
    const grant = await grants
      .update(name, owner, target.url.href, async (current) => {
        // Another process may have refreshed or signed in while this one waited for the lock.
        if (current !== undefined && this.#usable(current) !== undefined) return current;
        if (current === undefined && optional === true) {
          without = true;
          throw this.#deps.missing('nobody has signed in');
        }
        return this.#refreshed(current);
      })
      .catch((cause: unknown) => {
        if (without) return undefined;
        throw cause;
      });
    if (grant === undefined) return undefined;
    if (grant.tokens === undefined) throw this.#deps.missing('its sign-in has ended');
    return this.#trusted(grant.tokens);
  }

  /** That nobody has signed in costs a look into the vault, and who has just done so does not wait. */
  protected override lasts({ code }: TollgateError): boolean {
    return code === 'server_unavailable';
  }

  /** Records the scope for the next sign-in; a person has to agree to it. */
  async widen(scope: string, rejected: string): Promise<string> {
    const { grants, owner, missing } = this.#deps;
    const { name, target } = this.#options;
    let already = false;
    const grant = await grants.update(name, owner, target.url.href, async (current) => {
      if (current === undefined) throw missing('nobody has signed in');
      const other = this.#usable(current);
      // Somebody has signed in again meanwhile.
      if (other !== undefined && other.accessToken !== rejected) return current;
      already = hasScopes(current.askedScope, scope) && this.clock.wall() - current.signedInAt < ASK_AGAIN_MS;
      const wantedScope = scopeUnion(current.wantedScope, current.tokens?.scope ?? current.askedScope, scope);
      if (wantedScope.length > MAX_SCOPE) {
        throw new TollgateError('access_denied', `${name}: it asks for ever more scopes (HTTP 403)`);
      }
      return wantedScope === current.wantedScope ? current : { ...current, wantedScope };
    });
    this.forget();
    const other = this.#usable(grant);
    if (other !== undefined && other.accessToken !== rejected) return other.accessToken;
    // Asked for once already and not given: asking again and again would only tire the person.
    if (already) {
      throw new TollgateError(
        'access_denied',
        `${name}: the account that signed in was asked for ${scope} and does not have it (HTTP 403)`,
      );
    }
    throw missing(`our credential lacks a scope (HTTP 403): ${scope}`);
  }

  refused(status: number): TollgateError {
    return this.#deps.missing(`the server does not accept our credential (HTTP ${status})`);
  }

  #trusted(tokens: GrantTokens): AccessToken {
    const useUntil = Math.min(tokens.useUntil ?? Number.POSITIVE_INFINITY, this.clock.wall() + TRUST_MS);
    return { token: tokens.accessToken, useUntil };
  }

  #usable(grant: Grant | undefined): GrantTokens | undefined {
    const tokens = grant?.tokens;
    if (tokens === undefined || tokens.accessToken === this.rejected) return undefined;
    return (tokens.useUntil ?? Number.POSITIVE_INFINITY) > this.clock.wall() ? tokens : undefined;
  }

  /** The grant with new tokens; without tokens when the authorization server has ended the sign-in. */
  async #refreshed(grant: Grant | undefined): Promise<Grant> {
    const { missing } = this.#deps;
    if (grant?.tokens === undefined)
      throw missing(grant === undefined ? 'nobody has signed in' : 'its sign-in has ended');
    const { refreshToken } = grant.tokens;
    if (refreshToken === undefined) throw missing('its token has expired and cannot be refreshed');
    const { OAuthError, OAuthErrorCode } = await import('@modelcontextprotocol/client');
    try {
      const signal = AbortSignal.timeout(REFRESH_TIMEOUT_MS);
      return { ...grant, tokens: await refreshed(this.#options, grant, refreshToken, this.clock.wall(), signal) };
    } catch (cause) {
      if (cause instanceof OAuthError && cause.code !== OAuthErrorCode.ServerError) {
        const { tokens: _ended, ...rest } = grant;
        return rest;
      }
      throw new TollgateError('server_unavailable', `${this.#options.name}: the token could not be refreshed now`, {
        cause,
      });
    }
  }
}

/** Of a grant that needs no person: fetched when needed, kept in memory only. */
export class MintedTokens extends RenewedTokens {
  readonly #mint: (scope: string) => Promise<AccessToken>;
  readonly #refusal: (why: string) => TollgateError;
  #scope: string;

  /** `mint` gets a token for these scopes; `refusal` is what is told when the server does not take it. */
  constructor(
    clock: Clock,
    scopes: readonly string[],
    mint: (scope: string) => Promise<AccessToken>,
    refusal: (why: string) => TollgateError,
  ) {
    super(clock);
    this.#mint = mint;
    this.#refusal = refusal;
    this.#scope = scopes.join(' ');
  }

  protected obtain(): Promise<AccessToken> {
    return this.#mint(this.#scope);
  }

  /** All scopes so far and this one; a scope that was asked for already will not come by asking again. */
  async widen(scope: string, rejected: string): Promise<string> {
    if (hasScopes(this.#scope, scope)) throw this.#refusal(`the token lacks a scope (HTTP 403): ${scope}`);
    const wider = scopeUnion(this.#scope, scope);
    if (wider.length > MAX_SCOPE) throw this.#refusal('the server asks for ever more scopes (HTTP 403)');
    const before = this.#scope;
    this.#scope = wider;
    this.forget();
    const token = await this.renew(rejected).catch((cause: unknown) => {
      // One call wanted it; the next ones, of others, must not be asked for it too.
      if (this.#scope === wider) this.#scope = before;
      this.forget();
      throw cause;
    });
    if (token === undefined) throw this.#refusal(`the token lacks a scope (HTTP 403): ${scope}`);
    return token;
  }

  refused(status: number): TollgateError {
    return this.#refusal(`the server does not accept the token (HTTP ${status})`);
  }
}
