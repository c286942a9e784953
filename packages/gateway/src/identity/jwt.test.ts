import '@tollgate/testkit/property-seed';
import { verifies } from '@tollgate/testkit/verifies';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { AuthEntry } from './options.ts';
import { subjectToken } from './subject-token.ts';
import {
  bench,
  claims,
  GATEWAY,
  ISSUER,
  jwkOf,
  newKey,
  pemOf,
  rawToken,
  SECRET,
  START,
  token,
  tokenEntry,
} from './testing.ts';

const RSA = newKey('RS256');
const P256 = newKey('ES256');
const ED = newKey('EdDSA');
const inline = (...keys: Record<string, unknown>[]) => ({ kind: 'inline' as const, jwks: { keys } });
const pem = (key: typeof RSA) => ({ kind: 'publicKey' as const, pem: pemOf(key) });

describe('a signed token', () => {
  it.each([
    'HS256',
    'HS384',
    'RS256',
    'RS384',
    'PS256',
    'ES256',
    'ES384',
    'EdDSA',
  ])('with %s is accepted from its issuer alone', async (algorithm) => {
    verifies('R1-08', 'R1-09', 'R2-16');
    const key = algorithm.startsWith('HS') ? undefined : newKey(algorithm);
    const other = key === undefined ? undefined : newKey(algorithm);
    const of = (signer: typeof key, secret: string) =>
      rawToken(JSON.stringify({ alg: algorithm }), JSON.stringify(claims()), algorithm, signer?.privateKey ?? secret);
    const keys = key === undefined ? { kind: 'secret' as const, secret: SECRET } : inline(jwkOf(key, { kid: 'a' }));
    const { accepted, outcome } = bench([tokenEntry(keys, { algorithms: [algorithm] })]);
    expect((await accepted(of(key, SECRET))).id).toBe('idp/ada');
    expect(await outcome(of(other, `${SECRET}x`))).toBe('unauthorized');
  });

  it('that is refused has its reason in the log, and nothing of itself', async () => {
    const { outcome, logged } = bench([tokenEntry()]);
    const refused = token({ claims: { aud: 'https://elsewhere.example/mcp' } });
    expect(await outcome(refused)).toBe('unauthorized');
    expect(await outcome(token({ claims: { exp: 1 } }))).toBe('unauthorized');
    expect(logged[0]).toContain('aud does not name what is called');
    expect(logged[1]).toContain('exp is over or missing');
    expect(logged.join()).not.toMatch(/elsewhere|ey[A-Za-z0-9]/);
  });

  it('makes the principal: subject, client, scopes in every spelling, frozen claims, end', async () => {
    verifies('R1-12', 'R1-13', 'C-13', 'C-14');
    const { accepted } = bench([tokenEntry()]);
    const sent = token({
      claims: {
        scope: 'read write',
        scopes: ['admin:*'],
        scp: 'x y',
        azp: 'app',
        nested: { list: [{ a: 1 }] },
        tenant: 'acme',
        roles: ['admin'],
      },
    });
    const who = await accepted(sent);
    expect(who).toMatchObject({
      id: 'idp/ada',
      subject: 'ada',
      clientId: 'app',
      issuer: ISSUER,
      expiresAt: START + 3_660_000,
      scopes: ['read', 'write', 'admin:*', 'x', 'y'],
      // Nothing but what the entry maps means anything.
      tenant: undefined,
      tier: undefined,
      roles: [],
    });
    expect(Object.isFrozen((who.claims!['nested'] as { list: object[] }).list[0])).toBe(true);
    expect(JSON.stringify(who)).not.toContain(sent.slice(-20));
    expect(subjectToken(who)).toBe(sent);
    expect(await accepted(token({ claims: { client_id: 'cli', azp: 'app', scp: ['a', 'b'] } }))).toMatchObject({
      clientId: 'cli',
      scopes: ['a', 'b'],
    });
  });

  it('of one subject has one key, however many there are, and another subject never', async () => {
    verifies('R3-12');
    const { accepted } = bench([tokenEntry(), tokenEntry(undefined, { issuer: 'https://other.example' }, 'other')]);
    const first = await accepted(token());
    const second = await accepted(token({ claims: { jti: '2', scope: 'x' } }));
    const stranger = await accepted(token({ claims: { sub: 'bob' } }));
    const namesake = await accepted(token({ claims: { iss: 'https://other.example' } }));
    expect(second).not.toBe(first);
    expect(second.key).toBe(first.key);
    expect(second.lanes).toEqual(first.lanes);
    expect(new Set([first.key, stranger.key, namesake.key]).size).toBe(3);
    expect(namesake.id).toBe('other/ada');
  });
});

