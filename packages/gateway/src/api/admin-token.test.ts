import * as crypto from 'node:crypto';
import { verifies } from '@tollgate/testkit/verifies';
import { expect, it, vi } from 'vitest';
import { TollgateError } from '../core/errors.ts';
import { ADMIN, withAdminToken } from './admin-token.ts';

vi.mock('node:crypto', async (original) => {
  const real = await original<typeof crypto>();
  return { ...real, timingSafeEqual: vi.fn(real.timingSafeEqual) };
});

it('the admin token is compared by digest in one length, and everything else is for the entries', () => {
  verifies('R0-54');
  const token = `tga_${'a'.repeat(43)}`;
  const refused = new TollgateError('unauthorized', 'no');
  const others = vi.fn(() => refused);
  const identify = withAdminToken(token, others);
  expect(identify(`Bearer ${token}`)).toBe(ADMIN);
  expect(others).not.toHaveBeenCalled();
  for (const sent of [
    `Bearer ${token.slice(0, -1)}b`,
    `Bearer ${token} `,
    `bearer ${token}`,
    'Bearer x',
    'x'.repeat(999),
  ]) {
    vi.mocked(crypto.timingSafeEqual).mockClear();
    expect(identify(sent)).toBe(refused);
    expect(vi.mocked(crypto.timingSafeEqual).mock.calls.map((pair) => pair.map((side) => side.byteLength))).toEqual([
      [32, 32],
    ]);
  }
  expect(identify(undefined)).toBe(refused);
  expect(others.mock.calls).toHaveLength(6);
});
