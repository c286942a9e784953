import { describe, expect, it } from 'vitest';
import { Allowance } from './allowance.ts';

const AT = Date.UTC(2026, 10, 21);

function taken(allowance: Allowance, caller: string, times: number, at = AT): number {
  let count = 0;
  for (let i = 0; i < times; i++) if (allowance.take(caller, at)) count++;
  return count;
}

describe('the allowance of records', () => {
  it('is 60 at once for one caller, then one a second, and no caller uses up that of another', () => {
    const allowance = new Allowance({ burst: 60, perSecond: 1 }, { burst: 600, perSecond: 20 });
    expect(taken(allowance, 'a', 1000)).toBe(60);
    expect(taken(allowance, 'b', 10)).toBe(10);
    expect(taken(allowance, 'a', 10, AT + 2500)).toBe(2);
    expect(taken(allowance, 'a', 1000, AT + 3_600_000)).toBe(60);
  });

  it('is bounded for all callers together, however many there are', () => {
    const allowance = new Allowance({ burst: 60, perSecond: 1 }, { burst: 600, perSecond: 20 });
    let count = 0;
    for (let i = 0; i < 5000; i++) count += taken(allowance, `caller-${i}`, 1);
    expect(count).toBe(600);
    for (let i = 0; i < 5000; i++) count += taken(allowance, `caller-${i}`, 1, AT + 1000);
    expect(count).toBe(620);
  });

  it('gives nothing for a clock that is set back', () => {
    const allowance = new Allowance({ burst: 60, perSecond: 1 }, { burst: 600, perSecond: 20 });
    expect(taken(allowance, 'a', 100)).toBe(60);
    expect(taken(allowance, 'a', 100, AT - 3_600_000)).toBe(0);
    expect(taken(allowance, 'a', 100, AT - 3_599_000)).toBe(1);
  });
});
