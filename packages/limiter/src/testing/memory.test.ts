import { MemoryLimiter } from '../memory.ts';
import { limiterContract } from './contract.ts';

const ORIGIN = Date.UTC(2026, 0, 5, 10);

limiterContract(
  'the limiter in memory',
  () => {
    let now = 0;
    return Promise.resolve({
      limiter: new MemoryLimiter({ originMs: ORIGIN }),
      now: () => now,
      advance(micros: number) {
        now += micros;
      },
      close: () => Promise.resolve(),
    });
  },
  { origin: ORIGIN },
);