describe('what is refused', () => {
  const hmac = (header: string, payload = JSON.stringify(claims()), secret: string = SECRET) =>
    rawToken(header, payload, 'HS256', secret);
  const good = token();
  const [head = '', body = '', tail = ''] = good.split('.');
  const text = JSON.stringify(claims());
  const HEAD = '{"alg":"HS256"}';
  const rsa = (header: Record<string, unknown>, key = RSA) =>
    rawToken(JSON.stringify({ alg: 'RS256', ...header }), text, 'RS256', key.privateKey);
  const forged = newKey('RS256');
  const pemText = pemOf(RSA);

  const CORPUS: Readonly<Record<string, string>> = {
    'alg none, no signature': `${Buffer.from('{"alg":"none"}').toString('base64url')}.${body}.`,
    'alg None': hmac('{"alg":"None"}'),
    'alg nOnE with a signature': hmac('{"alg":"nOnE"}'),
    'alg empty': hmac('{"alg":""}'),
    'alg absent': hmac('{"typ":"JWT"}'),
    'alg a list': hmac('{"alg":["HS256"]}'),
    'alg in lower case': hmac('{"alg":"hs256"}'),
    'alg with a blank': hmac('{"alg":"HS256 "}'),
    'another HMAC than configured': rawToken('{"alg":"HS512"}', text, 'HS512', SECRET),
    'HMAC with the PEM of the public key': hmac(HEAD, text, pemText),
    'HMAC with the trimmed PEM': hmac(HEAD, text, pemText.trim()),
    'HMAC with the JWK as text': hmac(HEAD, text, JSON.stringify(jwkOf(RSA))),
    'HMAC with the modulus': hmac(HEAD, text, String(jwkOf(RSA)['n'])),
    'HMAC with an empty key': hmac(HEAD, text, ''),
    'RS256 claimed over an HMAC': hmac('{"alg":"RS256"}'),
    'key in the header (jwk)': rsa({ jwk: jwkOf(forged) }, forged),
    'key at a URL (jku)': rsa({ jku: 'https://canary.example/jwks' }, forged),
    'certificate at a URL (x5u)': rsa({ x5u: 'https://canary.example/x5u' }, forged),
    'jku beside a good signature': rsa({ jku: 'https://canary.example/jwks', kid: 'a' }),
    'crit of an unknown extension': hmac('{"alg":"HS256","crit":["exp"],"exp":1}'),
    'crit empty': hmac('{"alg":"HS256","crit":[]}'),
    'unencoded payload (b64)': hmac('{"alg":"HS256","b64":false,"crit":["b64"]}'),
    'compressed (zip)': hmac('{"alg":"HS256","zip":"DEF"}'),
    'encrypted (enc)': hmac('{"alg":"HS256","enc":"A256GCM"}'),
    'duplicate member in the header': hmac('{"alg":"none","alg":"HS256"}'),
    'duplicate claim': hmac(HEAD, text.replace('"sub":"ada"', '"sub":"ada","sub":"root"')),
    'duplicate claim, deep': hmac(HEAD, text.replace('{', '{"x":{"a":1,"\\u0061":2},')),
    'payload a list': hmac(HEAD, `[${text}]`),
    'payload null': hmac(HEAD, 'null'),
    'payload not JSON': hmac(HEAD, `${text}}`),
    'payload with something behind': hmac(HEAD, `${text} {}`),
    'payload that would break out of another': hmac(HEAD, `${text}},"x":{`),
    'payload in invalid UTF-8': rawBytes(
      HEAD,
      Buffer.from([...Buffer.from(text.slice(0, -1)), ...Buffer.from(',"x":"'), 0xff, 0x22, 0x7d]),
    ),
    'payload with a BOM': hmac(HEAD, `\ufeff${text}`),
    'header not JSON': hmac('{alg:"HS256"}'),
    'header a text': hmac('"HS256"'),
    'kid a number': hmac('{"alg":"HS256","kid":1}'),
    'kid an object': hmac('{"alg":"HS256","kid":{"toString":"x"}}'),
    'typ a list': hmac('{"alg":"HS256","typ":["JWT"]}'),
    'two parts': `${head}.${body}`,
    'four parts': `${good}.x`,
    'five parts (JWE)': `${head}.x.x.x.x`,
    'empty signature': `${head}.${body}.`,
    'truncated signature': good.slice(0, -4),
    'signature with padding': `${good}=`,
    'signature in another spelling': `${good.slice(0, -1)}${respelled(good.at(-1)!)}`,
    'signature in the alphabet with + and /': `${head}.${body}.${Buffer.from(tail, 'base64url').toString('base64')}`,
    'header with a blank': `${head} .${body}.${tail}`,
    'signature of another payload': `${head}.${Buffer.from(JSON.stringify(claims({ sub: 'root' }))).toString('base64url')}.${tail}`,
    'a JSON serialization': JSON.stringify({ protected: head, payload: body, signature: tail }).replaceAll(' ', ''),
    'more than 8 kB': hmac(HEAD, JSON.stringify(claims({ x: 'x'.repeat(9000) }))),
    'deep nesting': hmac(HEAD, text.replace('{', `{"x":${'['.repeat(200)}${']'.repeat(200)},`)),
    'SQL in place of a token': `x'OR'1'='1`,
    'path in place of a token': '../../etc/passwd',
  };

  it('is the whole corpus of broken and forged tokens: 401, never anonymous, and nothing is fetched for it', async () => {
    verifies('R1-11');
    const entries: AuthEntry[] = [
      tokenEntry(undefined, {}, 'hs'),
      tokenEntry(inline(jwkOf(RSA, { kid: 'a' }), jwkOf(P256, { kid: 'b' })), {}, 'set'),
      tokenEntry(pem(RSA), { algorithms: ['RS256'] }, 'pem'),
    ];
    const { outcome, accepted, issuer, logged } = bench(entries);
    const got = Object.fromEntries(
      await Promise.all(Object.entries(CORPUS).map(async ([what, sent]) => [what, await outcome(sent)] as const)),
    );
    expect(got).toEqual(Object.fromEntries(Object.keys(CORPUS).map((what) => [what, 'unauthorized'])));
    expect(issuer.asked).toEqual([]);
    expect((await accepted(good)).entry).toBe('hs');
    expect((await accepted(rsa({ kid: 'a' }))).entry).toBe('set');
    expect((await accepted(rsa({ kid: 'unknown' }))).entry).toBe('pem');
    // Nor does a log tell any of it on.
    for (const sent of [...Object.values(CORPUS), good, SECRET])
      expect(logged.join('\n')).not.toContain(sent.slice(-30));
  });

  it('is a key id that is anything but the id of a key', async () => {
    const { outcome, issuer } = bench([tokenEntry(inline(jwkOf(RSA, { kid: 'a' }), jwkOf(forged, { kid: 'b' })))]);
    for (const kid of [
      '../../dev/null',
      "a' UNION SELECT 'x",
      '__proto__',
      'constructor',
      'toString',
      'x'.repeat(4000),
      'a\0',
      'A',
      '',
      ' a',
      '0',
    ]) {
      expect(await outcome(rsa({ kid })), kid.slice(0, 20)).toBe('unauthorized');
    }
    expect(await outcome(rsa({ kid: 'b' }))).toBe('unauthorized');
    // Two keys would do: which one is meant is not guessed.
    expect(await outcome(rsa({}))).toBe('unauthorized');
    expect(await outcome(rsa({ kid: 'a' }))).toBe('accepted');
    expect(issuer.asked).toEqual([]);
  });

  it('CVE-2026-22817: an algorithm that only the token names, also where the key names none', async () => {
    const { alg: _, ...bare } = jwkOf(RSA, { kid: 'a' });
    const { outcome } = bench([tokenEntry(inline(bare), { algorithms: ['RS256'] })]);
    const signed = (alg: string, key: typeof RSA.privateKey | string) =>
      rawToken(JSON.stringify({ alg, kid: 'a' }), text, alg, key);
    expect(await outcome(signed('RS256', RSA.privateKey))).toBe('accepted');
    expect(await outcome(signed('RS512', RSA.privateKey))).toBe('unauthorized');
    expect(await outcome(signed('PS256', RSA.privateKey))).toBe('unauthorized');
    for (const secret of [JSON.stringify(bare), pemText, String(bare['n'])]) {
      expect(await outcome(signed('HS256', secret))).toBe('unauthorized');
    }
  });

  it('is a claim that is missing, of another kind, or of another value', async () => {
    verifies('R2-16');
    const entry = tokenEntry(undefined, { require: ['iat'] });
    const { outcome, accepted } = bench([entry]);
    const now = START / 1000;
    const base = claims({ iat: now, nbf: now });
    const signed = (all: Record<string, unknown>) => hmac(HEAD, JSON.stringify(all));
    const isRight: Readonly<Record<string, (value: unknown) => boolean>> = {
      iss: (value) => value === ISSUER,
      aud: (value) => [value].flat().includes(`${GATEWAY}/mcp`),
      exp: (value) => typeof value === 'number' && value * 1000 + 60_000 > START && value < 1e11,
      nbf: (value) =>
        value === undefined || (typeof value === 'number' && value >= 0 && value * 1000 - 60_000 <= START),
      sub: (value) =>
        typeof value === 'string' && /^\S.*\S$|^\S$/.test(value) && !/\p{C}/u.test(value) && value.length <= 256,
      iat: (value) => value !== undefined && value !== null,
    };
    expect((await accepted(signed(base))).id).toBe('idp/ada');
    const times = fc.oneof(
      fc.integer({ min: -100, max: 100 }).map((s) => now + s),
      fc.double({ noNaN: true, noDefaultInfinity: true }),
    );
    const values = fc.oneof(
      fc.constantFrom(
        undefined,
        null,
        true,
        '',
        ' ',
        [],
        {},
        ISSUER,
        `${ISSUER}/`,
        `${GATEWAY}/mcp`,
        `${GATEWAY}/mcp/`,
        [`${GATEWAY}/team`],
        [`${GATEWAY}/mcp`, 'x'],
        String(now + 60),
      ),
      times,
      fc.string({ maxLength: 20 }),
    );
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...Object.keys(isRight)), values, async (name, value) => {
        const { [name]: _, ...others } = base;
        // As it arrives: what JSON cannot say is not there.
        const arrives = value === undefined ? undefined : (JSON.parse(JSON.stringify(value)) as unknown);
        const sent = signed(value === undefined ? others : { ...others, [name]: value });
        expect(await outcome(sent)).toBe(isRight[name]!(arrives) ? 'accepted' : 'unauthorized');
      }),
      { numRuns: process.env['TOLLGATE_PROOF'] === 'full' ? 20_000 : 400 },
    );
  });

  it('is a type, a scope or a claim other than the entry asks for', async () => {
    verifies('X4-04');
    const rules = { type: 'at+jwt', scopes: ['zaxy:mcp'], require: ['iat'], algorithms: ['RS256', 'ES256'] };
    const { outcome } = bench([tokenEntry(inline(jwkOf(P256)), rules)]);
    const full = { iat: 1, scp: ['zaxy:mcp'] };
    const sent = (header: Record<string, unknown>, more: Record<string, unknown>) =>
      token({ key: P256, header, claims: more });
    expect(await outcome(sent({ typ: 'at+jwt' }, full))).toBe('accepted');
    expect(await outcome(sent({ typ: 'application/AT+JWT' }, { ...full, scp: undefined, scope: 'a zaxy:mcp' }))).toBe(
      'accepted',
    );
    expect(await outcome(sent({ typ: 'JWT' }, full))).toBe('unauthorized');
    expect(await outcome(sent({ typ: undefined }, full))).toBe('unauthorized');
    expect(await outcome(sent({ typ: 'at+jwt' }, { ...full, iat: undefined }))).toBe('unauthorized');
    expect(await outcome(sent({ typ: 'at+jwt' }, { ...full, scp: 'zaxy:mcp2' }))).toBe('unauthorized');
  });

  it('does not become an exception, nor wait, where a key cannot have signed it', async () => {
    const { outcome } = bench([
      tokenEntry(pem(P256), { algorithms: ['RS256', 'ES256', 'EdDSA'] }, 'a'),
      tokenEntry(pem(ED), { algorithms: ['RS256', 'ES256', 'EdDSA'] }, 'b'),
    ]);
    expect(await outcome(rsa({}))).toBe('unauthorized');
    expect(await outcome(token({ key: ED }))).toBe('accepted');
  });

  function rawBytes(header: string, payload: Buffer): string {
    const made = rawToken(header, 'PAYLOAD', 'HS256', SECRET).split('.')[0]!;
    const input = `${made}.${payload.toString('base64url')}`;
    return `${input}.${rawToken(header, 'x', 'HS256', SECRET).split('.')[2]}`;
  }
  function respelled(last: string): string {
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    // 32 bytes leave two bits of the last character unused.
    return alphabet[alphabet.indexOf(last) + 1]!;
  }
});

