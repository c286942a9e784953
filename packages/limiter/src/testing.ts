/** Exact token bucket over rationals: a unit is worth period/limit µs, time is scaled by `limit`. */
export class ReferenceBucket {
  #full = 0n;
  readonly #limit: bigint;
  readonly #period: bigint;
  readonly #capacity: bigint;

  constructor(limit: number, periodMicros: number, burst: number) {
    this.#limit = BigInt(limit);
    this.#period = BigInt(periodMicros);
    this.#capacity = BigInt(limit + burst);
  }

  #at(now: number): bigint {
    const start = BigInt(now) * this.#limit;
    return this.#full > start ? this.#full : start;
  }

  fits(now: number, cost: number): boolean {
    return (
      cost === 0 ||
      this.#at(now) + BigInt(cost) * this.#period <= BigInt(now) * this.#limit + this.#capacity * this.#period
    );
  }

  take(now: number, cost: number): void {
    this.#full = this.#at(now) + BigInt(cost) * this.#period;
  }

  remaining(now: number): number {
    const left = BigInt(now) * this.#limit + this.#capacity * this.#period - this.#at(now);
    return Number(left / this.#period);
  }

  retryAfter(now: number, cost: number): number {
    if (BigInt(cost) > this.#capacity) return Infinity;
    const missing = this.#at(now) + (BigInt(cost) - this.#capacity) * this.#period - BigInt(now) * this.#limit;
    return missing <= 0n ? 0 : Number((missing + this.#limit - 1n) / this.#limit);
  }
}
