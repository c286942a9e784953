import { createHash } from 'node:crypto';
import type { Clock } from '../core/clock.ts';

/** Milliseconds that an unwrapped data key of a remote provider is used for; then the provider must answer again. */
const MAX_AGE = 5 * 60_000;
const MAX_KEYS = 1000;

/** Unwrapped data keys of a remote provider, so that its outage is not felt at once, and never for longer than 5 min. */
export class DataKeyCache {
  readonly #clock: Clock;
  readonly #keys = new Map<string, { readonly key: Buffer; readonly until: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A copy, for the caller to wipe. */
  async get(name: string, wrapped: string, context: Buffer, ask: () => Promise<Buffer>): Promise<Buffer> {
    // The context is part of the name: a wrapped key moved to another record must go to the provider, which refuses it.
    const id = createHash('sha256').update(`${name.length} ${name} ${wrapped} `).update(context).digest('base64');
    const now = this.#clock.monotonic();
    this.#expire(now);
    const known = this.#keys.get(id);
    if (known !== undefined) return Buffer.from(known.key);
    const key = await ask();
    this.#keys.set(id, { key: Buffer.from(key), until: now + MAX_AGE });
    if (this.#keys.size > MAX_KEYS) this.#forget(this.#keys.keys().next().value!);
    return key;
  }

  clear(): void {
    for (const id of this.#keys.keys()) this.#forget(id);
  }

  /** All live equally long, so the oldest come first. */
  #expire(now: number): void {
    for (const [id, { until }] of this.#keys) {
      if (until > now) return;
      this.#forget(id);
    }
  }

  #forget(id: string): void {
    this.#keys.get(id)?.key.fill(0);
    this.#keys.delete(id);
  }
}
