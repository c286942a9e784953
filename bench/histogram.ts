const SUB_BITS = 6;
const SUB = 1 << SUB_BITS;

/**
 * Latencies in nanoseconds in log-linear buckets: at most 1.6 % off, constant memory, nothing allocated per value.
 * A plain array, so that it can be sent between processes.
 */
export class Histogram {
  readonly counts: number[];
  total = 0;

  constructor(counts: readonly number[] = []) {
    this.counts = counts.length > 0 ? [...counts] : new Array<number>(SUB * 40).fill(0);
    for (const count of this.counts) this.total += count;
  }

  add(nanoseconds: number): void {
    const index = bucketOf(nanoseconds);
    this.counts[index] = (this.counts[index] ?? 0) + 1;
    this.total += 1;
  }

  merge(other: Histogram): void {
    other.counts.forEach((count, i) => {
      this.counts[i] = (this.counts[i] ?? 0) + count;
    });
    this.total += other.total;
  }

  /** The latency in nanoseconds that `percent` of the values do not exceed; 0 when there are none. */
  percentile(percent: number): number {
    if (this.total === 0) return 0;
    let left = Math.ceil((this.total * percent) / 100);
    for (let i = 0; i < this.counts.length; i += 1) {
      left -= this.counts[i] ?? 0;
      if (left <= 0) return middleOf(i);
    }
    return middleOf(this.counts.length - 1);
  }
}

function bucketOf(nanoseconds: number): number {
  const value = Math.max(1, Math.floor(nanoseconds));
  const exponent = Math.max(0, Math.floor(Math.log2(value)) - SUB_BITS);
  return Math.min(exponent * SUB + Math.floor(value / 2 ** exponent), SUB * 40 - 1);
}

function middleOf(index: number): number {
  // Below 2·SUB a bucket is one nanosecond; above, an exponent spans SUB buckets that start at SUB.
  const exponent = Math.max(0, Math.floor(index / SUB) - 1);
  return (index - exponent * SUB + 0.5) * 2 ** exponent;
}
