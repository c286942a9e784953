import { createPrivateKey } from 'node:crypto';
import type { Checks, ParsedConfig } from './check.ts';
import { doubt, type KeyPath, mistake } from './problems.ts';
import { isPlaceholder } from './secrets.ts';
import { isLoopback } from './units.ts';

type Server = ParsedConfig['servers'][string];
type Auth = Exclude<NonNullable<Server['auth']>, 'oauth'>;

const GRANTS = ['oauth', 'clientCredentials', 'tokenExchange', 'enterprise'] as const;

/** What the schema cannot see in the `auth` of a server. */
export function checkServerAuth(checks: Checks, path: KeyPath, { auth, headers }: Server): void {
  if (auth === undefined) return;
  const { findings } = checks;
  const at = [...path, 'auth'];
  if (Object.keys(headers ?? {}).some((header) => header.toLowerCase() === 'authorization')) {
    findings.push(mistake(at, '`auth` and an Authorization header contradict each other.', 'Remove one of them.'));
  }
  if (auth === 'oauth') return;
  checkCombination(checks, at, auth);
  checkOauth(checks, at, auth);
  for (const grant of ['clientCredentials', 'enterprise'] as const) {
    const client = auth[grant];
    if (client !== undefined) checkClient(checks, [...at, grant], client);
  }
  const { tokenExchange, enterprise } = auth;
  if (tokenExchange !== undefined && tokenExchange.clientSecret !== undefined && tokenExchange.clientId === undefined) {
    findings.push(mistake([...at, 'tokenExchange', 'clientSecret'], 'A secret needs its client.', 'Write `clientId`.'));
  }
  const secrets: [KeyPath, string | undefined][] = [
    [[...at, 'oauth', 'clientSecret'], auth.oauth?.clientSecret],
    [[...at, 'tokenExchange', 'clientSecret'], tokenExchange?.clientSecret],
    [[...at, 'enterprise', 'idp', 'clientSecret'], enterprise?.idp.clientSecret],
  ];
  for (const [where, value] of secrets) judge(checks, where, value);
}

function checkCombination({ findings, config }: Checks, at: KeyPath, auth: Auth): void {
  const written = GRANTS.filter((grant) => auth[grant] !== undefined);
  const [first, second] = written;
  if (first === undefined) {
    findings.push(mistake(at, 'This names no way to get a token.', `Write one of ${GRANTS.join(', ')}.`));
    return;
  }
  const perCaller = auth.tokenExchange !== undefined || auth.enterprise !== undefined || auth.oauth?.mode === 'user';
  const forLists = perCaller && auth.clientCredentials !== undefined;
  if (second !== undefined && !(forLists && written.length === 2)) {
    findings.push(
      mistake(
        at,
        `${written.join(' and ')} exclude each other.`,
        'Keep one. `clientCredentials` may stand beside a grant per caller, to read the lists.',
      ),
    );
  }
  if (perCaller && (config.auth === undefined || config.auth.every((entry) => entry.anonymous !== undefined))) {
    findings.push(
      doubt(
        at,
        'Each caller needs an account of its own, and over HTTP every caller is anonymous.',
        'Configure `auth`.',
      ),
    );
  }
}

/** Links to the pages of accounts, and the codes that come back to them, need an address that is right and encrypted. */
function checkPages(checks: Checks, at: KeyPath): void {
  const { config, findings } = checks;
  const { publicUrl, listen } = config;
  if (checks.isDamaged('publicUrl') || checks.isDamaged('listen')) return;
  if (publicUrl === undefined) {
    if (isLoopback(listen.host)) return;
    const what = 'Callers get links to a page of this gateway, and must be able to open them.';
    findings.push(mistake([...at, 'mode'], what, 'Write publicUrl: https://your-host.'));
  } else if (publicUrl.startsWith('http:') && !isLoopback(new URL(publicUrl).hostname.replace(/^\[|\]$/g, ''))) {
    findings.push(
      mistake(['publicUrl'], 'Sign-ins of callers at servers would travel unencrypted.', 'Write https://.'),
    );
  }
}

function checkOauth(checks: Checks, at: KeyPath, { oauth }: Auth): void {
  if (oauth === undefined) return;
  const { findings } = checks;
  const here = [...at, 'oauth'];
  if (oauth.mode === 'user') checkPages(checks, here);
  if (oauth.clientSecret !== undefined && oauth.clientId === undefined) {
    findings.push(mistake([...here, 'clientSecret'], 'A secret needs its client.', 'Write `clientId`.'));
  }
  if (oauth.clientId !== undefined && oauth.issuer === undefined) {
    findings.push(
      mistake(
        [...here, 'clientId'],
        'A registered client belongs to one authorization server.',
        'Write `issuer`: the client is used there and nowhere else.',
      ),
    );
  }
  if (oauth.clientMetadataUrl !== undefined && !/^https:\/\/[^/]+\/./.test(oauth.clientMetadataUrl)) {
    findings.push(
      mistake([...here, 'clientMetadataUrl'], 'A client id metadata document has an https URL with a path.'),
    );
  }
}

function checkClient(checks: Checks, at: KeyPath, client: NonNullable<Auth['clientCredentials']>): void {
  const { findings } = checks;
  const { clientSecret, privateKey, algorithm } = client;
  if ((clientSecret === undefined) === (privateKey === undefined)) {
    findings.push(
      mistake(at, 'A client has a secret or a private key.', 'Write `clientSecret` or `privateKey`, one of them.'),
    );
  }
  judge(checks, [...at, 'clientSecret'], clientSecret);
  if (privateKey === undefined) {
    if (algorithm !== undefined)
      findings.push(mistake([...at, 'algorithm'], 'This is for a private key.', 'Remove it.'));
  } else if (signingAlgorithm(privateKey) === undefined) {
    findings.push(
      mistake(
        [...at, 'privateKey'],
        'This is no private key that can sign (PKCS #8 in PEM: RSA, P-256, P-384, Ed25519).',
      ),
    );
  }
}

/** The algorithm that a key is for; undefined: it cannot be read, or is for something else. */
export function signingAlgorithm(pem: string): string | undefined {
  try {
    const key = createPrivateKey(pem);
    if (key.asymmetricKeyType === 'rsa') return 'RS256';
    if (key.asymmetricKeyType === 'ed25519') return 'EdDSA';
    const curve = key.asymmetricKeyDetails?.namedCurve;
    return curve === 'prime256v1' ? 'ES256' : curve === 'secp384r1' ? 'ES384' : undefined;
  } catch {
    return undefined;
  }
}

function judge({ findings, variable }: Checks, path: KeyPath, value: string | undefined): void {
  if (value === undefined || !isPlaceholder(value)) return;
  findings.push(doubt(path, 'This is a placeholder, not a secret.', `Write ${variable} and set the variable.`));
}
