import { setTimeout as sleep } from 'node:timers/promises';
import { TollgateError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';

const POLL = 1_000;

/** How a gateway follows what others change in the storage that they share: a look every second, until it is closed. */
export class Follower {
  readonly #log: Log;
  readonly #unread: string;
  readonly #poll: number;
  readonly #closed = new AbortController();

  /** `unread`: what the log says of a look that fails. `poll`: milliseconds between two looks. Default 1000. */
  constructor(log: Log, unread: string, poll: number = POLL) {
    this.#log = log;
    this.#unread = unread;
    this.#poll = poll;
  }

  get closed(): boolean {
    return this.#closed.signal.aborted;
  }

  /** False: it failed, and what was known before stays in force. That the storage is away is told by the storage. */
  async look(read: () => Promise<unknown>): Promise<boolean> {
    try {
      await read();
      return true;
    } catch (thrown) {
      const error = TollgateError.from(thrown);
      if (error.code !== 'storage_unavailable') this.#log.error({ err: error.cause ?? error }, this.#unread);
      return false;
    }
  }

  /** Looks again and again, first after a pause. */
  async follow(read: () => Promise<unknown>): Promise<void> {
    while (await this.pause()) await this.look(read);
  }

  /** Waits, asks, and begins again, until the answer is true or this is closed. */
  async until(done: () => Promise<boolean>): Promise<void> {
    while ((await this.pause()) && !(await done()));
  }

  /** False: this was closed meanwhile. */
  pause(): Promise<boolean> {
    return pause(this.#poll, this.#closed.signal);
  }

  close(): void {
    this.#closed.abort();
  }
}

/** Waits without keeping the process alive. False: the signal ended the wait. */
export async function pause(ms: number, signal: AbortSignal): Promise<boolean> {
  await sleep(ms, undefined, { signal, ref: false }).catch(() => undefined);
  return !signal.aborted;
}
