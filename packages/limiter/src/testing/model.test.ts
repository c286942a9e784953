import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { limiterContract } from './contract.ts';
import { ModelLimiter } from './model.ts';
import { BucketCounter } from './model-counters.ts';

const ORIGIN = Date.UTC(2026, 0, 5, 10);

// The model keeps its own contract: what it is compared with by others is what the docstrings say.
limiterContract(
  'the exact model',
  () => {
    let now = 0;
    return Promise.resolve({
      limiter: new ModelLimiter(ORIGIN),
      now: () => now,
      advance(micros: number) {
        now += micros;
      },
      close: () => Promise.resolve(),
    });
  },
  { origin: ORIGIN, effort: 0.1 },
);

describe('GCRA', () => {
  it('is a token bucket with fractional progress: same verdicts, same level, same retry time', () => {
    fc.assert(
      fc.property(
        fc.bigInt({ min: 1n, max: 2000n }),
        fc.bigInt({ min: 1n, max: 10n ** 12n }),
        fc.bigInt({ min: 0n, max: 100n }),
        fc.array(fc.tuple(fc.bigInt({ min: 0n, max: 10n ** 10n }), fc.bigInt({ min: 1n, max: 50n })), {
          maxLength: 40,
        }),
        (limit, period, burst, calls) => {
          const capacity = limit + burst;
          const bucket = new BucketCounter(limit, period);
          // The other description: the moment at which everything is back, in µs × limit; a unit moves it by `period`.
          let full = 0n;
          let now = 0n;
          for (const [advance, cost] of calls) {
            now += advance;
            const start = full > now * limit ? full : now * limit;
            const missing = start + cost * period - capacity * period - now * limit;
            const wait = missing <= 0n ? 0n : (missing + limit - 1n) / limit;
            const fits = bucket.fitsAt(now, cost, capacity);
            expect(fits).toBe(cost > capacity ? undefined : now + wait);
            expect(bucket.level(now)).toBe(start - now * limit);
            if (fits !== now) continue;
            bucket.charge(now, cost);
            full = start + cost * period;
          }
        },
      ),
      { numRuns: 200 },
    );
  });
});
