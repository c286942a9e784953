import { expect, it } from 'vitest';
import { bearerChallenge } from './challenge.ts';

it('says only what there is to say, and cannot be broken out of', () => {
  const metadata = 'https://gw.example/.well-known/oauth-protected-resource/mcp';
  expect(bearerChallenge({})).toBe('Bearer');
  expect(bearerChallenge({ metadata })).toBe(`Bearer resource_metadata="${metadata}"`);
  expect(bearerChallenge({ error: 'insufficient_scope', scope: 'a b', metadata })).toBe(
    `Bearer error="insufficient_scope", scope="a b", resource_metadata="${metadata}"`,
  );
  expect(bearerChallenge({ scope: 'a"b\\c\r\nd' })).toBe('Bearer scope="abcd"');
});
