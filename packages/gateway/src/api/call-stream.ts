/** `GET /calls`: every call that ends and who is turned away before, as server-sent events, for as long as its reader may see them. */
import type { Context } from 'hono';
import { streamSSE } from 'hono/streaming';
import type { Principal } from '../core/principal.ts';
import type { FinishedCall } from '../telemetry/calls.ts';
import type { RefusedCaller } from '../telemetry/refused-callers.ts';

/** What can be watched; each gives back the way to stop. */
export interface WatchPort {
  watchCalls(listener: (call: FinishedCall) => void): () => void;
  /** Absent: not told. */
  watchRefusedCallers?(listener: (caller: RefusedCaller) => void): () => void;
}

/** Records waiting for a slow reader; beyond that they are dropped and counted. */
const MAX_WAITING = 1000;
/** Longest wait of one timer; nobody watches for so long. */
const MAX_WAIT = 2 ** 31 - 1;

/** Streams until the reader leaves or its credential ends. */
export function streamCalls(c: Context, { expiresAt }: Principal, port: WatchPort): Response {
  const refusedOnly = c.req.query('refused') === 'true';
  return streamSSE(c, async (stream) => {
    const waiting: { readonly event: string; readonly record: FinishedCall | RefusedCaller }[] = [];
    let dropped = 0;
    let over = false;
    let wake: (() => void) | undefined;
    const tell = (event: string, record: FinishedCall | RefusedCaller): void => {
      if (waiting.length >= MAX_WAITING) dropped++;
      else waiting.push({ event, record });
      wake?.();
    };
    const stopCalls = port.watchCalls((call) => {
      if (!refusedOnly || call.outcome === 'refused') tell('call', call);
    });
    const stopRefused = port.watchRefusedCallers?.((caller) => tell('refused_caller', caller));
    const end = (): void => {
      over = true;
      stopCalls();
      stopRefused?.();
      wake?.();
    };
    stream.onAbort(end);
    const left = expiresAt === undefined ? MAX_WAIT : Math.min(Math.max(0, expiresAt - Date.now()), MAX_WAIT);
    const timer = setTimeout(end, left).unref();
    await stream.write(': watching\n\n');
    while (!over) {
      const next = waiting.shift();
      if (next !== undefined) {
        await stream.writeSSE({ event: next.event, data: JSON.stringify(next.record) });
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
