import { StoreError, storeErrorOf } from './errors.ts';
import { sha1, slotOf } from './keys.ts';
import type { RedisPort } from './port.ts';

/** A script with the name that a server's cache keeps it by. */
export class Script {
  readonly text: string;
  readonly sha: string;

  constructor(text: string) {
    this.text = text;
    this.sha = sha1(text);
  }
}

export interface LinkOptions {
  /** Milliseconds that a command may take in all. */
  readonly deadline: number;
  /** Failures in a row after which the store is left alone for a while. */
  readonly failures: number;
  /** Milliseconds of the first and of the longest such while. */
  readonly pause: number;
  readonly longestPause: number;
  /** A number from 0 to 1, for jitter. */
  readonly random: () => number;
}

/** Slot ranges that fail on their own: the nodes of a cluster are not known here, but own ranges of slots. */
const RANGES = 64;
const RANGE_BITS = 8;

export type BreakerState = 'closed' | 'open' | 'half-open';

/** Stops asking a store that does not answer; one cheap write tells when it can again, and no caller waits for that. */
class Breaker {
  #failures = 0;
  #rounds = 0;
  #openUntil = 0;
  state: BreakerState = 'closed';

  succeeded(): void {
    this.#failures = 0;
    this.#rounds = 0;
    this.state = 'closed';
  }

  failed(now: number, { failures, pause, longestPause, random }: LinkOptions): void {
    if (this.state === 'open') return;
    this.#failures++;
    if (this.state === 'closed' && this.#failures < failures) return;
    const wait = Math.min(longestPause, pause * 2 ** this.#rounds);
    this.#rounds++;
    this.#openUntil = now + wait * (0.8 + 0.4 * random());
    this.state = 'open';
  }

  /** True once, when the pause is over: whoever asked has to try. */
  probes(now: number): boolean {
    if (this.state !== 'open' || now < this.#openUntil) return false;
    this.state = 'half-open';
    return true;
  }
}

class Pending {
  readonly until: number;
  readonly reject: (error: StoreError) => void;
  done = false;

  constructor(until: number, reject: (error: StoreError) => void) {
    this.until = until;
    this.reject = reject;
  }
}

/**
 * Runs scripts: by their hash, with their text only for the command that the server did not know; each within one
 * deadline; none while the breaker is open; never twice.
 */
export class Link {
  readonly #port: RedisPort;
  readonly #options: LinkOptions;
  readonly #breakers: Breaker[] = Array.from({ length: RANGES }, () => new Breaker());
  // All deadlines are equally far away, so the oldest command is always the next to be overdue: one timer for all.
  #pending: Pending[] = [];
  #head = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(port: RedisPort, options: LinkOptions) {
    this.#port = port;
    this.#options = options;
  }

  get breaker(): BreakerState {
    if (this.#breakers.some(({ state }) => state === 'open')) return 'open';
    return this.#breakers.some(({ state }) => state === 'half-open') ? 'half-open' : 'closed';
  }

  /** `base`: the place of the keys, which decides the node. Rejects with a StoreError. */
  run(script: Script, base: string, keys: readonly string[], args: readonly string[]): Promise<unknown> {
    const command = ['EVALSHA', script.sha, String(keys.length), ...keys, ...args];
    return this.#guarded(base, async () => {
      try {
        return await this.#port.send(keys[0] ?? base, command);
      } catch (error) {
        if (!(error instanceof Error && error.message.startsWith('NOSCRIPT'))) throw error;
        command[0] = 'EVAL';
        command[1] = script.text;
        return this.#port.send(keys[0] ?? base, command);
      }
    });
  }

  /** A plain command under the same deadline and breaker. */
  command(base: string, args: readonly string[]): Promise<unknown> {
    return this.#guarded(base, () => this.#port.send(base, args));
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const pending of this.#pending.slice(this.#head)) {
      if (!pending.done) pending.reject(new StoreError('connection', 'the limiter was closed'));
    }
    this.#pending = [];
    this.#head = 0;
  }

  #guarded(base: string, send: () => Promise<unknown>): Promise<unknown> {
    const breaker = this.#breakers[this.#port.cluster ? slotOf(base) >>> RANGE_BITS : 0]!;
    if (breaker.state !== 'closed') {
      if (breaker.probes(performance.now())) void this.#probe(breaker, base);
      return Promise.reject(new StoreError('breaker', 'Redis did not answer lately and is left alone for a moment'));
    }
    return this.#timed(send, breaker);
  }

  /** A write that means nothing: a replica, a full or a loading server refuses it like a decision. */
  async #probe(breaker: Breaker, base: string): Promise<void> {
    const send = () => this.#port.send(`${base}probe`, ['SET', `${base}probe`, '1', 'PX', '1000']);
    await this.#timed(send, breaker).catch(() => {});
  }

  #timed(send: () => Promise<unknown>, breaker: Breaker): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const started = performance.now();
      const pending = new Pending(started + this.#options.deadline, (error) => {
        pending.done = true;
        breaker.failed(performance.now(), this.#options);
        reject(error);
      });
      this.#watch(pending);
      send().then(
        (reply) => {
          if (pending.done) return;
          pending.done = true;
          breaker.succeeded();
          resolve(reply);
        },
        (cause: unknown) => {
          if (pending.done) return;
          pending.done = true;
          const error = storeErrorOf(cause);
          if (error.failure === 'script') breaker.succeeded();
          else breaker.failed(performance.now(), this.#options);
          reject(error);
        },
      );
    });
  }

  #watch(pending: Pending): void {
    this.#pending.push(pending);
    if (this.#timer === undefined) this.#schedule(this.#options.deadline);
    // Answered ones are dropped from the front in passing, so that the list stays as long as what is under way.
    while (this.#head < this.#pending.length && this.#pending[this.#head]!.done) this.#head++;
    if (this.#head > 1024 && this.#head * 2 > this.#pending.length) {
      this.#pending = this.#pending.slice(this.#head);
      this.#head = 0;
    }
  }

  #schedule(delay: number): void {
    // After the sockets were read once more: a process that was busy itself must not blame the store.
    this.#timer = setTimeout(() => setImmediate(() => this.#expire()), delay);
    this.#timer.unref();
  }

  #expire(): void {
    if (this.#timer === undefined) return;
    this.#timer = undefined;
    const now = performance.now();
    for (; this.#head < this.#pending.length; this.#head++) {
      const pending = this.#pending[this.#head]!;
      if (pending.done) continue;
      if (pending.until > now) {
        this.#schedule(Math.max(1, pending.until - now));
        return;
      }
      pending.reject(
        new StoreError('deadline', `Redis did not answer within ${this.#options.deadline} ms; it may have acted`),
      );
    }
    this.#pending = [];
    this.#head = 0;
  }
}