describe('the audience', () => {
  it('CVE-2025-69196: is the endpoint that is called, so a token for /mcp is refused at /team, also when it was just accepted', async () => {
    verifies('R1-11');
    const { outcome, accepted } = bench([tokenEntry()]);
    const sent = token();
    expect(await outcome(sent, '/team')).toBe('unauthorized');
    await accepted(sent);
    await accepted(sent);
    expect(await outcome(sent, '/team')).toBe('unauthorized');
    expect(await outcome(sent, '')).toBe('unauthorized');
    expect(await outcome(sent, '/mcp/')).toBe('unauthorized');
    const both = token({ claims: { aud: [`${GATEWAY}/mcp`, `${GATEWAY}/team`] } });
    expect(await Promise.all(['/team', '/mcp', '/team', ''].map((path) => outcome(both, path)))).toEqual([
      'accepted',
      'accepted',
      'accepted',
      'unauthorized',
    ]);
    expect(await outcome(token({ claims: { aud: GATEWAY } }), '')).toBe('accepted');
    for (const aud of [GATEWAY, `${GATEWAY}/`, '/mcp', `${GATEWAY}/MCP`, `${GATEWAY}/mcp?x`, '*', '']) {
      expect(await outcome(token({ claims: { aud } })), aud).toBe('unauthorized');
    }
  });

  it('may be configured, as one or as a list', async () => {
    const { outcome } = bench([tokenEntry(undefined, { audience: ['api://tollgate', 'other'] })]);
    expect(await outcome(token({ claims: { aud: ['x', 'api://tollgate'] } }), '/team')).toBe('accepted');
    expect(await outcome(token())).toBe('unauthorized');
  });
});

