import { createHmac, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { systemClock } from '../../packages/gateway/src/core/clock.ts';
import { silentLog } from '../../packages/gateway/src/core/log.ts';
import { type CallerSlot, createIdentity, type IdentityDeps } from '../../packages/gateway/src/identity/identity.ts';
import { TokenMethod } from '../../packages/gateway/src/identity/jwt.ts';
import type { KeyOptions, TokenEntry } from '../../packages/gateway/src/identity/options.ts';
import { PrincipalKeys } from '../../packages/gateway/src/identity/principals.ts';
import type { Stage } from '../stage.ts';

const ISSUER = 'https://idp.example';
const AUDIENCE = { path: '/mcp', resource: 'https://gw.example/mcp' };
const SECRET = 'a secret of the benchmark, of more than 32 bytes';
/** Tokens that come in turn, so that none is the one before; each is one of its own to everybody who remembers. */
const TOKENS = 512;

const deps: IdentityDeps = {
  keys: new PrincipalKeys(),
  clock: systemClock,
  log: silentLog,
  egress: () => Promise.reject(new Error('nothing is fetched here')),
  resource: (path) => `https://gw.example${path}`,
};

function entryOf(algorithm: string, keys: KeyOptions): TokenEntry {
  const map = {
    subject: undefined,
    tenant: 'org',
    tenants: undefined,
    tier: 'plan',
    roles: undefined,
    session: undefined,
  };
  const rules = { issuer: ISSUER, audience: undefined, algorithms: [algorithm], skew: 60_000, verifyExpiry: true };
  return {
    kind: 'jwt',
    name: algorithm,
    keys,
    rules: { ...rules, type: undefined, scopes: [], require: [], tier: undefined, map },
  };
}

/** Tokens of the size that providers give out: about 900 characters with RS256. */
function tokensOf(algorithm: string, signer: (input: string) => Buffer): readonly string[] {
  const head = Buffer.from(JSON.stringify({ alg: algorithm, typ: 'at+jwt', kid: 'k1' })).toString('base64url');
  const now = Math.floor(Date.now() / 1000);
  return Array.from({ length: TOKENS }, (_, i) => {
    const claims = {
      iss: ISSUER,
      sub: `00u1a2b3c4d5e6f7g8h9-${i % 64}`,
      aud: [AUDIENCE.resource, 'https://api.example'],
      iat: now,
      nbf: now,
      exp: now + 86_400,
      jti: `jti-${i}-0123456789abcdef`,
      azp: 'client-0123456789',
      scope: 'openid profile read_data calculate tools:read tools:write',
      org: 'acme',
      plan: 'gold',
      groups: ['engineering', 'platform', 'on-call', 'berlin'],
      email: `person-${i}@acme.example`,
    };
    const input = `${head}.${Buffer.from(JSON.stringify(claims)).toString('base64url')}`;
    return `${input}.${signer(input).toString('base64url')}`;
  });
}

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const jwks = (key: KeyObject): KeyOptions => ({
  kind: 'inline',
  jwks: { keys: [{ ...key.export({ format: 'jwk' }), kid: 'k1' }] },
});

const RS256 = tokensOf('RS256', (input) => sign('sha256', Buffer.from(input), rsa.privateKey));
const rsaEntry = entryOf('RS256', jwks(rsa.publicKey));

export let sink = 0;

function firstSeen(entry: TokenEntry, tokens: readonly string[]): Stage {
  const method = new TokenMethod(entry, deps);
  let next = 0;
  return {
    name: `a token seen for the first time, ${entry.name}`,
    async run(iterations) {
      for (let i = 0; i < iterations; i++) {
        const outcome = await method.verify(tokens[next++ % TOKENS]!, AUDIENCE, Date.now());
        if (outcome === undefined || outcome === 'unavailable') throw new Error('a good token was refused');
        sink += outcome.principal.key;
      }
    },
  };
}

const identity = createIdentity({ entries: [rsaEntry], endpointEntries: new Map(), loopback: true }, deps);
const slots = RS256.map((): CallerSlot => ({ lastCaller: undefined }));
const sent = RS256.map((token) => Buffer.from(`Bearer ${token}`, 'latin1'));
// The first one waits for the keys, and what came while they changed is looked at again.
await identity.identify(sent[0]!.toString('latin1'), '/mcp', undefined);
for (const [i, text] of sent.entries()) {
  await identity.identify(text.toString('latin1'), '/mcp', undefined, slots[i]!);
  const known = identity.identify(text.toString('latin1'), '/mcp', undefined, slots[i]!);
  if (known instanceof Promise || known instanceof Error) throw new Error('a good token was refused');
}

/** A request brings a text of its own every time, so each row makes one; the first row is that alone. */
function seen(name: string, ask: (text: string, at: number) => unknown): Stage {
  let next = 0;
  return {
    name,
    run(iterations) {
      for (let i = 0; i < iterations; i++) {
        const at = next++ % TOKENS;
        const who = ask(sent[at]!.toString('latin1'), at);
        if (typeof who !== 'object' || who === null || who instanceof Promise) throw new Error('not told at once');
        sink += 1;
      }
    },
  };
}

const NOBODY = {};

export const stages: readonly Stage[] = [
  seen('the text of a header of 900 characters, made anew (part of the two rows below)', (text) => {
    sink += text.length;
    return NOBODY;
  }),
  seen('a token seen before on this connection, RS256', (text, at) =>
    identity.identify(text, '/mcp', undefined, slots[at]!),
  ),
  seen('a token seen before on another connection, RS256', (text) => identity.identify(text, '/mcp', undefined)),
  firstSeen(
    entryOf('HS256', { kind: 'secret', secret: SECRET }),
    tokensOf('HS256', (input) => createHmac('sha256', SECRET).update(input).digest()),
  ),
  firstSeen(rsaEntry, RS256),
  firstSeen(
    entryOf('ES256', jwks(ec.publicKey)),
    tokensOf('ES256', (input) => sign('sha256', Buffer.from(input), { key: ec.privateKey, dsaEncoding: 'ieee-p1363' })),
  ),
];
