/**
 * The approval of a client by the person at one browser. Nothing of it is kept here: the request travels in the form and
 * the remembered approval in a cookie, both sealed and both bound to a secret that only this browser has, per client
 * (confused deputy: MCP security best practices; FastMCP CVE-2026-27124).
 */
import type { Clock } from '../core/clock.ts';
import { CONSENT_LIFE, STATE_LIFE } from './options.ts';
import { isLoopbackRedirect } from './redirects.ts';
import { digestOf, randomText, sameText, seal, unseal } from './tokens.ts';

/** What a client asked for and was found in order. */
export interface SignInRequest {
  readonly issuer: string;
  readonly clientId: string;
  readonly clientName: string;
  readonly redirectUri: string;
  readonly state: string | undefined;
  readonly challenge: string;
  readonly path: string;
  readonly resource: string;
  readonly scopes: readonly string[];
  /** Bridged entries to choose from. */
  readonly entries: readonly string[];
  /** Digest of the browser's secret for this client. */
  readonly browser: string;
}

interface SealedRequest extends SignInRequest {
  readonly until: number;
}

interface Remembered {
  readonly clientId: string;
  readonly redirectUri: string;
  readonly resource: string;
  readonly scopes: readonly string[];
  readonly entry: string;
  readonly browser: string;
  readonly until: number;
}

interface ConsentDeps {
  readonly clock: Clock;
  /** Shared by the gateways of one storage. */
  readonly key: () => Uint8Array;
  /** Whether people reach the gateway over https. */
  readonly secure: () => boolean;
}

export class Consent {
  readonly #deps: ConsentDeps;

  constructor(deps: ConsentDeps) {
    this.#deps = deps;
  }

  /** The browser's secret for this client; undefined: it has none. */
  browserOf(cookies: string | undefined, clientId: string): string | undefined {
    const value = cookieOf(cookies, this.#name('consent', clientId));
    return value !== undefined && /^[\w-]{43}$/.test(value) ? value : undefined;
  }

  newBrowser(): string {
    return randomText();
  }

  /** Whether the browser that sends these cookies is the one of this digest. */
  isBrowser(cookies: string | undefined, clientId: string, browser: string): boolean {
    const secret = this.browserOf(cookies, clientId);
    return secret !== undefined && sameText(digestOf(secret), browser);
  }

  /** `Set-Cookie` of the browser's secret: until its approval is forgotten. */
  browserCookie(clientId: string, secret: string): string {
    return this.#cookie(this.#name('consent', clientId), secret, CONSENT_LIFE);
  }

  sealRequest(request: SignInRequest): string {
    const sealed: SealedRequest = { ...request, until: this.#deps.clock.wall() + STATE_LIFE };
    return seal(this.#deps.key(), 'consent form', sealed);
  }

  /** The request of a form; undefined: not made here, or over. */
  openRequest(text: string): SignInRequest | undefined {
    const request = unseal<SealedRequest>(this.#deps.key(), 'consent form', text);
    return request === undefined || request.until <= this.#deps.clock.wall() ? undefined : request;
  }

  /** Whether an approval may be remembered: on loopback whoever takes the port would get the next code unasked. */
  mayRemember({ redirectUri }: Pick<SignInRequest, 'redirectUri'>): boolean {
    return !isLoopbackRedirect(redirectUri);
  }

  /** `Set-Cookie` of an approval. */
  rememberCookie(request: SignInRequest, entry: string): string {
    const { clientId, redirectUri, resource, scopes, browser } = request;
    const until = this.#deps.clock.wall() + CONSENT_LIFE;
    const remembered: Remembered = { clientId, redirectUri, resource, scopes, entry, browser, until };
    return this.#cookie(
      this.#name('approved', clientId),
      seal(this.#deps.key(), 'remembered consent', remembered),
      CONSENT_LIFE,
    );
  }

  /** The entry that this browser approved before for exactly this; undefined: ask. */
  remembered(cookies: string | undefined, request: SignInRequest): string | undefined {
    if (!this.mayRemember(request)) return undefined;
    const text = cookieOf(cookies, this.#name('approved', request.clientId));
    const known = text === undefined ? undefined : unseal<Remembered>(this.#deps.key(), 'remembered consent', text);
    if (known === undefined || known.until <= this.#deps.clock.wall()) return undefined;
    const same =
      known.clientId === request.clientId &&
      known.redirectUri === request.redirectUri &&
      known.resource === request.resource &&
      known.browser === request.browser &&
      request.scopes.every((scope) => known.scopes.includes(scope)) &&
      request.entries.includes(known.entry);
    return same ? known.entry : undefined;
  }

  #name(what: string, clientId: string): string {
    // `__Host-`: only this host can have set it, over https and for every path, no sub-domain and no plain page.
    return `${this.#deps.secure() ? '__Host-' : ''}tollgate-${what}-${digestOf(clientId).slice(0, 16)}`;
  }

  #cookie(name: string, value: string, life: number): string {
    const secure = this.#deps.secure() ? '; Secure' : '';
    // Lax: the person comes back from the identity provider, which is another site.
    return `${name}=${value}; Path=/; Max-Age=${life / 1000}; HttpOnly; SameSite=Lax${secure}`;
  }
}

/** RFC 6265 section 5.4; with several of a name the browser is confused, and then it is nobody. */
function cookieOf(header: string | undefined, name: string): string | undefined {
  const values = (header ?? '')
    .split(';')
    .map((pair) => pair.trim())
    .filter((pair) => pair.startsWith(`${name}=`))
    .map((pair) => pair.slice(name.length + 1));
  return values.length === 1 ? values[0] : undefined;
}
