/** `jwt` and `oidc` entries: keys that fit their algorithms, secrets that are some, audiences that can be met. */
import { createPublicKey, type KeyObject } from 'node:crypto';
import { readKeySet } from '../identity/key-set.ts';
import type { Checks, ParsedConfig } from './check.ts';
import { doubt, type KeyPath, mistake } from './problems.ts';
import { isPlaceholder } from './secrets.ts';
import { formatListen, isWildcard } from './units.ts';

type Entry = NonNullable<ParsedConfig['auth']>[number];
type Jwt = NonNullable<Entry['jwt']>;

/** RFC 8725 section 3.5: a MAC key is at least as long as its hash, here the shortest one. */
const MIN_SECRET = 32;
const MAX_SKEW = 10 * 60_000;

export function checkTokens(checks: Checks, entry: Entry, path: KeyPath): void {
  const { findings } = checks;
  if (entry.map !== undefined && entry.jwt === undefined && entry.oidc === undefined) {
    findings.push(mistake([...path, 'map'], '`map` reads the claims of `jwt` and `oidc` tokens.', 'Remove it.'));
  }
  if (entry.map?.tenants !== undefined && entry.map.tenant === undefined) {
    const at = [...path, 'map', 'tenants'];
    findings.push(mistake(at, '`tenants` needs the claim that says the tenant.', 'Write tenant: org beside it.'));
  }
  const { jwt } = entry;
  // A bare URL leaves everything at its default.
  const oidc = typeof entry.oidc === 'string' ? {} : entry.oidc;
  if (jwt !== undefined) checkKeys(checks, jwt, [...path, 'jwt']);
  const rules: Partial<Pick<Jwt, 'algorithms' | 'skew' | 'audience'>> | undefined = jwt ?? oidc;
  if (rules === undefined) return;
  const place: KeyPath = [...path, jwt === undefined ? 'oidc' : 'jwt'];
  if (rules.algorithms?.length === 0) {
    findings.push(
      mistake([...place, 'algorithms'], 'No token could be accepted.', 'Name an algorithm, or remove the key.'),
    );
  }
  if (rules.skew !== undefined && rules.skew > MAX_SKEW) {
    findings.push(mistake([...place, 'skew'], 'Clocks do not differ so much.', 'Write at most 10m.'));
  }
  if (Array.isArray(rules.audience) && rules.audience.length === 0) {
    findings.push(mistake([...place, 'audience'], 'An empty list is nobody.', 'Name an audience, or remove the key.'));
  }
  const { listen, publicUrl } = checks.config;
  const named = rules.audience !== undefined || publicUrl !== undefined;
  if (!named && isWildcard(listen.host) && !checks.isDamaged('publicUrl') && !checks.isDamaged('listen')) {
    const what = `No token can name ${formatListen(listen)} as its audience.`;
    findings.push(mistake(place, what, 'Write publicUrl: https://your-host, or `audience` here.'));
  }
  // RFC 9728 section 3.3: a client does not use metadata of another resource than the one that it asked for.
  const told = oidc !== undefined || URL.canParse(jwt?.issuer ?? '');
  if (rules.audience !== undefined && publicUrl === undefined && told && isWildcard(listen.host)) {
    if (checks.isDamaged('publicUrl') || checks.isDamaged('listen')) return;
    const what = `Clients are told that this gateway is ${formatListen(listen)}, and those that sign in by themselves go no further.`;
    if (findings.some((finding) => finding.what === what)) return;
    findings.push(doubt(['listen'], what, 'Write publicUrl: https://your-host.'));
  }
}

