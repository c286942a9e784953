import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import { randomId } from '../core/ids.ts';
import type { VaultRecords } from '../core/vault-records.ts';

/** Milliseconds after which the work of a dead process is taken over; a living one renews in time. */
const LEASE = 15_000;
const RENEW = 5_000;
const PATIENCE = 20_000;
const FIRST_PAUSE = 20;
const LONGEST_PAUSE = 500;
/** Who wait for one secret in this process. */
const MOST_WAITING = 10_000;

/** Work on one secret at a time, among all processes on one storage. */
export class Leases {
  readonly #records: VaultRecords;
  readonly #clock: Clock;
  readonly #patience: number;
  /** In this process people stand in line; only the first asks the storage. */
  readonly #lines = new Map<string, Promise<unknown>>();
  #waiting = 0;

  constructor(records: VaultRecords, clock: Clock, patience: number = PATIENCE) {
    this.#records = records;
    this.#clock = clock;
    this.#patience = patience;
  }

  async run<T>(slot: string, run: () => Promise<T>): Promise<T> {
    if (this.#waiting >= MOST_WAITING) throw busy();
    const until = performance.now() + this.#patience;
    const before = this.#lines.get(slot);
    const turn = Promise.withResolvers<void>();
    const line = (before ?? Promise.resolve()).then(() => turn.promise);
    this.#lines.set(slot, line);
    this.#waiting++;
    try {
      if (before !== undefined) await within(before, until);
      return await this.#alone(slot, until, run);
    } finally {
      this.#waiting--;
      turn.resolve();
      if (this.#lines.get(slot) === line) this.#lines.delete(slot);
    }
  }

  async #alone<T>(slot: string, until: number, run: () => Promise<T>): Promise<T> {
    const holder = randomId(26);
    for (let pause = FIRST_PAUSE; !(await this.#take(slot, holder)); pause = Math.min(pause * 2, LONGEST_PAUSE)) {
      if (performance.now() + pause > until) throw busy();
      await new Promise((resolve) => setTimeout(resolve, pause * (0.5 + Math.random() / 2)));
    }
    // A renewal that fails is not fatal: the lease lasts three times as long as the pause between renewals.
    const renew = setInterval(() => void this.#take(slot, holder).catch(() => false), RENEW);
    renew.unref();
    try {
      return await run();
    } finally {
      clearInterval(renew);
      await this.#records.release(slot, holder).catch(() => undefined);
    }
  }

  #take(slot: string, holder: string): Promise<boolean> {
    const now = Math.floor(this.#clock.wall());
    return this.#records.lease(slot, holder, now, now + LEASE);
  }
}

async function within(turn: Promise<unknown>, until: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(busy()), Math.max(0, until - performance.now()));
  });
  try {
    await Promise.race([turn, late]);
  } finally {
    clearTimeout(timer);
  }
}

function busy(): TollgateError {
  return new TollgateError('vault_unavailable', 'Another request works on this secret for too long', {
    retryAfterSeconds: 5,
  });
}
