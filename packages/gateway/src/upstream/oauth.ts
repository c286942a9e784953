/**
 * Signing in at servers with `auth: oauth`, for `tollgate login NAME`. Discovery, registration, PKCE, issuer checks
 * and resource indicators are the SDK's; what is here is where things are kept and how the person gets to the browser
 * and back.
 */
import type {
  OAuthClientProvider,
  OAuthDiscoveryState,
  StoredOAuthClientInformation,
  StoredOAuthTokens,
} from '@modelcontextprotocol/client';
import { TollgateError } from '../core/errors.ts';
import { randomId } from '../core/ids.ts';
import type { HttpServerOptions } from './http-client.ts';
import { type CallbackListener, isWebUrl, listenForCallback, printable } from './oauth-browser.ts';
import { type SignInFetch, signInFetch } from './oauth-fetch.ts';
import { type OAuthEntry, OAuthStore } from './oauth-store.ts';
import { sameServer, scopeUnion, storedTokens } from './oauth-tokens.ts';

export { tokenProvider } from './oauth-tokens.ts';

const LOGIN_TIMEOUT_MS = 5 * 60_000;

export interface LoginDeps {
  /** File of the tokens, in the gateway's dataDir. */
  readonly storeFile: string;
  /** Opens a page; resolves to false where that is impossible. `openBrowser` of oauth-browser.ts is one. */
  readonly openBrowser: (url: URL) => Promise<boolean>;
  /** Tells the person one line. */
  readonly print: (line: string) => void;
  /** Ends the wait for the person. */
  readonly signal: AbortSignal;
  /** How long to wait for the person, in milliseconds. Default 5 minutes. */
  readonly timeoutMs?: number;
  /** HTTPS URL of a client id metadata document, used where the authorization server supports it. */
  readonly clientMetadataUrl?: string;
}

/** Where a registration of this client was made to come back to, so that it can be used again. */
function registeredPort(entry: OAuthEntry | undefined): number | undefined {
  const client = entry?.issuer === undefined ? undefined : entry.clients[entry.issuer];
  const uris = client?.['redirect_uris'];
  const first = Array.isArray(uris) && typeof uris[0] === 'string' ? URL.parse(uris[0]) : null;
  return first === null ? undefined : Number(first.port);
}

/**
 * Signs in and stores the tokens. Rejects with `server_login_required` when the person or the authorization server
 * refuses or nobody comes, with `config_invalid` when the token file is not private.
 */
export async function login(options: HttpServerOptions, deps: LoginDeps): Promise<void> {
  const store = new OAuthStore(deps.storeFile);
  const { url } = options.target;
  const known = sameServer(await store.read(options.name), url.href);
  const listener = await listenForCallback(registeredPort(known));
  try {
    const flow = new LoginFlow(options, deps, listener, known);
    const entry = await flow.run();
    await store.update(options.name, () => Promise.resolve(entry));
  } catch (cause) {
    throw loginFailure(options.name, cause);
  } finally {
    listener.close();
  }
}

/** The SDK's errors are for programmers; a person needs the sentence without the stack, and no secrets. */
function loginFailure(server: string, cause: unknown): TollgateError {
  if (TollgateError.is(cause)) return cause;
  const reason = rootOf(cause);
  return new TollgateError('server_login_required', `Signing in to ${server} failed: ${printable(reason)}`, { cause });
}

/** `fetch failed` says nothing; what it was caused by does. */
function rootOf(cause: unknown): string {
  if (!(cause instanceof Error)) return 'unknown reason';
  return cause.cause instanceof Error && cause.message === 'fetch failed' ? cause.cause.message : cause.message;
}

class LoginFlow implements OAuthClientProvider {
  readonly clientMetadataUrl?: string;
  readonly #options: HttpServerOptions;
  readonly #deps: LoginDeps;
  readonly #listener: CallbackListener;
  readonly #state = randomId(26);
  #verifier: string | undefined;
  #discovery: OAuthDiscoveryState | undefined;
  #entry: OAuthEntry;
  readonly #wantedScope: string | undefined;

  constructor(options: HttpServerOptions, deps: LoginDeps, listener: CallbackListener, known: OAuthEntry | undefined) {
    this.#options = options;
    this.#deps = deps;
    this.#listener = listener;
    this.#entry = { url: options.target.url.href, metadata: undefined, clients: known?.clients ?? {} };
    this.#wantedScope = known?.wantedScope;
    if (deps.clientMetadataUrl !== undefined) this.clientMetadataUrl = deps.clientMetadataUrl;
  }

