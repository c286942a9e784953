import fc from 'fast-check';
import { describe, it } from 'vitest';
import type { Rule, RuleOptions } from '../types.ts';
import { ModelLimiter } from './model.ts';
import { type Given, HOUR, type Mention, Stand } from './stand.ts';

const anyCall = fc.record({
  operation: fc.constantFrom('decide', 'decide', 'hold', 'take', 'settle', 'release', 'again'),
  costs: fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 4, maxLength: 4 }),
  /** Whose hold: one of the own or of another client, so that two end the same one. */
  client: fc.nat(2),
  number: fc.nat(2),
  actual: fc.integer({ min: 0, max: 8 }),
});

type Call = typeof anyCall extends fc.Arbitrary<infer T> ? T : never;

const RULES: readonly RuleOptions[] = [
  { algorithm: 'token-bucket', name: 'bucket', limit: 12, periodMs: 60_000 },
  { algorithm: 'sliding-window', name: 'sliding', limit: 10, periodMs: 60_000 },
  { algorithm: 'concurrency', name: 'slots', limit: 5 },
  { algorithm: 'total', name: 'money', limit: 11, settles: true },
];

/** What clients see that call at the same time. */
export function orderProperties(given: Given, timeout: number): void {
  describe('order', () => {
    it(
      'answers calls of several clients at once as if they had come in some order, each client in its own',
      async () => {
        const anyClients = fc.array(fc.array(anyCall, { minLength: 1, maxLength: 3 }), { minLength: 3, maxLength: 3 });
        await fc.assert(
          fc.asyncProperty(anyClients, (clients) =>
            given.each(async (stand, unique) => {
              const rules = RULES.map((options) => stand.rule({ ...options, name: `${unique}${options.name}` }));
              const answers = await Promise.all(
                clients.map(async (calls, client) => {
                  const seen: string[] = [];
                  // One after the other, as one client would; the clients all at once.
                  for (const [number, call] of calls.entries()) {
                    seen.push(await act(stand, rules, call, `${unique}${client}.${number}`, unique));
                  }
                  return seen;
                }),
              );
              if (!(await ordered(clients, answers, unique, stand.now, given.options.origin ?? 0))) {
                throw new Error(`no order explains ${JSON.stringify(answers)}`);
              }
            }),
          ),
          { numRuns: given.runs(40) },
        );
      },
      timeout,
    );
  });
}

async function act(stand: Stand, rules: readonly Rule[], call: Call, fresh: string, unique: string): Promise<string> {
  const mentions: Mention[] = rules.map((rule, i) => ({ rule, cost: call.costs[i]! }));
  const rates = mentions.slice(0, 2);
  const hold = `${unique}${call.client}.${call.number}`;
  switch (call.operation) {
    case 'decide':
      return String(await stand.allows(rates));
    case 'hold':
      return String(await stand.allows(mentions, { hold: fresh, ttl: HOUR }));
    case 'again': {
      const outcome = await stand.decide(mentions, { hold, ttl: HOUR });
      return outcome.allowed ? `true ${outcome.repeated}` : 'false';
    }
    case 'take':
      return JSON.stringify(await stand.take(rates));
    case 'settle': {
      const { state, changed } = await stand.settle(hold, { requests: call.actual });
      return `${state} ${changed}`;
    }
    case 'release': {
      const { state, changed } = await stand.release(hold);
      return `${state} ${changed}`;
    }
  }
}

/** Looks for an order in which the model gives the same answers: every way to merge the clients' calls, cut early. */
async function ordered(
  clients: readonly (readonly Call[])[],
  answers: readonly (readonly string[])[],
  unique: string,
  now: number,
  origin: number,
): Promise<boolean> {
  const replay = async (order: readonly number[]): Promise<boolean> => {
    const limiter = new ModelLimiter(origin);
    const stand = new Stand({ limiter, now: () => now, advance() {}, close: () => Promise.resolve() });
    const rules = RULES.map((options) => stand.rule({ ...options, name: `${unique}${options.name}` }));
    const next = clients.map(() => 0);
    for (const client of order) {
      const number = next[client]!++;
      const answer = await act(stand, rules, clients[client]![number]!, `${unique}${client}.${number}`, unique);
      if (answer !== answers[client]![number]) return false;
    }
    return true;
  };
  const search = async (order: readonly number[]): Promise<boolean> => {
    if (!(await replay(order))) return false;
    const left = clients.flatMap((calls, client) =>
      order.filter((one) => one === client).length < calls.length ? [client] : [],
    );
    if (left.length === 0) return true;
    for (const client of left) if (await search([...order, client])) return true;
    return false;
  };
  return search([]);
}
