/**
 * The way of a person: a client sends them here, they approve it on our own page, sign in at the provider, come back with
 * the same browser, and go on to the client with a code. Until they approved, nothing is redirected anywhere: anybody can
 * register a client, so a redirect without a person would be open (RFC 9700 section 4.11.2).
 */
import { TollgateError } from '../core/errors.ts';
import { identityAssertionId, readIdentityAssertion, writeIdentityAssertion } from '../core/identity-assertion.ts';
import { randomId } from '../core/ids.ts';
import { Consent, type SignInRequest } from './consent.ts';
import type { BridgeParts, CodeGrant } from './contract.ts';
import { type OAuthCode, oauthCodeOf, refusal } from './errors.ts';
import { type BridgeEndpoint, type BridgeEntry, CODE_LIFE, MAX_SIGN_INS, STATE_LIFE } from './options.ts';
import { covers, Parameters, scopesOf } from './parameters.ts';
import type { SignedIn } from './provider.ts';
import { isRegistered } from './redirects.ts';
import { digestOf, isMinted, mint, randomText, seal, unseal } from './tokens.ts';

/** What the browser is to be shown or sent to. */
export type Step =
  | {
      readonly kind: 'ask';
      readonly request: SignInRequest;
      readonly sealed: string;
      readonly host: string | undefined;
      readonly providers: readonly { readonly entry: string; readonly host: string }[];
      readonly mayRemember: boolean;
      readonly cookies: readonly string[];
    }
  | { readonly kind: 'leave'; readonly url: string; readonly host: string; readonly cookies: readonly string[] }
  | { readonly kind: 'redirect'; readonly url: string };

/** What a sign-in at the provider was begun for; sealed under its state. */
interface SignIn {
  readonly request: SignInRequest;
  readonly entry: string;
  readonly nonce: string;
  readonly verifier: string;
  readonly redirectUri: string;
}

const CHALLENGE = /^[A-Za-z0-9_-]{43}$/;
const ALWAYS_ASK = /(?:^| )(?:consent|login|select_account)(?: |$)/;

export class Authorization {
  readonly #parts: BridgeParts;
  readonly #consent: Consent;

