/** The fields that operations share, as zod schemas with the bounds of X0-09. */
import * as z from 'zod';
import { MAX_NUMBER, MAX_STRING } from './bounds.ts';

/** Longest id of a principal that exists already; X0-09's own bound is for new ones. */
const MAX_CLIENT_ID = 1000;
/** X0-09: ids that an operation may make. */
const NEW_CLIENT_ID = /^[A-Za-z0-9_.@-]{1,100}$/;

export const clientId = z
  .string({ error: 'client_id must be a string' })
  .min(1, 'client_id must not be empty')
  .max(MAX_CLIENT_ID, `client_id has more than ${MAX_CLIENT_ID} characters`)
  .refine(
    (id) => !/[\u0000-\u001f\u007f]/.test(id) && id.isWellFormed(),
    'client_id has characters that no id can have',
  )
  .optional();

/** Whether an operation may make a principal of this id. */
export function isNewClientId(id: string): boolean {
  return NEW_CLIENT_ID.test(id);
}

export const endpoint = z
  .string({ error: 'endpoint must be a string' })
  .min(1, 'endpoint must not be empty')
  .max(MAX_STRING)
  .default('unknown');

/** JSON numbers only: a cost in a string has been read by somebody else's rules already. */
export const amount = (name: string) =>
  z
    .number({ error: `${name} must be a JSON number` })
    .min(0, `${name} must not be negative`)
    .max(MAX_NUMBER, `${name} must be at most ${MAX_NUMBER}`);

export const tier = z.string({ error: 'tier must be a string' }).min(1).max(100);

export const text = (name: string) =>
  z
    .string({ error: `${name} must be a string` })
    .min(1)
    .max(MAX_STRING);

/** Millionths of an amount, rounded up: a cost below a millionth is not free. Exact where a double is. */
export function toMicros(value: number): number {
  const scaled = value * 1e6;
  const whole = Math.round(scaled);
  // 0.07 is 70000.00000000001 millionths only because of the multiplication.
  return Math.abs(scaled - whole) <= whole * 2 * Number.EPSILON ? whole + 0 : Math.ceil(scaled);
}

export function fromMicros(micros: number): number {
  return micros / 1e6;
}
