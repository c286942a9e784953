import { expect, it } from 'vitest';
import { readUntil } from './written.ts';

const NOW = Date.parse('2026-03-01T10:00:00Z');

it('an end is a duration or a moment to come', () => {
  expect(readUntil('2h', NOW)).toBe(NOW + 7_200_000);
  expect(readUntil('2026-03-01T12:00:00+01:00', NOW)).toBe(NOW + 3_600_000);
});

it.each([
  'tomorrow',
  '5 s',
  '2026-03-02',
  '2026-03-02T10:00:00',
  '2026-03-01T09:00:00Z',
  '400d',
  '',
])('%j is neither, and the answer shows both ways to write one', (written) => {
  expect(() => readUntil(written, NOW, 'expires')).toThrow(/^expires: .* like 2h, .* like 2030-01-31T18:00:00Z/);
});
