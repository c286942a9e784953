/** `GET /calls`: every call that ends, as server-sent events, for as long as its reader may see them. */
import type { Context } from 'hono';
import { streamSSE } from 'hono/streaming';
import type { Principal } from '../core/principal.ts';
import type { FinishedCall } from '../telemetry/calls.ts';

/** Records waiting for a slow reader; beyond that they are dropped and counted. */
const MAX_WAITING = 1000;
/** Longest wait of one timer; nobody watches for so long. */
const MAX_WAIT = 2 ** 31 - 1;

/** Streams until the reader leaves or its credential ends. */
export function streamCalls(
  c: Context,
  { expiresAt }: Principal,
  watch: (listener: (call: FinishedCall) => void) => () => void,
): Response {
  const refusedOnly = c.req.query('refused') === 'true';
  return streamSSE(c, async (stream) => {
    const waiting: FinishedCall[] = [];
    let dropped = 0;
    let over = false;
    let wake: (() => void) | undefined;
    const stop = watch((call) => {
      if (refusedOnly && call.outcome !== 'refused') return;
      if (waiting.length >= MAX_WAITING) dropped++;
      else waiting.push(call);
      wake?.();
    });
    const end = (): void => {
      over = true;
      stop();
      wake?.();
    };
    stream.onAbort(end);
    const left = expiresAt === undefined ? MAX_WAIT : Math.min(Math.max(0, expiresAt - Date.now()), MAX_WAIT);
    const timer = setTimeout(end, left).unref();
    await stream.write(': watching\n\n');
    while (!over) {
      const call = waiting.shift();
      if (call !== undefined) {
        await stream.writeSSE({ event: 'call', data: JSON.stringify(call) });
      } else if (dropped > 0) {
        await stream.writeSSE({ event: 'dropped', data: String(dropped) });
        dropped = 0;
      } else {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    }
    clearTimeout(timer);
  });
}
