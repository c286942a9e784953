import type { Stage } from './stage.ts';

/** A tools/call of 300 bytes, the unit in which the stages are counted. */
export const CALL_300: string = callOfSize(300);

/** A modern tools/call whose JSON text has exactly `size` bytes; the tool is `echo`. */
export function callOfSize(size: number, id = 1): string {
  const build = (text: string): string =>
    `{"jsonrpc":"2.0","id":${id},"method":"tools/call","params":{"name":"echo","arguments":{"text":"${text}"},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"b","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}`;
  const missing = size - build('').length;
  if (missing < 0) throw new RangeError(`A tools/call needs at least ${build('').length} bytes`);
  return build('abcdefghij'.repeat(Math.ceil(missing / 10)).slice(0, missing));
}

/** Keeps the optimiser from dropping the work. */
let sink = 0;

/** What everything is compared with: parse and write the same call. */
export const jsonBaseline: Stage = {
  name: 'JSON.parse + JSON.stringify, 300 B call',
  run: (iterations) => {
    for (let i = 0; i < iterations; i += 1) sink += JSON.stringify(JSON.parse(CALL_300)).length;
  },
};

export interface StageResult {
  readonly name: string;
  /** Best nanoseconds per iteration over all rounds. */
  readonly nanoseconds: number;
  /** Of the baseline in the same run. */
  readonly ratio: number;
}

/**
 * Measures every stage `rounds` times in turn, baseline included, so that a slow moment of the machine hits all alike,
 * and takes the best of each: noise only ever adds.
 */
export async function measureStages(
  stages: readonly Stage[],
  rounds: number,
  batchMilliseconds = 20,
): Promise<StageResult[]> {
  const all = [jsonBaseline, ...stages];
  const iterations: number[] = [];
  for (const stage of all) iterations.push(await calibrate(stage, batchMilliseconds));
  const best = all.map(() => Number.POSITIVE_INFINITY);
  for (let round = 0; round < rounds; round += 1) {
    for (const [i, stage] of all.entries()) {
      best[i] = Math.min(best[i] ?? 0, await timePerIteration(stage, iterations[i] ?? 1));
    }
  }
  const unit = best[0] ?? 1;
  if (sink === 0) throw new Error('The baseline did nothing');
  return all.map((stage, i) => ({ name: stage.name, nanoseconds: best[i] ?? 0, ratio: (best[i] ?? 0) / unit }));
}

/** Iterations that take about `milliseconds`, found while the code gets hot. */
async function calibrate(stage: Stage, milliseconds: number): Promise<number> {
  let iterations = 64;
  for (;;) {
    const elapsed = (await timePerIteration(stage, iterations)) * iterations * 1e-6;
    if (elapsed >= milliseconds || iterations >= 2 ** 30) return iterations;
    iterations = elapsed < milliseconds / 20 ? iterations * 10 : Math.ceil((iterations * milliseconds * 1.1) / elapsed);
  }
}

async function timePerIteration(stage: Stage, iterations: number): Promise<number> {
  const from = process.hrtime.bigint();
  const running = stage.run(iterations);
  // Awaiting what is done already would cost a turn of its own.
  if (running !== undefined) await running;
  return Number(process.hrtime.bigint() - from) / iterations;
}
