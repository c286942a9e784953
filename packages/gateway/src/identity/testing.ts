/** What the tests of this room share: signed tokens, an issuer that counts who asks for its keys, and an identity. */
import { createHmac, createPrivateKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { inspect } from 'node:util';
import { createFakeClock, type FakeClock } from '@tollgate/testkit/fake-clock';
import type { Egress } from '../core/egress.ts';
import { TollgateError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { Principal } from '../core/principal.ts';
import { createIdentity, type Identity, type IdentityDeps } from './identity.ts';
import type { AuthEntry, ClaimMap, IdentityOptions, KeyOptions, TokenEntry, TokenRules } from './options.ts';
import { PrincipalKeys } from './principals.ts';

export const ISSUER = 'https://idp.example';
export const GATEWAY = 'https://gw.example';
export const SECRET = 'f0c1f3a2b4d5968778695a4b3c2d1e0f-test';

export interface SigningKey {
  readonly algorithm: string;
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

export function newKey(algorithm: string): SigningKey {
  const curve = { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' }[algorithm];
  const pair =
    curve !== undefined
      ? generateKeyPairSync('ec', { namedCurve: curve })
      : /^Ed/.test(algorithm)
        ? generateKeyPairSync('ed25519')
        : generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { algorithm, ...pair };
}

export function jwkOf(key: SigningKey, more: Record<string, unknown> = {}): Record<string, unknown> {
  return { ...key.publicKey.export({ format: 'jwk' }), alg: key.algorithm, use: 'sig', ...more };
}

export function pemOf(key: SigningKey): string {
  return key.publicKey.export({ format: 'pem', type: 'spki' }).toString();
}

/** Signs bytes as a header of this algorithm claims; independent of the library under test. */
export function signature(input: string, algorithm: string, key: KeyObject | string): Buffer {
  const hash = `sha${algorithm.slice(2)}`;
  if (algorithm.startsWith('HS')) return createHmac(hash, key).update(input).digest();
  const priv = typeof key === 'string' ? createPrivateKey(key) : key;
  if (/^Ed/.test(algorithm)) return sign(null, Buffer.from(input), priv);
  if (algorithm.startsWith('PS')) return sign(hash, Buffer.from(input), { key: priv, padding: 6, saltLength: -1 });
  if (algorithm.startsWith('ES')) return sign(hash, Buffer.from(input), { key: priv, dsaEncoding: 'ieee-p1363' });
  return sign(hash, Buffer.from(input), priv);
}

/** A token out of the texts of its header and payload, whatever they are. */
export function rawToken(header: string, payload: string, algorithm: string, key: KeyObject | string): string {
  const input = `${Buffer.from(header).toString('base64url')}.${Buffer.from(payload).toString('base64url')}`;
  return `${input}.${signature(input, algorithm, key).toString('base64url')}`;
}

export const START = Date.UTC(2026, 0, 1);

export function claims(more: Record<string, unknown> = {}): Record<string, unknown> {
  return { iss: ISSUER, sub: 'ada', aud: `${GATEWAY}/mcp`, exp: START / 1000 + 3600, ...more };
}

export interface Signing {
  readonly claims?: Record<string, unknown>;
  readonly header?: Record<string, unknown>;
  readonly key?: SigningKey;
}

/** HS256 with the secret of the tests, unless a key is given. */
export function token({ claims: more = {}, header = {}, key }: Signing = {}): string {
  const algorithm = key?.algorithm ?? 'HS256';
  const head = JSON.stringify({ alg: algorithm, typ: 'JWT', ...header });
  return rawToken(head, JSON.stringify(claims(more)), algorithm, key?.privateKey ?? SECRET);
}

export const NO_MAP: ClaimMap = {
  subject: undefined,
  tenant: undefined,
  tenants: undefined,
  tier: undefined,
  roles: undefined,
  session: undefined,
};

export function tokenEntry(
  keys: KeyOptions = { kind: 'secret', secret: SECRET },
  rules: Partial<TokenRules> = {},
  name = 'idp',
): TokenEntry {
  return {
    kind: keys.kind === 'discovery' ? 'oidc' : 'jwt',
    name,
    keys,
    rules: {
      issuer: ISSUER,
      audience: undefined,
      algorithms: keys.kind === 'secret' ? ['HS256'] : ['RS256', 'ES256', 'EdDSA'],
      skew: 60_000,
      verifyExpiry: true,
      type: undefined,
      scopes: [],
      require: [],
      tier: undefined,
      map: NO_MAP,
      ...rules,
    },
  };
}

/** Documents by URL, and every URL that was asked for. */
export class FakeIssuer {
  readonly asked: string[] = [];
  readonly documents = new Map<string, unknown>();
  away = false;
  /** What it does before it answers. */
  before: (() => Promise<void>) | undefined = undefined;

  readonly egress: Egress = async (url) => {
    this.asked.push(String(url));
    // Not at once, like a network.
    await new Promise((resolve) => setImmediate(resolve));
    await this.before?.();
    if (this.away) throw new TollgateError('egress_failed', 'Not fetched: the issuer is away');
    const found = this.documents.get(String(url));
    return new Response(found === undefined ? null : JSON.stringify(found), {
      status: found === undefined ? 404 : 200,
    });
  };

  /** Publishes keys at the usual place, with metadata. */
  publish(...jwks: readonly Record<string, unknown>[]): void {
    this.documents.set(`${ISSUER}/.well-known/openid-configuration`, { issuer: ISSUER, jwks_uri: `${ISSUER}/jwks` });
    this.documents.set(`${ISSUER}/jwks`, { keys: jwks });
  }
}

export interface Bench {
  readonly identity: Identity;
  readonly clock: FakeClock;
  readonly issuer: FakeIssuer;
  readonly keys: PrincipalKeys;
  readonly options: IdentityOptions;
  readonly deps: IdentityDeps;
  /** Everything that was logged, as text. */
  readonly logged: string[];
  /** What a token gets on an endpoint. */
  ask(token: string | undefined, endpoint?: string): Promise<Principal | TollgateError>;
  accepted(token: string, endpoint?: string): Promise<Principal>;
  /** Code of the refusal, or `accepted`. */
  outcome(token: string, endpoint?: string): Promise<string>;
}

const ANONYMOUS: AuthEntry = { kind: 'anonymous', name: 'anonymous', tier: undefined };

/** Identity of these entries, and anonymous: what is refused must never become that. */
export function bench(
  entries: readonly AuthEntry[],
  more: Partial<IdentityOptions> = {},
  issuer = new FakeIssuer(),
): Bench {
  const clock = createFakeClock(START);
  const keys = new PrincipalKeys();
  const logged: string[] = [];
  const note = (fields: object, message: string) => void logged.push(`${message} ${inspect(fields, { depth: 10 })}`);
  const log: Log = { debug: note, info: note, warn: note, error: note, child: () => log };
  const deps: IdentityDeps = { keys, clock, log, egress: issuer.egress, resource: (path) => GATEWAY + path };
  const options = { entries: [...entries, ANONYMOUS], endpointEntries: new Map(), loopback: true, ...more };
  const identity = createIdentity(options, deps);
  const ask = async (sent: string | undefined, endpoint = '/mcp') =>
    await identity.identify(sent === undefined ? undefined : `Bearer ${sent}`, endpoint, '127.0.0.1');
  return {
    identity,
    clock,
    issuer,
    keys,
    options,
    deps,
    logged,
    ask,
    async accepted(sent, endpoint) {
      const who = await ask(sent, endpoint);
      if (TollgateError.is(who)) throw who;
      return who;
    },
    async outcome(sent, endpoint) {
      const who = await ask(sent, endpoint);
      return TollgateError.is(who) ? who.code : 'accepted';
    },
  };
}
