import { expect, it } from 'vitest';
import { loadConfigObject } from './load.ts';

const SECRET = 'a-secret-of-more-than-32-characters-0123';
const jwt = { issuer: 'x', secret: SECRET, audience: 'gw' };

function load(who: string): string {
  try {
    loadConfigObject({
      servers: { s: { url: 'http://127.0.0.1:9/mcp' } },
      auth: [
        { name: 'corp', jwt, map: { tenant: 'org', tenants: ['acme', 'a/b'] } },
        { name: 'open', jwt: { ...jwt, issuer: 'y' }, map: { tenant: 'org' } },
        { name: 'flat', jwt: { ...jwt, issuer: 'z' } },
        { name: 'ci', bearer: { token: 'token-of-ci-0123456789', tenant: 'acme' } },
      ],
      access: [{ who, may: '*' }],
    });
    return '';
  } catch (error) {
    return String((error as Error).message);
  }
}

it.each([
  ['corp/ada', ''],
  ['corp@acme/ada', ''],
  ['corp@a%002fb/*', ''],
  ['c*@acme/*', ''],
  ['open@anything/ada', ''],
  ['ci@acme/ci', ''],
  ['corp@beta/ada', 'Their tenants are acme, a/b.'],
  ['flat@acme/ada', 'Write flat/ada.'],
  ['nobody@acme/ada', 'there is no auth entry "nobody"'],
  ['corp@acme/', 'it is empty'],
])('a rule for %s is refused only where nobody can be called so: %s', (who, words) => {
  if (words === '') expect(load(who)).toBe('');
  else expect(load(who)).toContain(words);
});
