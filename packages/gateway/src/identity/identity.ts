/** Who is calling: tries the configured entries on a request's credential and gives the Principal. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { TollgateError } from '../core/errors.ts';
import type { Principal } from '../core/principal.ts';
import { addressPrefix } from './address.ts';
import type { AnonymousEntry, AuthEntry, BearerEntry, IdentityOptions } from './options.ts';
import { AnonymousTable, configuredPrincipal, LOCAL, loopbackAnonymous, type PrincipalKeys } from './principals.ts';

/** Longer credentials are refused unread. */
const MAX_CREDENTIAL = 8192;
/** Accepted tokens remembered by their whole text, so that a token seen before costs one map lookup. */
const MAX_REMEMBERED = 4096;

export interface Identity {
  /**
   * The caller of an endpoint, from the raw Authorization header (undefined: none was sent) and the peer's address.
   * Otherwise `unauthorized`: a credential that no entry accepts is never treated as anonymous.
   */
  identify(authorization: string | undefined, endpoint: string, address: string | undefined): Principal | TollgateError;
  /**
   * Whether a caller identified earlier would be that still: under the same credential, with the same rights, on this
   * endpoint. False after a reload that took away or changed either.
   */
  recognises(principal: Principal, endpoint: string): boolean;
}

interface CompiledBearer {
  readonly name: string;
  readonly digest: Buffer;
  readonly principal: Principal;
}

type AnonymousSource = (address: string | undefined) => Principal;

/** What the next configuration takes over of this one. */
interface Lasting {
  readonly bearers: readonly CompiledBearer[];
  readonly anonymous:
    | { readonly entry: AnonymousEntry; readonly loopback: boolean; readonly source: AnonymousSource }
    | undefined;
}

const lasting = new WeakMap<Identity, Lasting>();

/**
 * Compiles the entries. `keys` outlives a reload, so that principals keep theirs. An entry that is as it was in
 * `previous` gives the same principals, the same objects.
 */
export function createIdentity(options: IdentityOptions, keys: PrincipalKeys, previous?: Identity): Identity {
  const before = previous === undefined ? undefined : lasting.get(previous);
  const bearers = options.entries
    .filter(isBearer)
    .map((entry) => compileBearer(entry, keys))
    .map((bearer) => before?.bearers.find((one) => isDeepStrictEqual(one, bearer)) ?? bearer);
  const anonymousEntry = options.entries.find(isAnonymous);
  const kept = anonymousOf(anonymousEntry, options.loopback, before, keys);
  const anonymous = kept?.source;
  const remembered = new Map<string, CompiledBearer>();
  const allowed = new Map<string, ReadonlySet<string>>();
  for (const [path, names] of options.endpointEntries) allowed.set(path, new Set(names));

  function accepts(endpoint: string, entry: string): boolean {
    const names = allowed.get(endpoint);
    return names === undefined || names.has(entry);
  }

  function byCredential(authorization: string): CompiledBearer | undefined {
    // Only texts that were accepted before are keys here, so a lookup tells a guesser nothing by its time.
    const known = remembered.get(authorization);
    if (known !== undefined) return known;
    const token = bearerToken(authorization);
    if (token === undefined) return undefined;
    const entry = matchToken(bearers, token);
    if (entry === undefined) return undefined;
    if (remembered.size >= MAX_REMEMBERED) remembered.clear();
    remembered.set(authorization, entry);
    return entry;
  }

  const identity: Identity = {
    identify(authorization, endpoint, address) {
      if (authorization !== undefined) {
        const entry = byCredential(authorization);
        return entry !== undefined && accepts(endpoint, entry.name) ? entry.principal : rejected();
      }
      if (anonymous === undefined || !accepts(endpoint, 'anonymous')) return missing();
      return anonymous(address);
    },
    recognises(principal, endpoint) {
      // The local user comes through the attach socket, of which no configuration says anything.
      if (principal.entry === LOCAL) return true;
      if (principal.entry === 'anonymous') return anonymous !== undefined && accepts(endpoint, 'anonymous');
      return bearers.some((entry) => entry.principal === principal && accepts(endpoint, entry.name));
    },
  };
  lasting.set(identity, { bearers, anonymous: kept });
  return identity;
}

/** Where anonymous callers come from; the table of before, where nothing changed: it has their keys. */
function anonymousOf(
  entry: AnonymousEntry | undefined,
  loopback: boolean,
  before: Lasting | undefined,
  keys: PrincipalKeys,
): Lasting['anonymous'] {
  if (entry === undefined) return undefined;
  const known = before?.anonymous;
  if (known !== undefined && known.loopback === loopback && isDeepStrictEqual(known.entry, entry)) return known;
  return { entry, loopback, source: anonymousSource(entry, loopback, keys) };
}

function isBearer(entry: AuthEntry): entry is BearerEntry {
  return entry.kind === 'bearer';
}

function isAnonymous(entry: AuthEntry): entry is AnonymousEntry {
  return entry.kind === 'anonymous';
}

function compileBearer(entry: BearerEntry, keys: PrincipalKeys): CompiledBearer {
  const principal = configuredPrincipal(keys, {
    entry: entry.name,
    subject: entry.subject,
    tenant: entry.tenant,
    tier: entry.tier,
    roles: Object.freeze([...entry.roles]),
    scopes: Object.freeze([...entry.scopes]),
    clientId: undefined,
  });
  return { name: entry.name, digest: digest(entry.token), principal };
}

function anonymousSource(entry: AnonymousEntry, loopback: boolean, keys: PrincipalKeys): AnonymousSource {
  if (loopback) {
    const one = loopbackAnonymous(keys, entry.tier);
    return () => one;
  }
  const table = new AnonymousTable(keys, entry.tier);
  return (address) => table.get(addressPrefix(address));
}

/** The token of `Bearer <token>` (RFC 6750 section 2.1), or undefined. */
function bearerToken(authorization: string): string | undefined {
  if (authorization.length > MAX_CREDENTIAL) return undefined;
  const match = /^bearer +([\x21-\x7e]+)$/i.exec(authorization);
  return match?.[1];
}

/** Digests have one length and every entry is compared, so the time says nothing about any token. */
function matchToken(bearers: readonly CompiledBearer[], token: string): CompiledBearer | undefined {
  const presented = digest(token);
  let found: CompiledBearer | undefined;
  for (const entry of bearers) {
    if (timingSafeEqual(entry.digest, presented) && found === undefined) found = entry;
  }
  return found;
}

function digest(token: string): Buffer {
  return createHash('sha256').update(token, 'utf8').digest();
}

function rejected(): TollgateError {
  return new TollgateError(
    'unauthorized',
    'The credential was not accepted. Send `Authorization: Bearer <token>` with a token of this gateway.',
  );
}

function missing(): TollgateError {
  return new TollgateError('unauthorized', 'A credential is required: send `Authorization: Bearer <token>`.');
}
