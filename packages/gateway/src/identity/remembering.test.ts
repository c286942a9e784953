import { verifies } from '@tollgate/testkit/verifies';
import { describe, expect, it, vi } from 'vitest';
import { TollgateError } from '../core/errors.ts';
import type { Principal } from '../core/principal.ts';
import { createIdentity } from './identity.ts';
import type { AuthMethod, Outcome } from './method.ts';
import type { BearerEntry } from './options.ts';
import { configuredPrincipal } from './principals.ts';
import { CredentialMemory, Remembered } from './remembered.ts';
import { bench, SECRET, token, tokenEntry } from './testing.ts';

const CI: BearerEntry = {
  kind: 'bearer',
  name: 'ci',
  token: 'static-token-of-ci',
  subject: 'ci',
  tenant: undefined,
  tier: undefined,
  roles: [],
  scopes: [],
};

describe('a token seen before', () => {
  it('is told at once, as the same object, by connection and by text', async () => {
    verifies('R1-54');
    const { identity, accepted } = bench([tokenEntry()]);
    const sent = `Bearer ${token()}`;
    const slot = { lastCaller: undefined };
    expect(identity.identify(sent, '/mcp', undefined, slot)).toBeInstanceOf(Promise);
    const who = await accepted(token());
    // Equal texts, not the same ones.
    const again = Buffer.from(sent).toString();
    expect(identity.identify(again, '/mcp', undefined)).toBe(who);
    expect(identity.identify(again, '/mcp', undefined, slot)).toBe(who);
    expect(slot.lastCaller).toBeDefined();
    expect(identity.identify(again, '/mcp', undefined, slot)).toBe(who);
    // What a connection remembers is of one text, one endpoint and one configuration.
    expect(identity.identify(`${again}x`, '/mcp', undefined, slot)).not.toBe(who);
    expect(identity.identify(again, '/team', undefined, slot)).not.toBe(who);
  });

  it('CVE-2026-35030: is known by all of its text, so two that share a long beginning are two', async () => {
    const { accepted, outcome } = bench([tokenEntry()]);
    const padding = 'p'.repeat(3000);
    const of = (sub: string) => token({ header: { padding }, claims: { sub } });
    const [ada, bob] = [of('ada'), of('bob')];
    const shared = [...ada].findIndex((letter, at) => letter !== bob[at]);
    expect(shared).toBeGreaterThan(4000);
    for (const [sent, id] of [
      [ada, 'idp/ada'],
      [bob, 'idp/bob'],
      [ada, 'idp/ada'],
      [bob, 'idp/bob'],
    ] as const) {
      expect((await accepted(sent)).id).toBe(id);
    }
    expect(await outcome(ada.slice(0, -43) + bob.slice(-43))).toBe('unauthorized');
    expect(await outcome(ada.slice(0, 1000))).toBe('unauthorized');
  });

  it('is verified once when it comes many times at once, and again after a minute at the latest', async () => {
    const calls: string[] = [];
    const { identity, clock } = withMethod((sent) => {
      calls.push(sent);
      return Promise.resolve({ principal: WHO, validUntil: START_OF.wall + calls.length * 60_000 });
    });
    const asked = Array.from({ length: 50 }, () => identity.identify('Bearer abc', '/mcp', undefined));
    expect(new Set(await Promise.all(asked))).toEqual(new Set([WHO]));
    expect(calls).toHaveLength(1);
    clock.advance(59_999);
    expect(identity.identify('Bearer abc', '/mcp', undefined)).toBe(WHO);
    clock.advance(1);
    expect(await identity.identify('bearer  abc', '/mcp', undefined)).toBe(WHO);
    expect(calls).toHaveLength(2);
    // Another spelling of the same credential needs no room of its own.
    expect(identity.identify('BEARER abc', '/mcp', undefined)).toBe(WHO);
    expect(calls).toHaveLength(2);
  });

  it('is verified again from the moment on at which its method takes something back, also while that is under way', async () => {
    const late = Promise.withResolvers<Outcome>();
    const answers: (Outcome | Promise<Outcome>)[] = [{ principal: WHO, validUntil: Infinity }, late.promise, undefined];
    const { identity, method } = withMethod(() => answers.shift());
    expect(identity.identify('Bearer abc', '/mcp', undefined)).toBe(WHO);
    expect(identity.identify('Bearer abc', '/mcp', undefined)).toBe(WHO);
    method.revision++;
    const asked = identity.identify('Bearer abc', '/mcp', undefined);
    method.revision++;
    late.resolve({ principal: WHO, validUntil: Infinity });
    expect(await asked).toBe(WHO);
    expect(identity.identify('Bearer abc', '/mcp', undefined)).toMatchObject({ code: 'unauthorized' });
  });

  it('says nothing to another configuration', async () => {
    const { identity, options, deps, accepted } = bench([tokenEntry()]);
    const slot = { lastCaller: undefined };
    const who = await accepted(token());
    expect(identity.identify(`Bearer ${token()}`, '/mcp', undefined, slot)).toBe(who);
    const rules = { audience: ['https://elsewhere.example'] };
    const next = createIdentity({ ...options, entries: [tokenEntry(undefined, rules)] }, deps, identity);
    expect(await next.identify(`Bearer ${token()}`, '/mcp', undefined, slot)).toMatchObject({ code: 'unauthorized' });
    expect(next.recognises(who, '/mcp')).toBe(false);
    const same = createIdentity({ ...options, endpointEntries: new Map([['/team', []]]) }, deps, identity);
    expect(same.recognises(who, '/mcp')).toBe(true);
    expect(same.recognises(who, '/team')).toBe(false);
  });
});

