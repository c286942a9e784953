/** Which token goes with which request to one server: the gateway's own, or that of the caller. Never the caller's own. */
import type { Clock } from '../../core/clock.ts';
import { TollgateError } from '../../core/errors.ts';
import type { Principal } from '../../core/principal.ts';
import type { Secrets } from '../../core/secrets.ts';
import type { Credentials, HttpServerOptions, TokenProvider } from '../http-client.ts';
import type { ClientCredentialsOptions, ServerAuth } from '../options.ts';
import { GATEWAY, Grants, principalOwner } from './grants.ts';
import { clientCredentials, enterprise, type Mint, tokenExchange } from './minting.ts';
import { type AccessToken, MintedTokens, SignedInTokens } from './tokens.ts';

/** Tokens that stand for the caller, for the operator's own token endpoints and for nobody else. */
export interface SubjectTokens {
  /** The token that this caller was recognised by; undefined: it came with none, or it is gone. */
  accessToken(principal: Principal): string | undefined;
  /** An ID token of its identity provider; undefined: none is kept. */
  idToken(principal: Principal): Promise<string | undefined>;
}

export interface CredentialDeps {
  /** Undefined: there is no usable vault, and whatever needs a sign-in says so. */
  readonly secrets: Secrets | undefined;
  readonly subjects: SubjectTokens;
  readonly clock: Clock;
}

export function createCredentials(options: HttpServerOptions, deps: CredentialDeps): Credentials | undefined {
  const { auth } = options;
  if (auth === undefined) return undefined;
  return new ServerCredentials(options, auth, deps);
}

class ServerCredentials implements Credentials {
  readonly perCaller: boolean;
  readonly #options: HttpServerOptions;
  readonly #auth: ServerAuth;
  readonly #deps: CredentialDeps;
  readonly #gateway: TokenProvider;
  /** By object, not by id: two tokens of one person may grant different things. */
  readonly #byCaller = new WeakMap<Principal, TokenProvider>();

  constructor(options: HttpServerOptions, auth: ServerAuth, deps: CredentialDeps) {
    this.#options = options;
    this.#auth = auth;
    this.#deps = deps;
    this.perCaller = auth.kind !== 'client-credentials' && !(auth.kind === 'oauth' && auth.mode === 'gateway');
    this.#gateway = this.#gatewayTokens();
  }

  of(principal: Principal | undefined): TokenProvider {
    if (!this.perCaller || principal === undefined) return this.#gateway;
    let tokens = this.#byCaller.get(principal);
    if (tokens === undefined) {
      tokens = this.#tokensOf(principal);
      this.#byCaller.set(principal, tokens);
    }
    return tokens;
  }

  #gatewayTokens(): TokenProvider {
    const auth = this.#auth;
    if (auth.kind === 'client-credentials') return this.#machineTokens(auth);
    if (auth.lists !== undefined) return this.#machineTokens(auth.lists);
    const { name } = this.#options;
    const purpose = this.perCaller ? ' so that its lists can be read' : '';
    return this.#signedIn(GATEWAY, this.perCaller, (why) => {
      return new TollgateError('server_login_required', `${name}: ${why}; run \`tollgate login ${name}\`${purpose}`);
    });
  }

  #machineTokens(options: ClientCredentialsOptions): TokenProvider {
    const { name } = this.#options;
    const mint = clientCredentials(this.#options, options, this.#deps.clock);
    const refusal = (why: string): TollgateError =>
      new TollgateError('server_login_required', `${name}: ${why}; check \`servers.${name}.auth.clientCredentials\``);
    const asked: Mint = async (scope) => {
      try {
        return await mint(scope);
      } catch (cause) {
        if (TollgateError.is(cause) && cause.code === 'access_denied')
          throw refusal(cause.message.slice(name.length + 2));
        throw cause;
      }
    };
    return new MintedTokens(this.#deps.clock, options.scopes, asked, refusal);
  }

  #tokensOf(principal: Principal): TokenProvider {
    const auth = this.#auth;
    const { name } = this.#options;
    const { clock, subjects } = this.#deps;
    if (auth.kind === 'token-exchange') {
      const subject = async (): Promise<string> => {
        const { subjectTokenType } = auth;
        const token =
          subjectTokenType === 'id_token' ? await subjects.idToken(principal) : subjects.accessToken(principal);
        if (token === undefined) throw this.#noSubject(principal);
        return token;
      };
      return this.#exchanged(principal, auth.scopes, tokenExchange(this.#options, auth, subject, clock));
    }
    if (auth.kind === 'enterprise') {
      const idToken = async (): Promise<string> => {
        const token = await subjects.idToken(principal);
        if (token === undefined) throw this.#noSubject(principal);
        return token;
      };
      return this.#exchanged(principal, auth.scopes, enterprise(this.#options, auth, idToken, clock));
    }
    return this.#signedIn(
      principalOwner(principal.id),
      false,
      (why) => new TollgateError('account_required', `${name}: ${why}. It needs an account of yours`),
    );
  }

  #signedIn(
    owner: ReturnType<typeof principalOwner>,
    optional: boolean,
    missing: (why: string) => TollgateError,
  ): TokenProvider {
    const { secrets, clock } = this.#deps;
    if (secrets === undefined) return new NoVault(this.#options.name, optional);
    return new SignedInTokens(this.#options, { grants: new Grants(secrets), clock, owner, missing, optional });
  }

  /** What was exchanged ends with the caller's own credential. */
  #exchanged(principal: Principal, scopes: readonly string[], mint: Mint): TokenProvider {
    const { name } = this.#options;
    const bounded = async (scope: string): Promise<AccessToken> => {
      const token = await mint(scope);
      return { ...token, useUntil: Math.min(token.useUntil, principal.expiresAt ?? Number.POSITIVE_INFINITY) };
    };
    return new MintedTokens(this.#deps.clock, scopes, bounded, (why) => {
      return new TollgateError('access_denied', `${name}: ${why}`);
    });
  }

  #noSubject({ entry }: Principal): TollgateError {
    return new TollgateError(
      'access_denied',
      `${this.#options.name}: it needs a token of your identity provider, and you came without one (auth entry ${entry})`,
    );
  }
}

class NoVault implements TokenProvider {
  readonly #server: string;
  readonly #optional: boolean;

  constructor(server: string, optional: boolean) {
    this.#server = server;
    this.#optional = optional;
  }

  current(): undefined {
    return undefined;
  }

  renew(rejected: string | undefined): Promise<undefined> {
    return this.#optional && rejected === undefined ? Promise.resolve(undefined) : Promise.reject(this.refused());
  }

  widen(): Promise<string> {
    return Promise.reject(this.refused());
  }

  refused(): TollgateError {
    return new TollgateError(
      'server_login_required',
      `${this.#server}: tokens of sign-ins are kept in the vault, and there is none; configure \`vault\``,
    );
  }
}
