/** Auth entries that accept signed tokens: `jwt`, `oidc`, and what their claims may say. */
import * as z from 'zod';
import { PUBLIC_KEY_ALGORITHMS } from '../../core/signature-algorithms.ts';
import { isLoopback, UnitError } from '../units.ts';
import { choice, duration, either, flag, list, map, message, oneOrList, parsed, secret, section, text } from './kit.ts';
import { forbiddenKey, ruleName, scopeName } from './names.ts';

export const SECRET_ALGORITHMS = ['HS256', 'HS384', 'HS512'] as const;
/** The operator's word is trusted, but keys that came unprotected could be anybody's. */
function checkedUrl(value: string, example: string): URL {
  const url = URL.parse(value);
  if (url === null) throw new UnitError('This is not a URL.', `For example ${example}.`);
  const local = url.protocol === 'http:' && isLoopback(url.hostname.replace(/^\[|\]$/g, ''));
  if (url.protocol !== 'https:' && !local) {
    throw new UnitError('The URL must begin with https://; http:// is for loopback only.', `For example ${example}.`);
  }
  if (url.username !== '' || url.password !== '' || url.hash !== '') {
    throw new UnitError('This URL has no user, password or fragment.', `For example ${example}.`);
  }
  return url;
}

/** Compared with `iss` byte for byte, so it is kept as written. */
function issuerUrl() {
  const example = 'https://idp.example';
  return parsed('the URL of an issuer', example, (value) => {
    const url = checkedUrl(value, example);
    if (url.search !== '') throw new UnitError('An issuer has no query.', `For example ${example}.`);
    return value;
  });
}

/** A URL, or a file beside the configuration. */
const jwksPlace = parsed('a URL or a file', 'https://idp.example/jwks.json', (value) => {
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(value)) checkedUrl(value, 'https://idp.example/jwks.json');
  return value;
});
const jwksInline = section({
  keys: list(
    z.record(z.string(), z.unknown(), { error: message('A key is a map (JWK).') }),
    'keys',
    '[{ kty: OKP, crv: Ed25519, x: … }]',
  ).describe('Public keys, as in a JWK set.'),
});

const claim = (example: string) =>
  parsed('the name of a claim', example, (value) => {
    if (value.length > 256)
      throw new UnitError('A claim’s name has at most 256 characters.', `For example ${example}.`);
    return value;
  });

const common = {
  audience: oneOrList(text('an audience', 'https://gw.example/mcp'), 'an audience', 'https://gw.example/mcp')
    .optional()
    .describe(
      'What `aud` must name, one of a list. Default: the URI of the endpoint that is called (`publicUrl` or the listen address, and its path), on REST and admin paths `publicUrl`.',
    ),
  skew: duration().prefault('60s').describe('How far clocks may differ; at most 10m.'),
  typ: text('a type', 'at+jwt').optional().describe('What the header’s `typ` must be. Default: anything.'),
  scopes: list(scopeName(), 'scopes', '[tools]')
    .prefault([])
    .describe('Scopes without which a token is not accepted here.'),
  require: list(claim('iat'), 'names of claims', '[iat]')
    .prefault([])
    .describe('Claims without which a token is not accepted here, beside `iss`, `aud`, `sub` and `exp`.'),
  tier: ruleName('a tier', 'basic').optional().describe('Tier of callers whose token says none.'),
};

export const jwt = section({
  issuer: text('an issuer', 'https://idp.example').describe('What `iss` must be, to the letter.'),
  jwks: either(jwksPlace, jwksInline, 'Must be a URL, a file or a map with `keys`')
    .optional()
    .describe(
      'The issuer’s public keys: an https URL (http on loopback), a file, or `{ keys: […] }`. Fetched again every 10 minutes, and at most once a minute for a key id that is not known; kept for a day while the issuer is away.',
    ),
  secret: secret('a secret', '"${env:JWT_SECRET}"')
    .optional()
    .describe('The secret that signs HS256, HS384 or HS512, at least 32 bytes. Never shown.'),
  publicKey: text('a public key', '"${file:/etc/keys/issuer.pem}"')
    .optional()
    .describe('The issuer’s one public key or certificate, as PEM.'),
  algorithms: list(choice([...SECRET_ALGORITHMS, ...PUBLIC_KEY_ALGORITHMS]), 'algorithms', '[RS256]')
    .optional()
    .describe(
      'The only ones accepted, whatever a token’s header says. Default `[HS256]` with `secret`, else `[RS256, ES256, EdDSA]`.',
    ),
  verifyExpiry: flag()
    .prefault(true)
    .describe('Require `exp` and refuse what has ended. `false`: tokens of this entry never end.'),
  ...common,
});

const oidcMap = section({
  issuer: issuerUrl().describe('The issuer; its metadata and every token must name it to the letter.'),
  algorithms: list(choice(PUBLIC_KEY_ALGORITHMS), 'algorithms', '[RS256]')
    .optional()
    .describe('The only ones accepted. Default `[RS256, ES256]`.'),
  ...common,
});

export const oidc = either(issuerUrl(), oidcMap, 'Must be the URL of an issuer or a map with `issuer`');

export const claimMap = section({
  subject: claim('email').optional().describe('Claim that says who it is. Default `sub`.'),
  tenant: claim('org').optional().describe('Claim that says the tenant. Default none.'),
  tenants: list(text('a tenant', 'acme'), 'tenants', '[acme]')
    .optional()
    .describe('Tenants that this issuer may speak for; a token of another, or of none, is refused. Default all.'),
  tier: claim('plan').optional().describe('Claim that says the tier. Default none.'),
  roles: section({
    claim: claim('groups').describe('Claim that says the roles, one or a list.'),
    grant: map(oneOrList(ruleName('a role', 'operator'), 'a role', 'operator'), 'roles', forbiddenKey)
      .prefault({})
      .describe(
        'Role, or roles, by value of the claim. `user`, `operator`, `auditor` and `admin` come only from here; every other value is a role of its own name.',
      ),
  })
    .optional()
    .describe('Roles. Default none.'),
  session: claim('sid')
    .optional()
    .describe('Claim that says the session of a caller without a session of the protocol, for limits by session.'),
});