  constructor(parts: BridgeParts) {
    this.#parts = parts;
    this.#consent = new Consent({
      clock: parts.clock,
      key: parts.key,
      secure: () => parts.view().base.startsWith('https:'),
    });
  }

  /** A client's request. `path`: the endpoint whose own authorization server was asked; undefined: that of the gateway. */
  async begin(query: string, path: string | undefined, cookies: string | undefined): Promise<Step> {
    const parameters = new Parameters(query);
    const client = await this.#parts.clients.resolve(parameters.require('client_id', 2048));
    const redirectUri = parameters.require('redirect_uri', 2048);
    if (!isRegistered(redirectUri, client.redirectUris)) {
      throw refusal('invalid_request', 'The program asked to send you to an address that it has not registered.');
    }
    if (parameters.require('response_type') !== 'code') {
      throw refusal('unsupported_response_type', 'Only response_type=code is served.');
    }
    const challenge = parameters.require('code_challenge');
    if (parameters.get('code_challenge_method') !== 'S256' || !CHALLENGE.test(challenge)) {
      throw refusal('invalid_request', 'PKCE with code_challenge_method S256 is required.');
    }
    if (parameters.get('request') !== undefined || parameters.get('request_uri') !== undefined) {
      throw refusal('invalid_request', 'Request objects are not served.');
    }
    const endpoint = this.#endpointOf(parameters.get('resource', 2048), path);
    const known = this.#consent.browserOf(cookies, client.id);
    const secret = known ?? this.#consent.newBrowser();
    const { base } = this.#parts.view();
    const request: SignInRequest = {
      issuer: path === undefined ? base : base + path,
      clientId: client.id,
      clientName: client.name,
      redirectUri,
      state: parameters.get('state', 4096),
      challenge,
      path: endpoint.path,
      resource: endpoint.resource,
      scopes: scopesOf(parameters.get('scope', 4096)),
      entries: endpoint.entries,
      browser: digestOf(secret),
    };
    const before = this.#consent.remembered(cookies, request);
    if (before !== undefined && !ALWAYS_ASK.test(parameters.get('prompt') ?? '')) {
      return { kind: 'redirect', url: await this.#signIn(request, before) };
    }
    return {
      kind: 'ask',
      request,
      sealed: this.#consent.sealRequest(request),
      host: client.host,
      providers: endpoint.entries.map((entry) => ({ entry, host: this.#hostOf(entry) })),
      mayRemember: this.#consent.mayRemember(request),
      cookies: [this.#consent.browserCookie(client.id, secret)],
    };
  }

  /** The answer of the person to our page. */
  async decide(form: string, cookies: string | undefined): Promise<Step> {
    const parameters = new Parameters(form);
    const request = this.#consent.openRequest(parameters.require('request', 16_384));
    if (request === undefined) throw refusal('invalid_request', 'This page is too old, or was not made here.');
    if (!this.#consent.isBrowser(cookies, request.clientId, request.browser)) {
      throw refusal(
        'access_denied',
        'This answer does not come from the browser that was asked. Allow cookies of this site.',
      );
    }
    const decision = parameters.require('decision');
    const entry = /^approve:(.+)$/.exec(decision)?.[1];
    if (entry === undefined || !request.entries.includes(entry)) {
      // By a page of its own, like the way to the provider: `form-action` would stop the redirect in some browsers.
      const url = answerOf(request, { error: 'access_denied' });
      return { kind: 'leave', url, host: new URL(url).host, cookies: [] };
    }
    const remember = parameters.get('remember') === 'yes' && this.#consent.mayRemember(request);
    return {
      kind: 'leave',
      url: await this.#signIn(request, entry),
      host: this.#hostOf(entry),
      cookies: remember ? [this.#consent.rememberCookie(request, entry)] : [],
    };
  }

  /** The provider's answer, brought by the browser. */
  async finish(name: string, query: string, cookies: string | undefined): Promise<Step> {
    const { records, clock, log } = this.#parts;
    const parameters = new Parameters(query);
    const state = parameters.require('state');
    const kept = isMinted('state', state) ? await records.find(digestOf(state), 'state') : undefined;
    const signIn = kept === undefined ? undefined : unseal<SignIn>(state, 'state', kept.sealed);
    if (kept === undefined || signIn === undefined || signIn.entry !== name) {
      throw refusal('invalid_request', 'This sign-in was not begun here.');
    }
    const at = clock.wall();
    const first = await records.use({ digest: kept.digest, by: randomId(26), at, items: [] });
    if (!first || kept.expiresAt <= at)
      throw refusal('invalid_request', 'This sign-in is over, or was finished before.');
    const { request } = signIn;
    if (!this.#consent.isBrowser(cookies, request.clientId, request.browser)) {
      log.warn(
        { entry: name, client: request.clientId },
        'a sign-in came back with a browser that had not approved it',
      );
      throw refusal('access_denied', 'This browser has not allowed the program. Somebody else may have sent you here.');
    }
    const entry = this.#entryOf(name);
    await this.#parts.provider(entry).checkIssuer(parameters.get('iss', 2048));
    try {
      return { kind: 'redirect', url: await this.#issue(signIn, entry, parameters) };
    } catch (cause) {
      const error = TollgateError.from(cause);
      const code = oauthCodeOf(error);
      log.warn({ err: error.cause ?? error, entry: name, client: request.clientId }, 'a sign-in failed');
      return { kind: 'redirect', url: answerOf(request, { error: code }) };
    }
  }

  async #issue(signIn: SignIn, entry: BridgeEntry, parameters: Parameters): Promise<string> {
    const { clock, records } = this.#parts;
    const { request, redirectUri, nonce, verifier } = signIn;
    const error = parameters.get('error');
    if (error !== undefined) {
      throw refusal(error === 'access_denied' ? 'access_denied' : 'server_error', `The provider refused: ${error}`);
    }
    const signedIn = await this.#parts.provider(entry).redeem({
      code: parameters.require('code', 8192),
      iss: parameters.get('iss', 2048),
      redirectUri,
      nonce,
      verifier,
    });
    const person = this.#parts.person(entry.name, signedIn.claims);
    if (person === undefined) throw refusal('access_denied', 'The entry does not let this person in.');
    const renewable = await this.#keep(person.principal, entry, signedIn);
    const granted = [...entry.scopes, ...person.scopes];
    const grant: CodeGrant = {
      entry: entry.name,
      clientId: request.clientId,
      resource: request.resource,
      scopes: request.scopes.filter((scope) => covers(granted, scope)),
      claims: signedIn.claims,
      redirectUri: request.redirectUri,
      challenge: request.challenge,
      principal: person.principal,
      renewable,
    };
    const code = mint('code');
    const at = clock.wall();
    const kept = await records.put(
      {
        digest: digestOf(code),
        kind: 'code',
        family: randomId(26),
        sealed: seal(code, 'code', grant),
        at,
        expiresAt: at + CODE_LIFE,
      },
      MAX_SIGN_INS,
    );
    if (!kept) throw refusal('temporarily_unavailable', 'Too many codes wait to be redeemed.');
    return answerOf(request, { code });
  }

  /** Keeps what the provider said with the person's secrets. True: it can be asked again. */
  async #keep(principal: string, entry: BridgeEntry, signedIn: SignedIn): Promise<boolean> {
    const { secrets } = this.#parts;
    if (secrets === undefined) return false;
    const { idToken, expiresAt } = signedIn;
    const { issuer, clientId, name } = entry;
    const id = identityAssertionId(principal, name);
    const kept = secrets.exclusive(id, async () => {
      // Some providers give a refresh token at the first sign-in only; other clients of the person go on with that one.
      const known = readIdentityAssertion(await secrets.get(id, 'sign-in over the bridge'));
      const refreshToken = signedIn.refreshToken ?? (known?.issuer === issuer ? known.refreshToken : undefined);
      const assertion = { issuer, clientId, idToken, refreshToken, expiresAt };
      await secrets.put(id, writeIdentityAssertion(assertion), { by: 'gateway', labels: { entry: name } });
      return refreshToken !== undefined;
    });
    return kept.catch((error: unknown) => {
      // They may come in all the same; only nobody can be asked again, so it ends with the seventh day.
      this.#parts.log.warn({ err: error, entry: name }, 'what the provider said could not be kept in the vault');
      return false;
    });
  }

  /** Begins the sign-in at the provider: only now there is a state, and it is good for one answer. */
  async #signIn(request: SignInRequest, name: string): Promise<string> {
    const { clock, records, view } = this.#parts;
    const entry = this.#entryOf(name);
    const state = mint('state');
    const redirectUri = `${view().base}/oauth/callback/${entry.name}`;
    const signIn: SignIn = { request, entry: name, nonce: randomText(), verifier: randomText(), redirectUri };
    const url = await this.#parts.provider(entry).authorizationUrl({ ...signIn, state });
    const at = clock.wall();
    const sealed = seal(state, 'state', signIn);
    const item = { digest: digestOf(state), kind: 'state', sealed, at, expiresAt: at + STATE_LIFE } as const;
    if (!(await records.put(item, MAX_SIGN_INS))) {
      throw refusal('temporarily_unavailable', 'Too many people are signing in now.', { retryAfterSeconds: 60 });
    }
    return url.href;
  }

  /** RFC 8707: what the token is for, exactly; never the whole gateway (CVE-2025-69196). */
  #endpointOf(resource: string | undefined, path: string | undefined): BridgeEndpoint {
    const endpoint = this.#parts
      .view()
      .endpoints.find(
        (one) => (path === undefined || one.path === path) && one.resource === (resource ?? one.resource),
      );
    if (endpoint === undefined || (path === undefined && resource === undefined) || endpoint.entries.length === 0) {
      throw refusal('invalid_target', 'The parameter resource must be the URI of one endpoint of this gateway.');
    }
    return endpoint;
  }

  #entryOf(name: string): BridgeEntry {
    const entry = this.#parts.view().entries.get(name);
    if (entry === undefined) throw refusal('invalid_request', 'This way to sign in is not configured any more.');
    return entry;
  }

  #hostOf(name: string): string {
    return new URL(this.#entryOf(name).issuer).host;
  }
}

/** Back to the client, with `iss` (RFC 9207), so that it can tell our answers from those of others. */
function answerOf(
  { redirectUri, state, issuer }: SignInRequest,
  answer: { readonly code: string } | { readonly error: OAuthCode },
): string {
  const url = new URL(redirectUri);
  for (const [name, value] of Object.entries(answer)) url.searchParams.set(name, value);
  if (state !== undefined) url.searchParams.set('state', state);
  url.searchParams.set('iss', issuer);
  return url.href;
}
