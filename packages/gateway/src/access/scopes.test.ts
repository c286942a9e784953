import { verifies } from '@tollgate/testkit/verifies';
import { describe, expect, it } from 'vitest';
import { checkScopes, hasScope, scopesOf } from './scopes.ts';

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
    verifies('R1-20', 'C-13');
    expect(hasScope(granted, required)).toBe(expected);
  });
});

describe('checkScopes', () => {
  it('lets pass what needs no scope, also callers that know none', () => {
    expect(checkScopes(undefined, undefined, undefined)).toBeUndefined();
    expect(checkScopes(['calculate'], 'calculate')).toBeUndefined();
    expect(checkScopes(['calculate', 'team'], 'team', 'calculate')).toBeUndefined();
  });

  it('refuses with exactly the scope needed, anonymous callers included', () => {
    for (const granted of [undefined, [], ['read']]) {
      const refusal = checkScopes(granted, undefined, 'calculate')!;
      expect(refusal.code).toBe('insufficient_scope');
      expect(refusal.http).toBe(403);
      expect(refusal.data).toEqual({ reason: 'insufficient_scope', requiredScopes: ['calculate'] });
      expect(scopesOf(refusal)).toBe('calculate');
    }
  });

  it('names all that the operation needs at once, whichever of them is there', () => {
    for (const granted of [[], ['team'], ['calculate']]) {
      const refusal = checkScopes(granted, 'team', 'calculate')!;
      expect(scopesOf(refusal)).toBe('team calculate');
      expect(refusal.message).toContain('the scopes "team" and "calculate"');
    }
    expect(scopesOf(checkScopes([], 'team', 'team')!)).toBe('team');
  });
});
