/**
 * Event streams to clients: counted, kept alive by one timer for all, and bounded for slow readers. An idle stream
 * owns no timer and no buffer of its own, so that ten thousand of them are cheap.
 */
import type { ServerResponse } from 'node:http';
import { TollgateError } from '../core/errors.ts';
import type { InboundCaps } from './options.ts';

/** Streams get their keep-alive comment in turns, so that many of them do not make one long pause. */
const TURNS = 16;
/** Keep-alive rounds in which a reader took nothing, after which its stream is closed. */
const STALLED_ROUNDS = 4;
const COMMENT = Buffer.from(':\n\n');

/** One `text/event-stream` answer. Its owner reports the disconnect with `detach`. */
export class EventStream {
  readonly #response: ServerResponse;
  readonly #streams: Streams;
  readonly principalKey: number;
  turn = 0;
  quiet = true;
  #overflow: ((reason: TollgateError) => void) | undefined;
  #open = true;
  #stalled = 0;

  constructor(response: ServerResponse, streams: Streams, principalKey: number) {
    this.#response = response;
    this.#streams = streams;
    this.principalKey = principalKey;
    streams.add(this);
  }

  get open(): boolean {
    return this.#open;
  }

  /** The listener is called once when the gateway gives the stream up because its reader is too slow. */
  whenOverflow(listener: (reason: TollgateError) => void): void {
    this.#overflow = listener;
  }

  /** Hands encoded events to the socket. False: the stream is closed, or was closed because its reader is too slow. */
  send(events: Buffer): boolean {
    if (!this.#open) return false;
    const waiting = this.#response.writableLength;
    if (waiting > 0 && waiting + events.length > this.#streams.caps.streamBuffer) {
      this.#giveUp(`More than ${this.#streams.caps.streamBuffer} bytes were waiting for the client to read them.`);
      return false;
    }
    this.quiet = false;
    this.#response.write(events);
    return true;
  }

  /** Ends the stream after what was sent, and after `last` when given. */
  end(last?: Buffer): void {
    if (!this.#open) return;
    this.detach();
    if (last === undefined) this.#response.end();
    else this.#response.end(last);
  }

  /** Forgets the stream: its client is gone, or its answer has ended. */
  detach(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#streams.remove(this);
  }

  /** One keep-alive round. */
  tick(): void {
    if (this.#response.writableLength > 0) {
      if (++this.#stalled >= STALLED_ROUNDS) this.#giveUp('The client stopped reading its stream.');
      return;
    }
    this.#stalled = 0;
    if (this.quiet) this.#response.write(COMMENT);
    this.quiet = true;
  }

  #giveUp(why: string): void {
    this.detach();
    this.#response.destroy();
    this.#overflow?.(new TollgateError('cancelled', `${why} The stream was closed.`, { executed: 'unknown' }));
  }
}

/** All open streams of one listener. */
export class Streams {
  readonly #caps: () => InboundCaps;
  readonly #turns: readonly Set<EventStream>[] = Array.from({ length: TURNS }, () => new Set<EventStream>());
  readonly #byPrincipal = new Map<number, number>();
  #size = 0;
  #next = 0;
  #now = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(caps: () => InboundCaps) {
    this.#caps = caps;
  }

  get caps(): InboundCaps {
    return this.#caps();
  }

  get size(): number {
    return this.#size;
  }

  /** Whether a principal may hold one more stream; otherwise the error to answer with. */
  admit(principalKey: number): TollgateError | undefined {
    if (this.#size >= this.caps.streams) {
      return new TollgateError(
        'too_many_streams',
        `All ${this.caps.streams} client streams are taken (\`caps.streams\`).`,
      );
    }
    if ((this.#byPrincipal.get(principalKey) ?? 0) >= this.caps.streamsPerPrincipal) {
      return new TollgateError(
        'too_many_streams',
        `You hold ${this.caps.streamsPerPrincipal} open streams already (\`caps.streamsPerPrincipal\`). Close one first.`,
      );
    }
    return undefined;
  }

  add(stream: EventStream): void {
    stream.turn = this.#next;
    this.#next = (this.#next + 1) % TURNS;
    this.#turns[stream.turn]!.add(stream);
    this.#size++;
    this.#byPrincipal.set(stream.principalKey, (this.#byPrincipal.get(stream.principalKey) ?? 0) + 1);
    this.#timer ??= setInterval(() => this.#tick(), Math.max(1, this.caps.keepAlive / TURNS)).unref();
  }

  remove(stream: EventStream): void {
    if (!this.#turns[stream.turn]!.delete(stream)) return;
    this.#size--;
    const left = (this.#byPrincipal.get(stream.principalKey) ?? 1) - 1;
    if (left === 0) this.#byPrincipal.delete(stream.principalKey);
    else this.#byPrincipal.set(stream.principalKey, left);
    if (this.#size === 0) this.#stop();
  }

  /** Ends every stream without a word: the last step of a shutdown. */
  close(): void {
    for (const turn of this.#turns) for (const stream of turn) stream.end();
    this.#stop();
  }

  #tick(): void {
    const turn = this.#turns[this.#now]!;
    this.#now = (this.#now + 1) % TURNS;
    for (const stream of turn) stream.tick();
  }

  #stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
