import { verifies } from '@tollgate/testkit/verifies';
import { describe, expect, it } from 'vitest';
import type { Principal } from '../core/principal.ts';
import { metadataTransformer, redactTransformer } from './factories.ts';
import type { TransformedCall } from './registry.ts';

const CALL = { decisionId: 'tg-1', principal: { id: 'ci/ada', clientId: undefined } as Principal } as TransformedCall;

describe('metadataTransformer', () => {
  it('adds request id, client id and proxy name, and keeps what is there', () => {
    verifies('R1-36', 'R1-47');
    const result = { content: [], _meta: { 'server/own': 1 } };
    expect(metadataTransformer('edge')(CALL, result)).toEqual({
      content: [],
      _meta: { 'server/own': 1, 'tollgate/proxy': { requestId: 'tg-1', clientId: 'ci/ada', proxy: 'edge' } },
    });
    const named = { ...CALL, principal: { id: 'ci/ada', clientId: 'app' } as Principal };
    expect(metadataTransformer('edge')(named, { _meta: 'no object' })).toMatchObject({
      _meta: { 'tollgate/proxy': { clientId: 'app' } },
    });
  });
});

describe('redactTransformer', () => {
  it('replaces named members at any depth, in lists too', () => {
    verifies('R1-37', 'R1-47');
    const redact = redactTransformer(['password', 'api_key']);
    const value = { user: { Password: 'x', name: 'ada' }, rows: [{ apiKey: { a: 1 } }, ['password', 'API-KEY']] };
    expect(redact(CALL, value)).toEqual({
      user: { Password: '[redacted]', name: 'ada' },
      rows: [{ apiKey: '[redacted]' }, ['password', 'API-KEY']],
    });
  });

  it('says that nothing changed where nothing did, and takes deep values', () => {
    const redact = redactTransformer(['password']);
    expect(redact(CALL, { name: 'ada', list: [1, null] })).toBeUndefined();
    let deep: Record<string, unknown> = { password: 'x' };
    for (let i = 0; i < 50_000; i++) deep = { deep };
    expect(redact(CALL, deep)).toBe(deep);
  });

  it('refuses to be made without names', () => {
    expect(() => redactTransformer([])).toThrow(TypeError);
    expect(() => redactTransformer(['_'])).toThrow(TypeError);
  });
});
