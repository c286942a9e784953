import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { Histogram } from './histogram.ts';
import type { LoadOrder, LoadResult } from './load.ts';
import { processorTime } from './processor-time.ts';

export interface Load {
  readonly perSecond: number;
  readonly histogram: Histogram;
  readonly wrong: number;
  /**
   * Microseconds of processor time of the measured process for each answer, user and system, start-up of the
   * connections included. What other programs do moves it least of all figures. Undefined where there is no /proc.
   */
  readonly processor: number | undefined;
}

/** The load generator's process, kept over a whole run so that its code stays hot. */
export class LoadClient implements AsyncDisposable {
  readonly #child: ChildProcess = fork(resolve(import.meta.dirname, 'load.ts'), { stdio: 'inherit' });

  /** One measurement of the process `pid`; rejects when the generator dies. Wrong answers are counted, not hidden. */
  async measure(order: LoadOrder, pid: number): Promise<Load> {
    const before = processorTime(pid);
    this.#child.send(order);
    const waiting = new AbortController();
    const [message] = await Promise.race([
      once(this.#child, 'message', { signal: waiting.signal }),
      once(this.#child, 'exit', { signal: waiting.signal }).then(() => {
        throw new Error('The load generator ended');
      }),
    ]).finally(() => waiting.abort());
    const after = processorTime(pid);
    const result = message as LoadResult;
    if (result.completed === 0) throw new Error(`No answer at all from port ${order.port}${order.path}`);
    return {
      perSecond: result.completed / result.seconds,
      histogram: new Histogram(result.counts),
      wrong: result.wrong,
      processor: before === undefined || after === undefined ? undefined : (after - before) / result.answered,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill();
    await ended;
  }
}
