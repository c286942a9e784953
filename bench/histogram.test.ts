import { describe, expect, it } from 'vitest';
import { Histogram } from './histogram.ts';

describe('the latency histogram', () => {
  it('gives percentiles within two per cent, from nanoseconds to seconds', () => {
    for (const scale of [1, 100, 12_345, 1_000_000, 1_000_000_000]) {
      const histogram = new Histogram();
      for (let i = 1; i <= 1000; i += 1) histogram.add(i * scale);
      for (const percent of [1, 50, 99, 100]) {
        const exact = percent * 10 * scale;
        expect(Math.abs(histogram.percentile(percent) - exact) / exact).toBeLessThan(0.06 / Math.min(scale, 3));
      }
    }
  });

  it('merges what another process counted', () => {
    const one = new Histogram();
    const two = new Histogram();
    for (let i = 0; i < 10; i += 1) one.add(1_000);
    for (let i = 0; i < 30; i += 1) two.add(9_000);
    one.merge(new Histogram(JSON.parse(JSON.stringify(two.counts)) as number[]));
    expect(one.total).toBe(40);
    expect(one.percentile(25)).toBeCloseTo(1_000, -2);
    expect(one.percentile(99) / 9_000).toBeCloseTo(1, 1);
  });

  it('has nothing to say without values', () => {
    expect(new Histogram().percentile(99)).toBe(0);
  });
});
