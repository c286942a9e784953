import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readText, storedText } from './values.ts';

/** Texts with everything that databases trip over, more often than chance would have it. */
const nasty = fc
  .array(
    fc.oneof(
      fc.constantFrom('\0', '\u0001', '\ud800', '\udc00', '\ufffd', '"', '\\', 'a', 'é', '😀', '…'),
      fc.constant('x'.repeat(700)),
    ),
    { maxLength: 8 },
  )
  .map((parts) => parts.join(''));

describe('the stored form of a text', () => {
  it('is one that both databases keep, is short enough for an index, and belongs to one text only', () => {
    fc.assert(
      fc.property(nasty, nasty, (a, b) => {
        const stored = storedText(a);
        expect(stored.isWellFormed()).toBe(true);
        expect(stored).not.toContain('\0');
        expect(Buffer.byteLength(stored)).toBeLessThanOrEqual(1800);
        expect(stored === storedText(b)).toBe(a === b);
        if (a.length < 100) expect(readText(stored)).toBe(a);
      }),
      { numRuns: process.env['TOLLGATE_PROOF'] === 'full' ? 20_000 : 1_000 },
    );
  });
});
