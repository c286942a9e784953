import { parentPort, workerData } from 'node:worker_threads';
import { Ask } from '../ask.ts';
import { SharedLimiter } from '../shared.ts';
import type { RuleOptions } from '../types.ts';

/** What one worker thread does with the limiter that it shares: so many decisions, each with a hold or without. */
export interface WorkerTask {
  readonly buffer: SharedArrayBuffer;
  /** Set to 1 when all workers may begin. */
  readonly start: Int32Array;
  readonly rules: readonly RuleOptions[];
  /** What a call costs under each of them. Default 1. */
  readonly costs: readonly number[];
  readonly calls: number;
  readonly keys: number;
  /** Prefix of the holds to open; undefined: none. */
  readonly hold: string | undefined;
  readonly settleAt: number | undefined;
}

const { buffer, start, rules, costs, calls, keys, hold, settleAt } = workerData as WorkerTask;
const limiter = new SharedLimiter(buffer);
const made = rules.map((options) => limiter.rule(options));
const ask = new Ask();
parentPort!.postMessage('ready');
Atomics.wait(start, 0, 0);
let admitted = 0;
for (let call = 0; call < calls; call++) {
  ask.clear();
  for (const [i, rule] of made.entries()) ask.rule(rule, costs[i] ?? 1).key(call % keys);
  if (hold !== undefined) ask.hold(`${hold}${call}`, 3_600_000_000);
  if (!limiter.decide(ask, 1000).allowed) continue;
  admitted++;
  if (hold !== undefined && settleAt !== undefined) {
    limiter.settle({ id: `${hold}${call}`, amounts: { requests: settleAt } }, 1000);
  }
}
parentPort!.postMessage(admitted);
