import { expect, it } from 'vitest';
import { MAX_OPEN, MAX_OPEN_OF_ONE, OpenHolds } from './open-holds.ts';

it('has so many places for one and for all, and gets them back at an end and when they expire', () => {
  const open = new OpenHolds();
  const begin = (id: string, principal: string, until = 1000, now = 0) => open.begin(id, principal, until, now);
  for (let i = 0; i < MAX_OPEN_OF_ONE; i++) expect(begin(`a${i}`, 'a', 1000 + i)).toBeUndefined();
  expect(begin('more', 'a')).toEqual({ bound: MAX_OPEN_OF_ONE, until: 1000 });
  expect(begin('b', 'b')).toBeUndefined();
  open.end('a5');
  open.end('a5');
  expect(begin('more', 'a', 5000)).toBeUndefined();
  expect(begin('again', 'a')).toMatchObject({ bound: MAX_OPEN_OF_ONE });
  // At 1001 the first two of a, and the one of b, are over.
  expect(begin('c0', 'a', 5000, 1001)).toBeUndefined();
  expect(begin('c1', 'a', 5000, 1001)).toBeUndefined();
  expect(begin('c2', 'a', 5000, 1001)).toEqual({ bound: MAX_OPEN_OF_ONE, until: 1002 });
  for (let i = MAX_OPEN_OF_ONE; i < MAX_OPEN; i++) expect(begin(`x${i}`, `p${i}`, 9000, 1001)).toBeUndefined();
  expect(begin('last', 'new', 9000, 1001)).toEqual({ bound: MAX_OPEN, until: 1002 });
});
