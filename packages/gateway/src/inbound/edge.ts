/** What the files of the HTTP edge share: the gateway as it is now, its clock and log, and what is open. */
import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import type { Lifetime } from '../core/lifetime.ts';
import type { Log } from '../core/log.ts';
import type { Principal } from '../core/principal.ts';
import type { Endpoint, Face } from '../protocol/call.ts';
import type { Message } from '../protocol/message.ts';
import type { Exchange } from './exchange.ts';
import type { InboundOptions } from './options.ts';
import type { RequestHead } from './request-head.ts';
import type { Streams } from './stream.ts';

export interface Edge {
  /** Replaced by a reload. */
  options: InboundOptions;
  readonly face: () => Face;
  readonly clock: Clock;
  readonly log: Log;
  readonly streams: Streams;
  readonly calls: OpenCalls;
}

/** A POST whose sender and body are known and sound: what every era's handler starts from. */
export interface Posted {
  readonly exchange: Exchange;
  readonly head: RequestHead;
  readonly message: Message;
  readonly endpoint: Endpoint;
  readonly principal: Principal;
  /** Of the socket; undefined once it is gone. */
  readonly address: string | undefined;
  readonly startedAt: number;
}

export interface OpenCall {
  readonly lifetime: Lifetime;
  /** The method; a `subscriptions/listen` never ends by itself, so a drain ends it first. */
  readonly method: string;
  /** Kept by `OpenCalls`: the place in its list, -1 when not there. */
  place: number;
}

/** Calls that an edge has handed to an endpoint and not yet answered. A list, for the reason given at `Connection`. */
export class OpenCalls {
  readonly #open: OpenCall[] = [];
  #waiting: (() => void)[] = [];

  get size(): number {
    return this.#open.length;
  }

  add(call: OpenCall): void {
    call.place = this.#open.push(call) - 1;
  }

  delete(call: OpenCall): void {
    if (call.place < 0) return;
    const last = this.#open.pop()!;
    if (last !== call) {
      this.#open[call.place] = last;
      last.place = call.place;
    }
    call.place = -1;
    if (this.#open.length > 0 || this.#waiting.length === 0) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }

  /** Ends the lifetimes of all calls, or only of those that never end by themselves. */
  end(which: 'all' | 'listening'): void {
    for (const call of [...this.#open]) {
      if (which === 'all' || call.method === 'subscriptions/listen') call.lifetime.end(shuttingDown());
    }
  }

  /** Resolves when no call is open, or after so many milliseconds. */
  async empty(ms: number): Promise<void> {
    if (this.#open.length === 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#waiting.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }
}

export function shuttingDown(): TollgateError {
  return new TollgateError('shutting_down', 'The gateway is shutting down. Repeat this later.', {
    retryAfterSeconds: 1,
  });
}

export function clientLeft(): TollgateError {
  return new TollgateError('cancelled', 'The client closed the connection before the answer.', { executed: 'unknown' });
}

/** The client cannot be asked here: it reads no stream, or its era has no requests of servers. */
export function cannotAsk(): TollgateError {
  return new TollgateError('not_bridgeable', 'The client has no stream on which it could be asked.');
}
