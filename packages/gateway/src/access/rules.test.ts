import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { identityOf, type Principal } from '../core/principal.ts';
import { readWho } from './options.ts';
import { EndpointAccess, type TierSource } from './rules.ts';

const principal = (init: Partial<Principal> = {}): Principal => ({
  id: 'corp/ada',
  person: 'corp/ada',
  key: 1,
  lanes: [0, 1],
  entry: 'corp',
  subject: 'ada',
  tenant: undefined,
  tier: undefined,
  roles: [],
  scopes: [],
  clientId: undefined,
  ...init,
});
const within = (tenant: string, subject: string) => ({
  ...identityOf({ person: `corp/${subject}`, tenant }),
  subject,
  tenant,
});
const ACME = within('acme', 'ada');
const tiers = { version: 0, of: ({ tier }: { tier: string | undefined }) => tier ?? 'default' };
const rule = (
  who: string,
  may: string,
  more: { when?: string; kinds?: readonly ['tool']; endpoint?: string } = {},
) => ({
  who: [readWho(who)!],
  may: [may.includes('/') ? may : `*/${may}`],
  kinds: more.kinds,
  endpoint: more.endpoint === undefined ? undefined : [more.endpoint],
  when: more.when,
});
const entry = (canonicalId: string) => ({ canonicalId, server: canonicalId.slice(0, canonicalId.indexOf('/')) });
const endpoint = (rules: ReturnType<typeof rule>[], source: TierSource = tiers) =>
  new EndpointAccess(rules, '/mcp', () => source);

describe('who a rule is for', () => {
  it.each([
    ['everyone', {}, true],
    ['role:eng*', { roles: ['user', 'engineer'] }, true],
    ['role:engineer', { roles: ['Engineer'] }, false],
    ['tenant:acme', { tenant: 'acme' }, true],
    ['tenant:*', {}, false],
    ['tier:gold', { tier: 'gold' }, true],
    ['tier:default', {}, true],
    ['client:*', {}, false],
    ['client:cursor', { clientId: 'cursor' }, true],
    ['entry:corp', {}, true],
    ['anonymous', { id: 'anonymous/10.0.0.1', entry: 'anonymous' }, true],
    ['anonymous', {}, false],
    ['corp/ada', {}, true],
    ['corp/*', {}, true],
    ['*/ada', {}, true],
    ['corp/ad', {}, false],
    ['corp/ada', ACME, true],
    ['c*/a*', ACME, true],
    ['corp@acme/ada', ACME, true],
    ['corp@acme/*', ACME, true],
    ['c*@a*/ada', ACME, true],
    ['corp@acme/ada', {}, false],
    ['corp@*/ada', {}, false],
    ['corp@beta/ada', ACME, false],
    ['corp@acme/ada', within('50%', 'ada'), false],
    ['corp@50%/ada', within('50%', 'ada'), true],
    ['corp@5*/ada', within('50%', 'ada'), true],
    // What a tenant or a subject is called cannot reach over the slash.
    ['corp@acme/ada', within('x', 'acme/ada'), false],
    ['corp@*/ada', within('acme', 'x/ada'), false],
    ['corp@acme/ada', within('acme/ada', 'x'), false],
  ] as const)('%s and %j: %s', (who, init, expected) => {
    const access = endpoint([rule(who, '*')]);
    expect(access.of(principal(init)).standing('tool', entry('s/t'))).toBe(expected ? 'open' : 'hidden');
  });

  it.each(['ada', 'rolle:x', 'role:', 'tenant', '', ':x', '/x'])('cannot be "%s"', (text) => {
    expect(readWho(text)).toBeUndefined();
  });
});

