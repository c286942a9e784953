/**
 * What a legacy client may still fetch after its connection broke (`Last-Event-ID`, MCP 2025-11-25, resumability).
 * One store for each session; bounded by count, bytes and age, and by a budget that all sessions share.
 */
import type { EventStream } from './stream.ts';

/** Events kept of one stream, streams of one session, bytes of one session, milliseconds after a stream's end. */
export const EVENT_CAPS = { events: 256, streams: 64, bytes: 4 * 1024 * 1024, age: 5 * 60_000 } as const;

/** Bytes that all sessions of one listener may keep. */
export class EventBudget {
  readonly max: number;
  used = 0;

  constructor(max = 64 * 1024 * 1024) {
    this.max = max;
  }
}

/** The events of one stream: of one POST, or of the session's GET stream. */
export class StoredStream {
  readonly number: number;
  readonly events: Buffer[] = [];
  /** Sequence number of `events[0]`; the priming event is number 0. */
  first = 1;
  bytes = 0;
  complete = false;
  /** Where events go at once; undefined while no connection reads the stream. */
  live: EventStream | undefined = undefined;
  /** True once the client was told an event id of this stream, without which it cannot come back for more. */
  known = false;
  endedAt = 0;

  constructor(number: number) {
    this.number = number;
  }

  get last(): number {
    return this.first + this.events.length - 1;
  }

  /** Id of an event: which stream, and which place in it. */
  id(sequence: number): string {
    return `${this.number}-${sequence}`;
  }
}

export class EventStore {
  readonly #budget: EventBudget;
  readonly #streams = new Map<number, StoredStream>();
  #lastNumber = 0;
  #closed = false;
  #bytes = 0;

  constructor(budget: EventBudget) {
    this.#budget = budget;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get size(): number {
    return this.#streams.size;
  }

  /** A new stream. When the session has too many, the oldest that ended gives way. */
  open(): StoredStream {
    if (this.#streams.size >= EVENT_CAPS.streams) {
      for (const stream of this.#streams.values()) {
        if (!stream.complete) continue;
        this.drop(stream);
        break;
      }
    }
    const stream = new StoredStream(++this.#lastNumber);
    if (!this.#closed) this.#streams.set(stream.number, stream);
    return stream;
  }

  /** Keeps an event and gives its sequence number. Old events give way first, so the final response stays longest. */
  append(stream: StoredStream, event: Buffer): number {
    // A stream that was dropped belongs to a session that has ended: nobody can come back for it.
    if (this.#streams.get(stream.number) !== stream) return stream.last + 1;
    stream.events.push(event);
    this.#count(stream, event.length);
    const sequence = stream.last;
    while (stream.events.length > EVENT_CAPS.events || (this.#full && stream.events.length > 1))
      this.#dropFirst(stream);
    for (const other of this.#streams.values()) {
      if (!this.#full) break;
      if (other !== stream) while (this.#full && other.events.length > 0) this.#dropFirst(other);
    }
    // One event that alone is over the budget is delivered live only.
    if (this.#full) this.#dropFirst(stream);
    return sequence;
  }

  complete(stream: StoredStream, now: number): void {
    stream.complete = true;
    stream.endedAt = now;
  }

  /** The stream and place that a `Last-Event-ID` names; undefined when it is not known here (any more). */
  find(lastEventId: string): { readonly stream: StoredStream; readonly after: number } | undefined {
    const match = /^([0-9]{1,10})-([0-9]{1,10})$/.exec(lastEventId);
    if (match === null) return undefined;
    const stream = this.#streams.get(Number(match[1]));
    const after = Number(match[2]);
    return stream === undefined || after > stream.last ? undefined : { stream, after };
  }

  /** Forgets streams that ended too long ago. */
  expire(now: number): void {
    for (const stream of this.#streams.values()) {
      if (stream.complete && now - stream.endedAt > EVENT_CAPS.age) this.drop(stream);
    }
  }

  drop(stream: StoredStream): void {
    if (!this.#streams.delete(stream.number)) return;
    this.#count(stream, -stream.bytes);
    stream.first += stream.events.length;
    stream.events.length = 0;
  }

  /** The session has ended: nothing is kept any more. */
  clear(): void {
    this.#closed = true;
    for (const stream of [...this.#streams.values()]) {
      stream.live?.end();
      this.drop(stream);
    }
  }

  get #full(): boolean {
    return this.#bytes > EVENT_CAPS.bytes || (this.#budget.used > this.#budget.max && this.#bytes > 0);
  }

  #dropFirst(stream: StoredStream): void {
    const event = stream.events.shift();
    if (event === undefined) return;
    stream.first++;
    this.#count(stream, -event.length);
  }

  #count(stream: StoredStream, bytes: number): void {
    stream.bytes += bytes;
    this.#bytes += bytes;
    this.#budget.used += bytes;
  }
}
