import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Schedule } from './schedule.ts';

const HOLDS = 24;

describe('the schedule of holds', () => {
  it('names what expires next, whatever the holds last and whichever go before', () => {
    const anyStep = fc.record({
      hold: fc.nat(HOLDS - 1),
      // Few that last equally long, many that do not: queues and heap.
      lasts: fc.oneof(fc.constantFrom(10, 30), fc.integer({ min: 1, max: 60 })),
      advance: fc.nat(8),
    });
    let expired = 0;
    fc.assert(
      fc.property(fc.array(anyStep, { minLength: 100, maxLength: 200 }), (steps) => {
        const schedule = new Schedule();
        schedule.enlarge(HOLDS);
        const open = new Map<number, number>();
        let now = 0;
        for (const { hold, lasts, advance } of steps) {
          now += advance;
          for (let due = schedule.due(now); due >= 0; due = schedule.due(now)) {
            expect(open.get(due)).toBe(Math.min(...open.values()));
            expect(open.get(due)).toBeLessThanOrEqual(now);
            schedule.remove(due);
            open.delete(due);
            expired++;
          }
          expect(schedule.next).toBe(Math.min(...open.values()));
          expect(schedule.next).toBeGreaterThan(now);
          if (open.has(hold)) schedule.remove(hold);
          open.delete(hold);
          if (lasts % 5 === 1) continue;
          schedule.add(hold, now + lasts, lasts);
          open.set(hold, now + lasts);
          expect(schedule.until[hold]).toBe(now + lasts);
        }
      }),
    );
    expect(expired).toBeGreaterThan(100);
  });
});
