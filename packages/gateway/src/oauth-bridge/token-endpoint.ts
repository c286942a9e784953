/**
 * The token endpoint: codes and refresh tokens become access tokens, each once. What was stolen shows when it is used a
 * second time, and then everything that came of that sign-in ends (RFC 9700 section 4.14).
 */

import type { BridgeFamily, BridgeItem, FoundBridgeItem } from '../core/bridge-records.ts';
import { identityAssertionId, readIdentityAssertion, writeIdentityAssertion } from '../core/identity-assertion.ts';
import { randomId } from '../core/ids.ts';
import { keepNewest } from '../core/keep-newest.ts';
import type { BridgeParts, CodeGrant, Grant, RefreshGrant } from './contract.ts';
import { refusal } from './errors.ts';
import { ACCESS_LIFE, type BridgeEntry, REFRESH_LIFE } from './options.ts';
import { covers, Parameters, scopesOf } from './parameters.ts';
import { challengeOf, digestOf, isMinted, mint, sameText, seal, unseal } from './tokens.ts';

export interface TokenAnswer {
  readonly access_token: string;
  readonly token_type: 'Bearer';
  readonly expires_in: number;
  readonly refresh_token: string;
  readonly scope: string;
}

/** An access token that is good, and what it stands for. */
export interface OpenedToken extends Grant {
  /** The sign-in that it comes from; `ended` knows it. */
  readonly family: string;
  readonly expiresAt: number;
}

const VERIFIER = /^[A-Za-z0-9\-._~]{43,128}$/;
const MAX_JOINED = 1000;
/** Ended sign-ins that are known without asking the records. */
const MAX_ENDED = 10_000;
const MAX_LISTED = 1000;
const MAX_ROUNDS = 10;
/** No access token is older; with room for gateways whose clocks differ by as much again. */
const RECENT = 2 * ACCESS_LIFE;

export class TokenEndpoint {
  /** Grows when tokens that were good are not any more. */
  revision = 0;
  readonly #parts: BridgeParts;
  readonly #ended = new Set<string>();
  /** Of the records, when what they say of ended sign-ins was read last. */
  #version = '';
  /** Refreshes that run, by digest of token and client. */
  readonly #running = new Map<string, Promise<TokenAnswer>>();

  constructor(parts: BridgeParts) {
    this.#parts = parts;
  }

  /** Rejects with an error of RFC 6749 section 5.2. */
  async answer(form: string): Promise<TokenAnswer> {
    const parameters = new Parameters(form);
    const clientId = parameters.get('client_id', 2048);
    if (clientId === undefined) throw refusal('invalid_client', 'The parameter client_id is missing.');
    switch (parameters.require('grant_type')) {
      case 'authorization_code':
        return this.#redeem(parameters, clientId);
      case 'refresh_token':
        return this.#refresh(parameters, clientId);
      default:
        throw refusal('unsupported_grant_type', 'Only authorization_code and refresh_token are served.');
    }
  }

  /** RFC 7009: ends the whole sign-in, whichever of its tokens is given. Nobody learns whether there was one. */
  async revoke(form: string): Promise<void> {
    const parameters = new Parameters(form);
    const token = parameters.require('token', 4096);
    const clientId = parameters.get('client_id', 2048);
    for (const kind of ['refresh', 'access'] as const) {
      if (!isMinted(kind, token)) continue;
      const kept = await this.#parts.records.find(digestOf(token), kind);
      const grant = kept === undefined ? undefined : unseal<Grant>(token, kind, kept.sealed);
      if (kept?.family !== undefined && grant?.clientId === clientId) await this.#end(kept.family);
    }
  }

  /** What an access token stands for; undefined: not one of ours, over, or revoked. */
  async open(token: string): Promise<OpenedToken | undefined> {
    if (!isMinted('access', token)) return undefined;
    const kept = await this.#parts.records.find(digestOf(token), 'access');
    if (kept === undefined || kept.ended || kept.expiresAt <= this.#parts.clock.wall()) return undefined;
    const grant = unseal<Grant>(token, 'access', kept.sealed);
    if (grant === undefined || kept.family === undefined) return undefined;
    return { ...grant, family: kept.family, expiresAt: kept.expiresAt };
  }

  signIns(principal: string | undefined): Promise<readonly BridgeFamily[]> {
    return this.#parts.records.families(principal, this.#parts.clock.wall(), MAX_LISTED);
  }

  async endSignIns(principal: string): Promise<number> {
    let ended = 0;
    // Again, for one that was finished meanwhile and for those beyond a page.
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const open = await this.signIns(principal);
      if (open.length === 0) break;
      for (const { id } of open) await this.#end(id);
      ended += open.length;
    }
    return ended;
  }

