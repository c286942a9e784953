/**
 * Watches every call end: a ring of the last ones, live watchers (`tollgate tail`), and counts. Outside the chain, so
 * refusals are seen as well; everything in here is bounded, whatever clients send.
 */
import type { Clock } from '../core/clock.ts';
import type { TollgateError } from '../core/errors.ts';
import type { Call } from '../protocol/call.ts';
import { Field, type Message } from '../protocol/message.ts';
import type { Era } from '../protocol/versions.ts';
import { RefusedCallers } from './refused-callers.ts';

/**
 * `answered`: a result. `tool_error`: the tool ran and said that it failed. `error`: the server answered an error.
 * `failed`: no answer of the server reached the caller. `refused`: limits or access. `cancelled`: the caller left.
 */
export type Outcome = 'answered' | 'tool_error' | 'error' | 'failed' | 'refused' | 'cancelled';

/** One call that has ended. Texts of clients and servers are cut to 256 characters. */
export interface FinishedCall {
  /** Wall time of the end in milliseconds. */
  readonly at: number;
  readonly durationMs: number;
  readonly endpoint: string;
  readonly era: Era;
  readonly principal: string;
  readonly method: string;
  /** Canonical id; undefined for methods without an object. */
  readonly target: string | undefined;
  readonly server: string | undefined;
  readonly outcome: Outcome;
  /** Name of the limit, code of the error; undefined when answered. */
  readonly reason: string | undefined;
  readonly decisionId: string | undefined;
}

export interface CallCounts {
  readonly total: number;
  /** Outcome `answered`. */
  readonly successful: number;
  /** Outcomes `tool_error`, `error` and `failed`. */
  readonly failed: number;
  readonly refused: number;
  readonly cancelled: number;
  /** Successful share of the calls that were neither refused nor cancelled; 1 when there were none. */
  readonly successRate: number;
  /** Milliseconds over the successful and failed; undefined when there were none. */
  readonly latency: { readonly min: number; readonly max: number; readonly average: number } | undefined;
}

export interface CallStatistics extends CallCounts {
  readonly servers: ReadonlyMap<string, CallCounts>;
  /** By canonical id. Tools beyond the cap are counted together under `other`. */
  readonly tools: ReadonlyMap<string, CallCounts>;
}

/** The part of a refused admission that is told here. */
interface RefusedBy {
  readonly reason: string;
  readonly binding: { readonly limit: { readonly name: string } } | undefined;
}

export interface CallLogOptions {
  readonly clock: Clock;
  /** Finished calls kept. Default 1000. */
  readonly keep?: number;
  /** Servers and tools counted one by one. Default 2000 each. */
  readonly maxNames?: number;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

const MAX_TEXT = 256;
/** Calls between two looks at the wall clock; in between the monotonic one that ends the call is enough. */
const WALL_EVERY = 256;
const REFUSING: ReadonlySet<string> = new Set(['access_denied', 'insufficient_scope', 'unauthorized', 'rate_limited']);

export class CallLog {
  /** Refusals before or beside calls: most of them have no call that could be shown. */
  readonly callers: RefusedCallers;
  readonly #clock: Clock;
  readonly #maxNames: number;
  readonly #ring: Mutable<FinishedCall>[] = [];
  readonly #keep: number;
  readonly #watchers = new Set<(call: FinishedCall) => void>();
  readonly #all = new Counter();
  readonly #servers = new Map<string, Counter>();
  readonly #tools = new Map<string, Counter>();
  #ended = 0;
  /** Wall minus monotonic time. */
  #offset = 0;

  constructor(options: CallLogOptions) {
    this.#clock = options.clock;
    this.callers = new RefusedCallers(options.clock);
    this.#keep = options.keep ?? 1000;
    this.#maxNames = options.maxNames ?? 2000;
  }

  /** The call got a response; undefined: the gateway's own result. */
  answered(call: Call, response: Message | undefined): void {
    if (response?.kind === 'error') this.#end(call, 'error', response.raw(Field.errorCode));
    else if (response !== undefined && saysFailed(response)) this.#end(call, 'tool_error', 'tool_error');
    else this.#end(call, 'answered', undefined);
  }

  failed(call: Call, error: TollgateError): void {
    const refused = REFUSING.has(error.code);
    this.#end(call, refused ? 'refused' : error.code === 'cancelled' ? 'cancelled' : 'failed', error.code);
  }

