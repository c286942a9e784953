import { verifies } from '@tollgate/testkit/verifies';
import { describe, expect, it } from 'vitest';
import { checkRouteScope, hasScope, scopeChallenge } from './scopes.ts';

describe('hasScope', () => {
  it.each([
    [['calculate'], 'calculate', true],
    [['*'], 'anything', true],
    [['admin:*'], 'admin:users', true],
    [['admin:*'], 'admin:users:read', true],
    [['admin:*'], 'admin', false],
    [['admin:*'], 'admin:', false],
    [['admin:*'], 'administrator:x', false],
    [['admin*'], 'admin:x', false],
    [['Calculate'], 'calculate', false],
    [[], 'calculate', false],
    [undefined, 'calculate', false],
  ])('%j covers %s: %s', (granted, required, expected) => {
    verifies('R1-20');
    expect(hasScope(granted, required)).toBe(expected);
  });
});

describe('checkRouteScope', () => {
  it('lets pass what needs no scope, also callers that know none', () => {
    expect(checkRouteScope(undefined, undefined)).toBeUndefined();
    expect(checkRouteScope(['calculate'], 'calculate')).toBeUndefined();
  });

  it('refuses with exactly the scope needed, anonymous callers included', () => {
    for (const granted of [undefined, [], ['read']]) {
      const refusal = checkRouteScope(granted, 'calculate')!;
      expect(refusal.code).toBe('insufficient_scope');
      expect(refusal.http).toBe(403);
      expect(refusal.data).toEqual({ reason: 'insufficient_scope', requiredScopes: ['calculate'] });
      expect(scopeChallenge(refusal, undefined)).toBe('Bearer error="insufficient_scope", scope="calculate"');
      expect(scopeChallenge(refusal, 'https://gw/.well-known/oauth-protected-resource/mcp')).toBe(
        'Bearer error="insufficient_scope", scope="calculate", resource_metadata="https://gw/.well-known/oauth-protected-resource/mcp"',
      );
    }
  });

  it('cannot be made to break out of the challenge', () => {
    const refusal = checkRouteScope([], 'a"b\\c\r\nd')!;
    expect(scopeChallenge(refusal, undefined)).toBe('Bearer error="insufficient_scope", scope="abcd"');
  });
});