  /** Learns what other gateways ended. False: nothing since it was last asked. Rejects with `storage_unavailable`. */
  async follow(): Promise<boolean> {
    const { records, clock } = this.#parts;
    const version = await records.version();
    if (version === this.#version) return false;
    const ended = await records.ended(clock.wall() - RECENT, MAX_ENDED);
    let news = false;
    for (const family of ended) {
      if (this.#ended.has(family)) continue;
      news = true;
      this.#remember(family);
    }
    this.#version = version;
    if (!news) return false;
    this.revision++;
    this.#parts.onEnd?.();
    return true;
  }

  /** Whether a sign-in is known to be over, ended here or, as far as it was followed, by another gateway. */
  ended(family: string): boolean {
    return this.#ended.has(family);
  }

  async #redeem(parameters: Parameters, clientId: string): Promise<TokenAnswer> {
    const { records, clock, clients } = this.#parts;
    const code = parameters.require('code');
    const kept = isMinted('code', code) ? await records.find(digestOf(code), 'code') : undefined;
    const grant = kept === undefined ? undefined : unseal<CodeGrant>(code, 'code', kept.sealed);
    if (kept === undefined || grant === undefined) throw refusal('invalid_grant', 'This code was not given here.');
    const at = clock.wall();
    const attempt = randomId(26);
    if (kept.usedAt !== undefined) throw await this.#reused(kept, grant, 'code');
    const verifier = parameters.get('code_verifier') ?? '';
    const resource = parameters.get('resource', 2048);
    const fits =
      kept.expiresAt > at &&
      grant.clientId === clientId &&
      grant.redirectUri === parameters.get('redirect_uri', 2048) &&
      VERIFIER.test(verifier) &&
      sameText(challengeOf(verifier), grant.challenge);
    if (!fits || (resource !== undefined && resource !== grant.resource)) {
      // Whoever tries again with another verifier is not the client: one attempt, then the code is gone.
      await records.use({ digest: kept.digest, by: attempt, at, items: [] });
      if (fits) throw refusal('invalid_target', 'The code was made for another resource.');
      throw refusal('invalid_grant', 'The code is over, or belongs to another client, redirect_uri or code_verifier.');
    }
    const refresh: RefreshGrant = {
      ...core(grant),
      principal: grant.principal,
      renewable: grant.renewable,
      signedInAt: at,
    };
    const made = this.#make(refresh, refresh.scopes, kept.family!, at);
    const used = await records.use({ digest: kept.digest, by: attempt, at, ...made.kept });
    if (!used) throw await this.#reused(kept, grant, 'code');
    await clients.used(clientId);
    return made.answer;
  }

  /** The same refresh asked for twice at once, as programs with several connections do, is one refresh. */
  #refresh(parameters: Parameters, clientId: string): Promise<TokenAnswer> {
    const token = parameters.require('refresh_token');
    const scopes = scopesOf(parameters.get('scope', 4096));
    const resource = parameters.get('resource', 2048);
    const place = digestOf(JSON.stringify([token, clientId, scopes, resource ?? null]));
    const running = this.#running.get(place);
    if (running !== undefined) return running;
    if (this.#running.size >= MAX_JOINED) {
      throw refusal('temporarily_unavailable', 'Too many refreshes at this moment.', { retryAfterSeconds: 1 });
    }
    const answer = this.#rotate(token, clientId, scopes, resource).finally(() => this.#running.delete(place));
    this.#running.set(place, answer);
    return answer;
  }

