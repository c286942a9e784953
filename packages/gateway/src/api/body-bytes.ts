import type { HttpBindings } from '@hono/node-server';
import type { Context } from 'hono';
import { TollgateError } from '../core/errors.ts';
import { readBody } from '../inbound/body.ts';

/**
 * The body of a request, at most `cap` bytes. Rejects with `payload_too_large`. Read from Node's own stream: a web stream
 * over it cannot be bounded before it is read, and Hono's own limit fails on a body whose length is not told.
 */
export async function bodyBytes(c: Context, cap: number): Promise<Buffer> {
  const { incoming } = (c.env ?? {}) as Partial<HttpBindings>;
  // Asked in process, without a socket: the body is in memory already.
  if (incoming === undefined) return Buffer.from(await c.req.arrayBuffer());
  return new Promise((resolve, reject) => {
    if (incoming.readableEnded) {
      resolve(Buffer.alloc(0));
      return;
    }
    incoming.once('close', () => reject(new TollgateError('cancelled', 'The client left', { http: 400 })));
    readBody(incoming, cap, (body) => {
      if (body instanceof Error) reject(body);
      else resolve(body instanceof Uint8Array ? body : Buffer.concat(body));
    });
  });
}