describe('a decision', () => {
  it('is the same for all callers of a class, and made anew when a tier changes', () => {
    const source = { version: 0, tier: 'default', of: () => source.tier };
    const access = endpoint([rule('tier:gold', 's/*'), rule('everyone', 's/free')], source);
    const [ada, bob] = [principal(), principal({ id: 'corp/bob', person: 'corp/bob' })];
    expect(access.of(ada)).toBe(access.of(bob));
    expect(access.of(ada).standing('tool', entry('s/t'))).toBe('hidden');
    source.tier = 'gold';
    source.version++;
    expect(access.of(ada).standing('tool', entry('s/t'))).toBe('open');
  });

  it('does not give what a condition on the caller gave one to another of its class', () => {
    const access = endpoint([rule('everyone', 's/*', { when: "caller.id == 'corp/ada' && tool == 's/t'" })]);
    const t = entry('s/t');
    expect(access.of(principal()).standing('tool', t)).toBe('open');
    expect(access.of(principal({ id: 'corp/bob', person: 'corp/bob' })).standing('tool', t)).toBe('hidden');
  });

  it('reads verified claims, and a claim that is not there denies', () => {
    const access = endpoint([rule('everyone', 's/*', { when: 'caller.claims.level >= 3' })]);
    const standing = (claims?: Record<string, unknown>) =>
      access.of(principal(claims === undefined ? {} : { claims })).standing('tool', entry('s/t'));
    expect([standing({ level: 3 }), standing({ level: 2 }), standing({}), standing()]).toEqual([
      'open',
      'hidden',
      'hidden',
      'hidden',
    ]);
  });

  it('is hidden, open or asks, as the rules that cover the name say', () => {
    const rules = [
      rule('everyone', 's/ask', { when: 'args.n < 3' }),
      rule('everyone', 's/both', { when: 'args.n < 3' }),
      rule('everyone', 's/both'),
      rule('everyone', 's/tool', { kinds: ['tool'] }),
      rule('everyone', 's/far', { endpoint: '/other' }),
    ];
    const caller = endpoint(rules).of(principal());
    const of = (name: string, kind: 'tool' | 'prompt' = 'tool') => caller.standing(kind, entry(`s/${name}`));
    expect([of('ask'), of('both'), of('tool'), of('tool', 'prompt'), of('far')]).toEqual([
      'asks',
      'open',
      'open',
      'hidden',
      'hidden',
    ]);
    expect([caller.reaches('s'), caller.reaches('t'), caller.coversAll('s')]).toEqual([true, false, false]);
    expect(
      endpoint([rule('everyone', 's/*')])
        .of(principal())
        .coversAll('s'),
    ).toBe(true);
    expect(
      endpoint([rule('everyone', 's/*', { when: 'true' })])
        .of(principal())
        .coversAll('s'),
    ).toBe(false);
  });

  it('agrees with asking every rule by itself', () => {
    const who = fc.constantFrom('everyone', 'role:a', 'role:b', 'tenant:x', 'corp/*', 'entry:other');
    const may = fc.constantFrom('*', 's/*', 's/a', 't/*', 'a', 's/b*');
    const when = fc.constantFrom(undefined, 'args.n == 1', "caller.tenant == 'x'", "server == 's'", 'args.missing');
    const caller = fc.record({
      roles: fc.subarray(['a', 'b']),
      tenant: fc.constantFrom(undefined, 'x', 'y'),
    });
    const one = fc.tuple(who, may, when).map(([w, m, c]) => rule(w, m, c === undefined ? {} : { when: c }));
    fc.assert(
      fc.property(
        fc.array(one, { maxLength: 5 }),
        fc.array(caller, { minLength: 1, maxLength: 4 }),
        (rules, callers) => {
          const together = endpoint(rules);
          for (const init of callers) {
            for (const id of ['s/a', 's/bc', 't/a']) {
              const asked = { method: 'tools/call', arguments: '{"n":1}' };
              const object = entry(id);
              const expected = rules.some((single) =>
                endpoint([single]).permits(principal(init), 'tool', object, asked),
              );
              expect(together.permits(principal(init), 'tool', object, asked)).toBe(expected);
            }
          }
        },
      ),
      { numRuns: 100 },
    );
  });
});
