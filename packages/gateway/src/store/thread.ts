import { getCompileCacheDir } from 'node:module';
import { Worker } from 'node:worker_threads';
import { TollgateError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import { receivedError } from './failure.ts';
import type { ThreadData, ThreadReply, ThreadRequest, ThreadRole } from './messages.ts';
import type { StoreOptions } from './options.ts';

/** The sources run as they are; the published package has JavaScript beside this file. */
const ENTRY = new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js', import.meta.url);
const SWEEP = 250;
const LONGEST_PAUSE = 5_000;
/** Milliseconds more for what a thread is asked before its first answer: it has its code to load, on a busy machine too. */
const LOADING = 20_000;

interface Pending {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: TollgateError) => void;
  readonly deadline: number;
}

/**
 * A thread of the store as the main thread sees it: every request is answered in bounded time, also by a thread that
 * hangs or dies. A thread that ended is started again at the next request, after a pause that grows while it keeps ending.
 */
export class StoreThread {
  readonly #entry: URL;
  readonly #data: ThreadData;
  readonly #log: Log;
  readonly #pending = new Map<number, Pending>();
  #worker: Worker | undefined;
  /** The thread that runs has answered once. */
  #loaded = false;
  #lastId = 0;
  #sweeper: NodeJS.Timeout | undefined;
  #ended = 0;
  #notBefore = 0;
  #closed = false;

  constructor(role: ThreadRole, options: StoreOptions, log: Log, entry: URL = ENTRY) {
    this.#entry = entry;
    this.#data = { role, options };
    this.#log = log;
  }

  /** Starts the thread, so that it is there when it is first asked. */
  start(): void {
    this.#running();
  }

  /**
   * Rejects with the thread's own error, or with `storage_unavailable` when it does not answer within `timeout` ms, or
   * 20 s more while the thread is starting.
   */
  request(
    method: string,
    args: readonly unknown[],
    timeout: number,
    transfer: readonly ArrayBuffer[] = [],
  ): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const worker = this.#running();
      if (worker === undefined) {
        reject(unavailable(this.#closed ? 'the store is closed' : 'its thread ended and is started again shortly'));
        return;
      }
      const id = ++this.#lastId;
      const request: ThreadRequest = { id, method, args };
      try {
        worker.postMessage(request, [...transfer]);
      } catch (cause) {
        reject(new TollgateError('internal', 'This value cannot be stored', { cause }));
        return;
      }
      const deadline = performance.now() + timeout + (this.#loaded ? 0 : LOADING);
      this.#pending.set(id, { resolve, reject, deadline });
      this.#sweeper ??= setInterval(() => this.#sweep(), SWEEP).unref();
    });
  }

  /** Lets the thread finish what it was asked for, at most `grace` ms, then ends it. */
  async close(grace: number): Promise<void> {
    const worker = this.#worker;
    if (worker !== undefined && !this.#closed) {
      await this.request('close', [], grace).catch((error: unknown) => {
        this.#log.warn({ thread: this.#data.role, error: String(error) }, 'The store did not close cleanly');
      });
    }
    this.#closed = true;
    await worker?.terminate();
    this.#rejectAll(unavailable('the store is closed'));
  }

  #running(): Worker | undefined {
    if (this.#worker !== undefined || this.#closed || performance.now() < this.#notBefore) return this.#worker;
    const worker = new Worker(this.#entry, {
      workerData: { ...this.#data, codeCache: getCompileCacheDir() },
      name: `tollgate-${this.#data.role}`,
      execArgv: [],
    });
    worker.on('message', (reply: ThreadReply) => this.#receive(reply));
    worker.on('error', (error) =>
      this.#log.error({ thread: this.#data.role, error: error.message }, 'A thread of the store failed'),
    );
    worker.on('exit', () => this.#exited(worker));
    this.#worker = worker;
    this.#loaded = false;
    return worker;
  }

  #receive(reply: ThreadReply): void {
    this.#loaded = true;
    const pending = this.#pending.get(reply.id);
    if (pending === undefined) return;
    this.#pending.delete(reply.id);
    this.#ended = 0;
    if ('error' in reply) pending.reject(receivedError(reply.error));
    else pending.resolve(reply.value);
  }

  #exited(worker: Worker): void {
    if (this.#worker !== worker) return;
    this.#worker = undefined;
    this.#notBefore = performance.now() + Math.min(100 * 2 ** this.#ended++, LONGEST_PAUSE);
    this.#rejectAll(unavailable('its thread ended'));
  }

  #sweep(): void {
    const now = performance.now();
    for (const [id, pending] of this.#pending) {
      if (pending.deadline > now) continue;
      this.#pending.delete(id);
      pending.reject(unavailable('no answer in time; whether it happened is unknown, repeating it is safe'));
    }
    if (this.#pending.size > 0) return;
    clearInterval(this.#sweeper);
    this.#sweeper = undefined;
  }

  #rejectAll(error: TollgateError): void {
    const all = [...this.#pending.values()];
    this.#pending.clear();
    for (const pending of all) pending.reject(error);
  }
}

function unavailable(why: string): TollgateError {
  return new TollgateError('storage_unavailable', `Storage is not available: ${why}`, { retryAfterSeconds: 1 });
}