  async run(): Promise<OAuthEntry> {
    const { auth } = await import('@modelcontextprotocol/client');
    const serverUrl = this.#options.target.url;
    const fetchFn = await signInFetch(serverUrl, this.#deps.signal);
    const { resourceMetadataUrl, scope: challenged } = await challengeOf(serverUrl, fetchFn);
    const scope = scopeUnion(this.#wantedScope, challenged);
    await auth(this, {
      serverUrl,
      fetchFn,
      forceReauthorization: true,
      ...(resourceMetadataUrl === undefined ? {} : { resourceMetadataUrl }),
      ...(scope === '' ? {} : { scope }),
    });
    const { code, iss } = await this.#listener.wait(
      this.#state,
      this.#deps.signal,
      this.#deps.timeoutMs ?? LOGIN_TIMEOUT_MS,
    );
    await auth(this, { serverUrl, fetchFn, authorizationCode: code, ...(iss === undefined ? {} : { iss }) });
    return this.#entry;
  }

  get redirectUrl(): string {
    return this.#listener.redirectUrl;
  }

  get clientMetadata(): OAuthClientProvider['clientMetadata'] {
    return {
      client_name: 'Tollgate',
      redirect_uris: [this.redirectUrl],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
    };
  }

  state(): string {
    return this.#state;
  }

  clientInformation(context?: { issuer: string }): StoredOAuthClientInformation | undefined {
    const issuer = context?.issuer;
    const client = issuer === undefined ? undefined : this.#entry.clients[issuer];
    if (client === undefined) return undefined;
    // A registration for another port is of no use: its redirect would be refused.
    const uris = client['redirect_uris'];
    if (Array.isArray(uris) && !uris.includes(this.redirectUrl)) return undefined;
    return client as StoredOAuthClientInformation;
  }

  saveClientInformation(client: StoredOAuthClientInformation, context?: { issuer: string }): void {
    const issuer = context?.issuer ?? client.issuer;
    if (issuer === undefined) return;
    this.#entry = { ...this.#entry, clients: { ...this.#entry.clients, [issuer]: client } };
  }

  /** A login starts from nothing: what was stored before is replaced, not refreshed. */
  tokens(): undefined {
    return undefined;
  }

  saveTokens(tokens: StoredOAuthTokens, context?: { issuer: string }): void {
    const issuer = context?.issuer ?? tokens.issuer;
    this.#entry = { ...this.#entry, issuer, tokens: storedTokens(tokens, Date.now()) };
  }

  async redirectToAuthorization(url: URL): Promise<void> {
    if (!isWebUrl(url)) throw new TollgateError('server_login_required', 'The authorization page is no web page');
    this.#deps.print(`Sign in to ${this.#options.name} on this page:`);
    this.#deps.print(url.href);
    if (!(await this.#deps.openBrowser(url)))
      this.#deps.print('No browser could be opened here; open the page yourself.');
  }

  saveCodeVerifier(verifier: string): void {
    this.#verifier = verifier;
  }

  codeVerifier(): string {
    if (this.#verifier === undefined) throw new Error('no code verifier');
    return this.#verifier;
  }

  saveResourceUrl(resource: string): void {
    this.#entry = { ...this.#entry, resource };
  }

  saveDiscoveryState(state: OAuthDiscoveryState): void {
    this.#discovery = state;
    this.#entry = {
      ...this.#entry,
      authorizationServer: state.authorizationServerUrl,
      metadata: state.authorizationServerMetadata,
    };
  }

  discoveryState(): OAuthDiscoveryState | undefined {
    return this.#discovery;
  }

  invalidateCredentials(scope: 'all' | 'client' | 'tokens' | 'verifier' | 'discovery'): void {
    if (scope === 'all' || scope === 'client') this.#entry = { ...this.#entry, clients: {} };
    if (scope === 'all' || scope === 'discovery') this.#discovery = undefined;
  }
}

interface Challenge {
  readonly resourceMetadataUrl?: URL | undefined;
  readonly scope?: string | undefined;
}

/** Asks the server for nothing, so that its 401 says where its metadata is and which scope it wants. */
async function challengeOf(serverUrl: URL, fetchFn: SignInFetch): Promise<Challenge> {
  const { extractWWWAuthenticateParams } = await import('@modelcontextprotocol/client');
  const response = await fetchFn(serverUrl, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
    body: '{"jsonrpc":"2.0","id":1,"method":"ping"}',
  });
  if (response.status !== 401) return {};
  return extractWWWAuthenticateParams(response);
}
