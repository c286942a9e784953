/** Writing on the stored streams of a legacy session. */
import type { AnswerListener } from '../protocol/call.ts';
import { requestBytes } from '../protocol/json/splice.ts';
import { encodeEvent } from '../protocol/sse.ts';
import { cannotAsk } from './edge.ts';
import type { EventStore, StoredStream } from './event-store.ts';
import type { PendingAsks } from './pending-asks.ts';
import type { EventStream } from './stream.ts';
import { cancelBytes } from './wire.ts';

interface StreamOwner {
  readonly events: EventStore;
  readonly asks: PendingAsks;
  readonly version: string;
}

/** After which a client whose connection broke should come back. */
const RETRY_MS = 1_000;

/** Revisions from which an event may be empty: older clients parse every event as JSON. */
function primes(version: string): boolean {
  return version >= '2025-11-25';
}

/** Connects a reader to a stored stream: primes a new one, or sends what came after the event it has seen. */
export function attach(owner: StreamOwner, stored: StoredStream, live: EventStream, after: number): void {
  const before = stored.live;
  stored.live = live;
  // The old connection is dead, or the same client left it: one message goes to one stream only.
  before?.end();
  if (after === 0 && stored.last === 0 && primes(owner.version)) {
    live.send(Buffer.from(`id: ${stored.id(0)}\nretry: ${RETRY_MS}\ndata: \n\n`));
    stored.known = true;
  }
  for (let sequence = Math.max(after + 1, stored.first); sequence <= stored.last; sequence++) {
    live.send(encodeEvent(stored.events[sequence - stored.first]!, stored.id(sequence)));
  }
  if (stored.complete) live.end();
}

/**
 * Sends one message on a stream and keeps it for resumption. False: nobody reads the stream and nobody can come back
 * for it, the message is dropped.
 */
export function sendEvent(owner: StreamOwner, stored: StoredStream, data: Buffer): boolean {
  if (stored.live === undefined && !stored.known) return false;
  const sequence = owner.events.append(stored, data);
  if (stored.live?.send(encodeEvent(data, stored.id(sequence))) === true) stored.known = true;
  return true;
}

/** Asks the client on a stream; `stream` opens it when needed and gives undefined when it cannot. */
export function askOn(
  owner: StreamOwner,
  stream: () => StoredStream | undefined,
  method: string,
  params: string | undefined,
  listener: AnswerListener,
): (reason: string) => void {
  const id = owner.asks.add(listener);
  if (id === undefined) return () => {};
  const target = stream();
  if (target === undefined || !sendEvent(owner, target, requestBytes(id, method, params))) {
    owner.asks.fail(id, cannotAsk());
    return () => {};
  }
  return (reason) => {
    if (owner.asks.withdraw(id)) sendEvent(owner, target, cancelBytes(id, reason));
  };
}
