import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Gather } from './gather.ts';

describe('Gather', () => {
  it('gives what was collected, in order, whatever the sizes, and starts anew', () => {
    const size = fc.oneof(fc.nat(5), fc.nat(600), fc.integer({ min: 4000, max: 9000 }));
    fc.assert(
      fc.property(fc.array(size, { maxLength: 12 }), fc.array(size, { maxLength: 4 }), (first, second) => {
        const gather = new Gather();
        let next = 0;
        for (const sizes of [first, second]) {
          const pieces = sizes.map((length) => Buffer.from(Uint8Array.from({ length: length + 2 }, () => next++)));
          for (const piece of pieces) gather.append(piece, 1, piece.length - 1);
          const expected = Buffer.concat(pieces.map((piece) => piece.subarray(1, -1)));
          expect(gather.length).toBe(expected.length);
          expect(gather.take().equals(expected)).toBe(true);
          expect(gather.length).toBe(0);
        }
      }),
    );
  });

  it('forgets what was collected', () => {
    const gather = new Gather();
    for (const size of [10, 5000, 10]) gather.append(Buffer.alloc(size), 0, size);
    gather.clear();
    gather.append(Buffer.from('abc'), 1, 2);
    expect(gather.take().toString()).toBe('b');
  });
});