  /** Admission refused: a limit had no room, or calls are stopped. */
  refused(call: Call, { binding, reason }: RefusedBy): void {
    this.#end(call, 'refused', binding?.limit.name ?? reason);
  }

  /** Calls back for every call that ends from now on; returns the way to stop. A listener that throws is dropped. */
  watch(listener: (call: FinishedCall) => void): () => void {
    // One function may watch twice.
    const watcher = (call: FinishedCall): void => listener(call);
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /** The last calls, oldest first. */
  recent(): readonly FinishedCall[] {
    const start = this.#ended > this.#keep ? this.#ended % this.#keep : 0;
    return [...this.#ring.slice(start), ...this.#ring.slice(0, start)].map((record) => ({ ...record }));
  }

  statistics(): CallStatistics {
    const counts = (counters: ReadonlyMap<string, Counter>) =>
      new Map([...counters].map(([name, counter]) => [name, counter.counts()] as const));
    return { ...this.#all.counts(), servers: counts(this.#servers), tools: counts(this.#tools) };
  }

  #end(call: Call, outcome: Outcome, reason: string | undefined): void {
    const now = this.#clock.monotonic();
    const durationMs = Math.max(0, now - call.startedAt);
    if (this.#ended % WALL_EVERY === 0) this.#offset = this.#clock.wall() - now;
    this.#all.add(outcome, durationMs);
    if (call.server !== undefined) this.#counter(this.#servers, call.server).add(outcome, durationMs);
    if (call.canonicalId !== undefined && call.message.method === 'tools/call') {
      this.#counter(this.#tools, call.canonicalId).add(outcome, durationMs);
    }
    const record = this.#slot();
    record.at = Math.round(this.#offset + now);
    record.durationMs = durationMs;
    record.endpoint = call.endpoint;
    record.era = call.era;
    record.principal = cut(call.principal.id);
    record.method = cut(call.message.method);
    record.target = call.canonicalId === undefined ? undefined : cut(call.canonicalId);
    record.server = call.server;
    record.outcome = outcome;
    record.reason = reason;
    record.decisionId = call.decisionId;
    if (this.#watchers.size > 0) this.#tell({ ...record });
  }

  /** The ring's next record: the objects are made once and written over. */
  #slot(): Mutable<FinishedCall> {
    const at = this.#ended++ % this.#keep;
    this.#ring[at] ??= {} as Mutable<FinishedCall>;
    return this.#ring[at];
  }

  #tell(record: FinishedCall): void {
    for (const watcher of this.#watchers) {
      try {
        watcher(record);
      } catch {
        // Whoever watches must never disturb the call that is watched.
        this.#watchers.delete(watcher);
      }
    }
  }

  #counter(counters: Map<string, Counter>, name: string): Counter {
    const known = counters.get(name);
    if (known !== undefined) return known;
    const key = counters.size < this.#maxNames ? name : 'other';
    let counter = counters.get(key);
    if (counter === undefined) {
      counter = new Counter();
      counters.set(key, counter);
    }
    return counter;
  }
}

class Counter {
  #successful = 0;
  #failed = 0;
  #refused = 0;
  #cancelled = 0;
  #min = Infinity;
  #max = 0;
  #sum = 0;

  add(outcome: Outcome, durationMs: number): void {
    if (outcome === 'refused') {
      this.#refused++;
      return;
    }
    if (outcome === 'cancelled') {
      this.#cancelled++;
      return;
    }
    if (outcome === 'answered') this.#successful++;
    else this.#failed++;
    if (durationMs < this.#min) this.#min = durationMs;
    if (durationMs > this.#max) this.#max = durationMs;
    this.#sum += durationMs;
  }

  counts(): CallCounts {
    const ran = this.#successful + this.#failed;
    return {
      total: ran + this.#refused + this.#cancelled,
      successful: this.#successful,
      failed: this.#failed,
      refused: this.#refused,
      cancelled: this.#cancelled,
      successRate: ran === 0 ? 1 : this.#successful / ran,
      latency: ran === 0 ? undefined : { min: this.#min, max: this.#max, average: this.#sum / ran },
    };
  }
}

/** `isError: true` of a tool result, without making a string of it. */
function saysFailed(response: Message): boolean {
  const start = response.spans[2 * Field.isError]!;
  return start >= 0 && response.at(start) === 0x74;
}

/** A copy of its own, so that a record never keeps a large body alive through a slice of it. */
function cut(text: string): string {
  return text.length <= MAX_TEXT ? text : `${Buffer.from(text.slice(0, MAX_TEXT)).toString()}…`;
}
