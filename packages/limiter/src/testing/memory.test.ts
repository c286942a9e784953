import { describe, expect, it } from 'vitest';
import { Ask } from '../ask.ts';
import { MemoryLimiter } from '../memory.ts';
import { limiterContract } from './contract.ts';
import { kinds } from './programs.ts';

const ORIGIN = Date.UTC(2026, 0, 5, 10);

limiterContract(
  'the limiter in memory',
  () => {
    const limiter = new MemoryLimiter({ originMs: ORIGIN, persist: true });
    let now = 0;
    let pieces = 0;
    return Promise.resolve({
      limiter,
      now: () => now,
      advance(micros: number) {
        now += micros;
      },
      close: () => Promise.resolve(),
      // What a store would have to write.
      writes() {
        if (limiter.changes() !== undefined) pieces++;
        return Promise.resolve(pieces);
      },
    });
  },
  { origin: ORIGIN, effort: 0.3 },
);

describe('the limiter in memory, when its tables are full', () => {
  it('never lets ten times as many keys as it holds push out, refresh or pass by a limit in force', () => {
    for (const options of kinds(3, 3_600_000)) {
      const limiter = new MemoryLimiter({ maxKeys: 500, originMs: ORIGIN });
      const rule = limiter.rule(options);
      const ask = new Ask();
      const decide = (key: number) => limiter.decide(ask.clear().rule(rule).key(key), 1000).allowed;
      for (let i = 0; i < 3; i++) expect(decide(0)).toBe(true);
      for (let key = 1; key <= 10_000; key++) {
        let admitted = 0;
        for (let i = 0; i < 4; i++) if (decide(key)) admitted++;
        if (admitted > 3) throw new Error(`${options.name}: ${admitted} of 3 for key ${key}`);
        if (key % 100 === 0 && decide(0)) throw new Error(`${options.name}: forgotten after ${key} keys`);
      }
      expect(limiter.stats().overflows).toBeGreaterThan(0);
      if (options.algorithm === 'total') continue;
      // And when that is over, everybody has room again; what was counted together may take longer.
      for (let key = 20_000; key < 20_400; key++) {
        expect(limiter.decide(ask.clear().rule(rule).key(key), 4 * 3_600_000_000).allowed, options.name).toBe(true);
      }
    }
  });
});