describe('what can be filled by strangers', () => {
  it('has bounds: what was accepted, and what is under verification; what was refused is not kept', async () => {
    const memory = new CredentialMemory(100);
    const method = { entry: 'x', revision: 0, verify: () => undefined };
    for (let i = 0; i < 1000; i++) memory.add(new Remembered(memory, `Bearer ${i}`, '/mcp', WHO, Infinity, method, 0));
    for (let i = 0; i < 50; i++) memory.add(new Remembered(memory, 'Bearer 999', `/e${i}`, WHO, Infinity, method, 0));
    expect(memory.size).toBeLessThanOrEqual(100);
    expect(memory.find('Bearer 999', '/e49')).toBeDefined();
    expect(memory.find('Bearer 999', '/mcp')).toBeUndefined();
    expect(memory.find('Bearer 1', '/mcp')).toBeUndefined();
    // Even where two credentials end alike, each is only itself.
    const end = 'e'.repeat(40);
    const [one, two] = [`Bearer a${end}`, `Bearer b${end}`].map(
      (text) => new Remembered(memory, text, '/mcp', WHO, Infinity, method, 0),
    );
    memory.add(one!);
    memory.add(two!);
    expect([one, two].map((each) => memory.find(each!.authorization, '/mcp'))).toEqual([one, two]);
    expect(memory.find(`Bearer c${end}`, '/mcp')).toBeUndefined();

    const { identity } = withMethod(() => new Promise(() => {}));
    const flood = Array.from({ length: 1100 }, (_, i) => identity.identify(`Bearer ${i}`, '/mcp', undefined));
    expect(flood.filter((one) => one instanceof Promise)).toHaveLength(1024);
    expect(flood.at(-1)).toMatchObject({ code: 'identity_unavailable', http: 503 });
  });

  it('waits for nobody: a method that never answers is a refusal after ten seconds, and makes room', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const { identity } = withMethod(() => new Promise(() => {}));
      const asked = Array.from({ length: 1024 }, (_, i) => identity.identify(`Bearer ${i}`, '/mcp', undefined));
      await vi.advanceTimersByTimeAsync(10_000);
      expect(await asked[0]).toMatchObject({ code: 'identity_unavailable', retryAfterSeconds: 5 });
      expect(identity.identify('Bearer next', '/mcp', undefined)).toBeInstanceOf(Promise);
    } finally {
      vi.useRealTimers();
    }
  });
});

describe('several methods', () => {
  it('are tried in the order of the file until one accepts; a credential that none accepts is nobody', async () => {
    verifies('R1-10', 'R1-11', 'R4-12');
    const first = tokenEntry(undefined, { audience: ['elsewhere'] }, 'first');
    const { accepted, outcome, ask } = bench([
      first,
      CI,
      tokenEntry(undefined, {}, 'second'),
      tokenEntry(undefined, {}, 'third'),
    ]);
    expect((await accepted(token())).entry).toBe('second');
    expect((await accepted(token({ claims: { aud: 'elsewhere' } }))).entry).toBe('first');
    expect((await accepted(CI.token)).id).toBe('ci/ci');
    expect(await outcome('static-token-of-c')).toBe('unauthorized');
    expect(await outcome(token({ claims: { exp: 1 } }))).toBe('unauthorized');
    expect(await ask(undefined)).toMatchObject({ id: 'anonymous' });
  });

  it('count at an endpoint only where it names them', async () => {
    const { outcome } = bench([CI, tokenEntry()], {
      endpointEntries: new Map([
        ['/mcp', ['idp']],
        ['/closed', []],
      ]),
    });
    expect(await outcome(token())).toBe('accepted');
    expect(await outcome(CI.token)).toBe('unauthorized');
    expect(await outcome(CI.token, '/other')).toBe('accepted');
    expect(await outcome(token(), '/closed')).toBe('unauthorized');
  });

  it('that are away do not keep others from accepting, and are said to be away when none does', async () => {
    const { identity } = withMethod(() => Promise.resolve<Outcome>('unavailable'), [CI]);
    expect(await identity.identify(`Bearer ${CI.token}`, '/mcp', undefined)).toMatchObject({ id: 'ci/ci' });
    expect(await identity.identify('Bearer other', '/mcp', undefined)).toMatchObject({
      code: 'identity_unavailable',
      http: 503,
      retryAfterSeconds: 5,
    });
  });
});

const START_OF = { wall: 0 };
let WHO: Principal;
{
  const { keys, clock } = bench([]);
  START_OF.wall = clock.wall();
  WHO = configuredPrincipal(keys, { ...CI, entry: 'other', clientId: undefined });
}

/** An identity whose first method is the test's own, as another room would give it. */
function withMethod(verify: (sent: string) => Outcome | Promise<Outcome>, more: readonly BearerEntry[] = []) {
  const method = { entry: 'made', revision: 0, verify } satisfies AuthMethod;
  const made = bench([]);
  const entry: BearerEntry = { ...CI, name: 'made', token: SECRET };
  const identity = createIdentity(
    { ...made.options, entries: [entry, ...more] },
    { ...made.deps, methods: ({ name }) => (name === 'made' ? [method] : []) },
  );
  return { ...made, identity, method };
}

it('refusals are errors of the closed list', async () => {
  const { ask } = bench([]);
  expect(TollgateError.is(await ask('x'))).toBe(true);
});