describe('the end of a token', () => {
  it('comes with `exp` and the skew, and ends what is remembered of it to the millisecond', async () => {
    verifies('X1-06');
    const { accepted, outcome, clock } = bench([tokenEntry()]);
    const sent = token({ claims: { exp: START / 1000 + 30 } });
    const who = await accepted(sent);
    clock.advance(90_000 - 1);
    expect((await accepted(sent)).key).toBe(who.key);
    clock.advance(1);
    expect(await outcome(sent)).toBe('unauthorized');
  });

  it('is none for a static token, whose identity is what the entry says', async () => {
    const entry = { kind: 'bearer', name: 'x', token: 'static-token-0123456789', subject: 'ada' } as const;
    const { accepted } = bench([{ ...entry, tenant: undefined, tier: undefined, roles: [], scopes: ['read'] }]);
    const who = await accepted(entry.token);
    expect(who).toMatchObject({ subject: 'ada', scopes: ['read'] });
    expect(who.expiresAt).toBeUndefined();
  });

  it('is not looked at where the entry says so', async () => {
    verifies('X1-06');
    const { accepted, clock } = bench([tokenEntry(undefined, { verifyExpiry: false })]);
    const who = await accepted(token({ claims: { exp: 1 } }));
    expect(who.expiresAt).toBeUndefined();
    clock.advance(1e9);
    await accepted(token({ claims: { exp: undefined } }));
  });
});