function checkKeys(checks: Checks, jwt: Jwt, path: KeyPath): void {
  const { findings } = checks;
  const sources = (['jwks', 'secret', 'publicKey'] as const).filter((key) => jwt[key] !== undefined);
  if (sources.length !== 1) {
    const what =
      sources.length === 0 ? 'It needs the keys of its issuer.' : 'It has its keys from one place, not several.';
    findings.push(mistake(path, what, 'Write one of `jwks`, `secret`, `publicKey`.'));
    return;
  }
  if (!jwt.verifyExpiry) {
    findings.push(
      doubt([...path, 'verifyExpiry'], 'Whoever gets hold of a token can use it for ever.', 'Remove the key.'),
    );
  }
  const shared = jwt.algorithms?.filter((algorithm) => algorithm.startsWith('HS')) ?? [];
  if (jwt.secret !== undefined) {
    checkSecret(checks, jwt.secret, [...path, 'secret']);
    if (jwt.algorithms !== undefined && shared.length < jwt.algorithms.length) {
      const what = 'A secret signs only HS256, HS384 and HS512.';
      findings.push(mistake([...path, 'algorithms'], what, 'Write [HS256], or give `jwks` or `publicKey` instead.'));
    }
  } else if (shared.length > 0) {
    // Who knows a public key, and that is everybody, could sign with it as a secret.
    const what = `${shared[0]} needs a secret; with a public key anybody could sign.`;
    findings.push(mistake([...path, 'algorithms'], what, 'Write [RS256], [ES256] or [EdDSA].'));
  }
  if (jwt.publicKey !== undefined) checkPublicKey(checks, jwt.publicKey, jwt.algorithms, [...path, 'publicKey']);
  if (typeof jwt.jwks === 'object') {
    jwt.jwks.keys.forEach((key, i) => {
      if (!('d' in key) && !('k' in key)) return;
      const at = [...path, 'jwks', 'keys', i];
      findings.push(
        mistake(at, 'This is a private key or a secret.', 'Give the public key; a secret stands in `secret`.'),
      );
    });
    try {
      readKeySet(jwt.jwks);
    } catch (error) {
      findings.push(mistake([...path, 'jwks'], `Cannot be used: ${(error as Error).message}.`, 'Give public keys.'));
    }
  }
}

function checkSecret(checks: Checks, secret: string, path: KeyPath): void {
  const fix = 'Make one: openssl rand -hex 32.';
  const { findings } = checks;
  if (/-----BEGIN |"kty"/.test(secret)) {
    findings.push(
      mistake(path, 'This is a key, not a secret.', 'Write it as `publicKey`, with [RS256] or what it is.'),
    );
  } else if (isPlaceholder(secret)) {
    findings.push(mistake(path, 'This secret is a placeholder; anybody can guess it.', fix));
  } else if (Buffer.byteLength(secret) < MIN_SECRET) {
    findings.push(mistake(path, `The secret has fewer than ${MIN_SECRET} bytes.`, fix));
  } else if (checks.isLiteral(...path)) {
    findings.push(doubt(path, 'This secret stands in the file in plain text.', 'Write ${env:NAME} or ${file:/path}.'));
  }
}

function checkPublicKey(checks: Checks, pem: string, algorithms: Jwt['algorithms'], path: KeyPath): void {
  const { findings } = checks;
  if (/PRIVATE KEY-----/.test(pem)) {
    findings.push(mistake(path, 'This is a private key; it belongs to the issuer alone.', 'Give the public key.'));
    return;
  }
  let key: KeyObject;
  try {
    key = createPublicKey(pem);
  } catch {
    findings.push(mistake(path, 'This is no public key in PEM.', 'Write "${file:/etc/keys/issuer.pem}".'));
    return;
  }
  const fitting = algorithmsOf(key);
  if (fitting.length === 0) {
    findings.push(
      mistake(path, 'No algorithm takes a key of this kind.', 'Use RSA of 2048 bits or more, P-256, or Ed25519.'),
    );
  } else if (algorithms !== undefined && !algorithms.every((algorithm) => fitting.includes(algorithm))) {
    findings.push(
      mistake([...path.slice(0, -1), 'algorithms'], 'The key signs none such.', `It is for ${fitting.join(', ')}.`),
    );
  }
}

/** RFC 7518 section 3.1, RFC 8037. */
function algorithmsOf(key: KeyObject): readonly string[] {
  const { modulusLength = 0, namedCurve } = key.asymmetricKeyDetails ?? {};
  switch (key.asymmetricKeyType) {
    case 'rsa':
      return modulusLength < 2048 ? [] : ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'];
    case 'rsa-pss':
      return modulusLength < 2048 ? [] : ['PS256', 'PS384', 'PS512'];
    case 'ec':
      return { prime256v1: ['ES256'], secp384r1: ['ES384'], secp521r1: ['ES512'] }[String(namedCurve)] ?? [];
    case 'ed25519':
      return ['EdDSA', 'Ed25519'];
    default:
      return [];
  }
}