  async #rotate(
    token: string,
    clientId: string,
    scopes: readonly string[],
    resource: string | undefined,
  ): Promise<TokenAnswer> {
    const { records, clock, clients } = this.#parts;
    const kept = isMinted('refresh', token) ? await records.find(digestOf(token), 'refresh') : undefined;
    const grant = kept === undefined ? undefined : unseal<RefreshGrant>(token, 'refresh', kept.sealed);
    if (kept === undefined || grant === undefined || grant.clientId !== clientId) {
      throw refusal('invalid_grant', 'This refresh token was not given to this client.');
    }
    if (kept.usedAt !== undefined) throw await this.#reused(kept, grant, 'refresh token');
    if (kept.ended || kept.expiresAt <= clock.wall())
      throw refusal('invalid_grant', 'The sign-in is over. Sign in again.');
    if (resource !== undefined && resource !== grant.resource) {
      throw refusal('invalid_target', 'The token was made for another resource.');
    }
    if (!scopes.every((scope) => covers(grant.scopes, scope))) {
      throw refusal('invalid_scope', 'A refresh cannot widen the scopes.');
    }
    const claims = await this.#stillHere(grant);
    if (claims === undefined) {
      await this.#end(kept.family!);
      throw refusal('invalid_grant', 'The identity provider has ended this sign-in. Sign in again.');
    }
    const at = clock.wall();
    const next: RefreshGrant = { ...grant, claims };
    const made = this.#make(next, scopes.length === 0 ? grant.scopes : scopes, kept.family!, at);
    const used = await records.use({ digest: kept.digest, by: randomId(26), at, ...made.kept });
    if (!used) throw await this.#reused(kept, grant, 'refresh token');
    await clients.used(clientId);
    return made.answer;
  }

  /**
   * The claims of now. Where the provider gave a refresh token it is asked: a person who left, or lost a group, does not
   * keep what they had for a week. Undefined: not let in any more. Rejects where it cannot be told.
   */
  async #stillHere(grant: RefreshGrant): Promise<Grant['claims'] | undefined> {
    const { secrets, person, view } = this.#parts;
    const entry = view().entries.get(grant.entry);
    const endpoint = view().endpoints.find(({ resource }) => resource === grant.resource);
    if (entry === undefined || endpoint?.entries.includes(grant.entry) !== true) return undefined;
    let { claims } = grant;
    if (grant.renewable && secrets !== undefined) {
      const id = identityAssertionId(grant.principal, grant.entry);
      const now = await secrets.exclusive(id, () => this.#askProvider(entry, grant));
      if (now === undefined) return undefined;
      claims = now;
    }
    return person(grant.entry, claims)?.principal === grant.principal ? claims : undefined;
  }

  async #askProvider(entry: BridgeEntry, grant: RefreshGrant): Promise<Grant['claims'] | undefined> {
    const { secrets, provider } = this.#parts;
    const id = identityAssertionId(grant.principal, grant.entry);
    const known = readIdentityAssertion(await secrets?.get(id, 'refresh of a bridge token'));
    if (known?.refreshToken === undefined || known.issuer !== entry.issuer) return undefined;
    const answer = await provider(entry).refresh(known.refreshToken, grant.claims['sub']);
    if (answer === undefined) {
      await secrets?.remove(id, 'gateway');
      return undefined;
    }
    const refreshToken = answer.refreshToken ?? known.refreshToken;
    const { signedIn } = answer;
    const next =
      signedIn === undefined
        ? { ...known, refreshToken }
        : { ...known, refreshToken, idToken: signedIn.idToken, expiresAt: signedIn.expiresAt };
    await secrets?.put(id, writeIdentityAssertion(next), { by: 'gateway', labels: { entry: entry.name } });
    return signedIn?.claims ?? grant.claims;
  }

  #make(grant: RefreshGrant, scopes: readonly string[], id: string, at: number) {
    // Without the provider's word the claims are as old as the sign-in, and so is the right to go on.
    const refreshUntil = (grant.renewable ? at : grant.signedInAt) + REFRESH_LIFE;
    const accessUntil = Math.min(at + ACCESS_LIFE, refreshUntil);
    const access = mint('access');
    const refresh = mint('refresh');
    const items: readonly BridgeItem[] = [
      itemOf('access', access, { ...core(grant), scopes }, id, at, accessUntil),
      itemOf('refresh', refresh, grant, id, at, refreshUntil),
    ];
    const { entry, principal, clientId: client, resource } = grant;
    const family: BridgeFamily = {
      id,
      entry,
      principal,
      client,
      resource,
      at: grant.signedInAt,
      expiresAt: refreshUntil,
    };
    const answer: TokenAnswer = {
      access_token: access,
      token_type: 'Bearer',
      expires_in: Math.floor((accessUntil - at) / 1000),
      refresh_token: refresh,
      scope: scopes.join(' '),
    };
    return { answer, kept: { family, items } };
  }

  async #reused(kept: FoundBridgeItem, grant: Grant, what: string): Promise<Error> {
    if (kept.family !== undefined) await this.#end(kept.family);
    const { entry, clientId } = grant;
    this.#parts.log.warn({ entry, client: clientId }, `a ${what} was used a second time: its sign-in is ended`);
    return refusal('invalid_grant', `This ${what} was used before. Sign in again.`);
  }

  async #end(family: string): Promise<void> {
    await this.#parts.records.end(family, this.#parts.clock.wall());
    this.#remember(family);
    this.revision++;
    this.#parts.onEnd?.();
  }

  #remember(family: string): void {
    this.#ended.add(family);
    keepNewest(this.#ended, MAX_ENDED);
  }
}

function core({ entry, clientId, resource, scopes, claims }: Grant): Grant {
  return { entry, clientId, resource, scopes, claims };
}

function itemOf(
  kind: 'access' | 'refresh',
  token: string,
  value: Grant,
  family: string,
  at: number,
  expiresAt: number,
): BridgeItem {
  return { digest: digestOf(token), kind, family, sealed: seal(token, kind, value), at, expiresAt };
}
