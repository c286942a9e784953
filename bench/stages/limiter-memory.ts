import { Ask, MemoryLimiter, type RuleOptions } from '@tollgate/limiter';
import type { Stage } from '../stage.ts';
import { printTable } from '../table.ts';

const DAY = 86_400_000;
const KINDS: readonly RuleOptions[] = [
  { algorithm: 'token-bucket', name: 'rate', limit: 1, periodMs: DAY },
  { algorithm: 'fixed-window', name: 'window', limit: 1, periodMs: DAY },
  { algorithm: 'sliding-window', name: 'log', limit: 1, periodMs: DAY },
];

function growing(): Stage {
  let limiter = new MemoryLimiter();
  let rule = limiter.rule(KINDS[0]!);
  const ask = new Ask();
  let key = 0;
  return {
    name: 'limiter: 1 limit, a new key each time',
    run(iterations) {
      for (let i = 0; i < iterations; i++) {
        if (key === 500_000) {
          limiter = new MemoryLimiter();
          rule = limiter.rule(KINDS[0]!);
          key = 0;
        }
        limiter.decide(ask.clear().rule(rule).key(key++), 1);
      }
    },
  };
}

/** Runs of the same keys: what a decision itself takes shows in its quickest one, whoever else had the processor. */
const RUNS = 5;

/** Bytes a key, and the longest single decision, while so many keys come, all of which stay. */
function fill(options: RuleOptions, keys: number): string[] {
  const quickest = new Float32Array(keys).fill(Infinity);
  let bytes = 0;
  for (let run = 0; run < RUNS; run++) {
    const limiter = new MemoryLimiter({ maxKeys: 2 * keys, seed: [1, 2] });
    const rule = limiter.rule(options);
    const ask = new Ask();
    for (let key = 0; key < keys; key++) {
      const start = performance.now();
      limiter.decide(ask.clear().rule(rule).key(key), 1);
      quickest[key] = Math.min(quickest[key]!, performance.now() - start);
    }
    bytes = limiter.stats().bytes / keys;
  }
  const longest = quickest.reduce((most, one) => Math.max(most, one), 0);
  return [options.algorithm, String(keys), bytes.toFixed(1), longest.toFixed(2)];
}

export const stage: Stage = growing();

// node bench/stages/limiter-memory.ts
if (import.meta.main) {
  const rows = KINDS.flatMap((options) => [1e3, 1e5, 1e6].map((keys) => fill(options, keys)));
  printTable(['algorithm', 'keys', 'bytes/key', 'longest decision, ms'], rows);
}
