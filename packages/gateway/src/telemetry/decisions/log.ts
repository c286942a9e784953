/**
 * Records of decisions. The hot path only hands over what exists anyway: admission its record, the pipeline the call.
 * Everything that costs (skeletons, expressions, JSON) happens in later turns, a few milliseconds at a time, and what
 * waits is bounded: refusals are written at once, admissions together, because of those only the last are kept. Refusals
 * by access cost their callers nothing, so that only some of a flood become records.
 */
import type { Log } from '../../core/log.ts';
import type { Principal } from '../../core/principal.ts';
import type { Call } from '../../protocol/call.ts';
import { Field } from '../../protocol/message.ts';
import { Allowance } from './allowance.ts';
import { type DecisionFacts, type DecisionPolicy, type Pending, storedDecision } from './document.ts';
import type { Skeletons } from './skeleton.ts';
import type { DecisionPage, DecisionQuery, DecisionStore, StoredDecision } from './store.ts';

export interface DecisionLogDeps {
  readonly store: DecisionStore;
  readonly skeletons: Skeletons;
  readonly policy: DecisionPolicy;
  readonly log: Log;
}

export interface DecisionLogView {
  /** Records that wait to be made or written. */
  readonly waiting: number;
  /** Lost because the store was away, or because too many came at once. Refusals and admissions alike. */
  readonly dropped: number;
  /** Refusals by access beyond what is recorded of one caller, or of all. */
  readonly unrecorded: number;
}

/** As many admissions as are kept at all: an older one that still waits would be thrown away in the same write. */
const MAX_ADMISSIONS = 10_000;
const MAX_REFUSALS = 10_000;
/** Refusals by access that wait: they take no place of others. */
const MAX_DENIALS = 1000;
/** Requests kept alive by what waits; beyond that a record is made without its arguments. */
const MAX_BYTES = 32 * 1024 * 1024;
/** Larger arguments are not worth what their skeleton costs. */
const MAX_ARGUMENTS = 256 * 1024;
/** Beyond this only so many are kept, and none where access refused: 256 KiB are up to 30 ms of a processor, these 2. */
const SMALL_ARGUMENTS = 16 * 1024;
const LARGE_REFUSED_OF_CALLER = { burst: 10, perSecond: 0.2 };
const LARGE_REFUSED_OF_ALL = { burst: 50, perSecond: 2 };
const LARGE_ADMITTED_OF_CALLER = { burst: 20, perSecond: 1 };
const LARGE_ADMITTED_OF_ALL = { burst: 100, perSecond: 5 };
/** Refusals by access of which records are made. */
const DENIALS_OF_CALLER = { burst: 60, perSecond: 1 };
const DENIALS_OF_ALL = { burst: 600, perSecond: 20 };
/** How long admissions wait for their common write. */
const ADMISSIONS_MS = 5000;
/** Work of one turn. */
const SLICE_MS = 2;
const BATCH = 500;
/** Pause after a failed write. */
const AGAIN_MS = 1000;

export class DecisionLog {
  readonly #store: DecisionStore;
  readonly #skeletons: Skeletons;
  readonly #log: Log;
  #policy: DecisionPolicy;
  #refusals: Pending[] = [];
  #denials: Pending[] = [];
  #admissions: Pending[] = [];
  readonly #allowance = new Allowance(DENIALS_OF_CALLER, DENIALS_OF_ALL);
  readonly #largeRefused = new Allowance(LARGE_REFUSED_OF_CALLER, LARGE_REFUSED_OF_ALL);
  readonly #largeAdmitted = new Allowance(LARGE_ADMITTED_OF_CALLER, LARGE_ADMITTED_OF_ALL);
  #unrecorded = 0;
  /** Where the next admission goes once there are as many as are kept. */
  #oldest = 0;
  #bytes = 0;
  #dropped = 0;
  #turn: NodeJS.Immediate | undefined;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> | undefined;
  #admissionsDue = false;
  #failing = false;
  #closed = false;

  constructor(deps: DecisionLogDeps) {
    this.#store = deps.store;
    this.#skeletons = deps.skeletons;
    this.#policy = deps.policy;
    this.#log = deps.log;
  }

  /** After a reload: what is decided from now on is decided under it. */
  set policy(policy: DecisionPolicy) {
    this.#policy = policy;
  }

  get view(): DecisionLogView {
    const waiting = this.#refusals.length + this.#denials.length + this.#admissions.length;
    return { waiting, dropped: this.#dropped, unrecorded: this.#unrecorded };
  }

  /** Listener of admission. Never throws, never waits. */
  admitted(facts: DecisionFacts): void {
    const pending = this.#pending(facts);
    if (this.#admissions.length < MAX_ADMISSIONS) {
      this.#admissions.push(pending);
    } else {
      this.#bytes -= this.#admissions[this.#oldest]!.bytes;
      this.#admissions[this.#oldest] = pending;
      this.#oldest = (this.#oldest + 1) % MAX_ADMISSIONS;
    }
    if (this.#timer === undefined && !this.#closed) {
      this.#timer = setTimeout(() => void this.flush(), ADMISSIONS_MS);
      this.#timer.unref();
    }
  }

  /** Listener of admission. Never throws, never waits. */
  refused(facts: DecisionFacts): void {
    if (this.#refusals.length >= MAX_REFUSALS) {
      this.#drop(1);
      return;
    }
    this.#refusals.push(this.#pending(facts));
    this.#soon();
  }

  /**
   * Access refused; with its call where there is one. `caller`: who shares an allowance of records. Never throws, never
   * waits. False: no record is made of it.
   */
  denied(facts: DecisionFacts, caller: string, principal: Principal, call: Call | undefined): boolean {
    if (this.#denials.length >= MAX_DENIALS || !this.#allowance.take(caller, facts.at)) {
      this.#unrecorded++;
      return false;
    }
    const pending = this.#pending(facts);
    pending.roles = principal.roles;
    pending.scopes = principal.scopes;
    pending.client = principal.clientId;
    // Nothing for what is hidden: the work would tell it from what does not exist.
    const most = facts.refusal?.reason === 'hidden' ? 0 : SMALL_ARGUMENTS;
    if (call !== undefined) this.#addCall(pending, call, most);
    this.#denials.push(pending);
    this.#soon();
    return true;
  }

  /**
   * The pipeline, right after admission has answered: adds what only the call knows. Found by `call.decisionId`; a
   * call whose decision has been written already, or that has none, is ignored.
   */
  attach(call: Call): void {
    const id = call.decisionId;
    if (id === undefined) return;
    const pending =
      this.#find(this.#refusals, this.#refusals.length - 1, id) ??
      this.#find(this.#admissions, this.#oldest + this.#admissions.length - 1, id);
    if (pending === undefined || pending.roles !== undefined) return;
    pending.roles = call.principal.roles;
    pending.client = call.principal.clientId;
    this.#addCall(pending, call, MAX_ARGUMENTS);
  }

  #addCall(pending: Pending, { address, message }: Call, most: number): void {
    pending.address = address;
    const start = message.spans[2 * Field.arguments]!;
    const size = message.spans[2 * Field.arguments + 1]! - start;
    if (start < 0) pending.has = 'none';
    if (start < 0 || size > most || this.#bytes + message.length > MAX_BYTES) return;
    const { facts } = pending;
    const large = facts.refusal === undefined ? this.#largeAdmitted : this.#largeRefused;
    if (size > SMALL_ARGUMENTS && !large.take(facts.principal, facts.at)) return;
    pending.has = 'arguments';
    pending.args = message.slices(start, start + size);
    pending.exactNumbers = message.exactNumbers;
    pending.bytes = message.length;
    this.#bytes += message.length;
  }

  /** One record, also when it is not written yet. */
  async get(id: string): Promise<StoredDecision | undefined> {
    await this.flush();
    return this.#store.get(id);
  }

  /** The latest first, those included that were not written yet. */
  async list(query?: DecisionQuery): Promise<DecisionPage> {
    await this.flush();
    return this.#store.list(query);
  }

  /** Writes everything that waits. Resolves when it is written, or when the store cannot be reached. */
  flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#admissionsDue = true;
    return this.#start();
  }

  /** Writes what waits; afterwards nothing is written any more but by `flush`. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.flush();
  }

  #soon(): void {
    if (!this.#closed && this.#writing === undefined) this.#turn ??= setImmediate(() => void this.#start());
  }

  /** One write after the other, so that a slow store is asked once at a time; meanwhile what waits is bounded. */
  #start(): Promise<void> {
    clearImmediate(this.#turn);
    this.#turn = undefined;
    this.#writing ??= this.#pump().finally(() => {
      this.#writing = undefined;
    });
    return this.#writing;
  }

  async #pump(): Promise<void> {
    while (this.#refusals.length + this.#denials.length > 0 || this.#admissionsDue) {
      const refusals = this.#refusals;
      this.#refusals = [];
      await this.#write(refusals);
      const denials = this.#denials;
      this.#denials = [];
      await this.#write(denials);
      if (!this.#admissionsDue) continue;
      this.#admissionsDue = false;
      const admissions = [...this.#admissions.slice(this.#oldest), ...this.#admissions.slice(0, this.#oldest)];
      this.#admissions = [];
      this.#oldest = 0;
      await this.#write(admissions);
    }
  }

  async #write(batch: readonly Pending[]): Promise<void> {
    let rows: StoredDecision[] = [];
    let until = performance.now() + SLICE_MS;
    for (const pending of batch) {
      rows.push(storedDecision(pending, this.#skeletons));
      this.#bytes -= pending.bytes;
      if (rows.length >= BATCH) {
        await this.#put(rows);
        rows = [];
      }
      if (performance.now() < until) continue;
      await new Promise(setImmediate);
      until = performance.now() + SLICE_MS;
    }
    await this.#put(rows);
  }

  /** A write that fails is repeated once: records are worth a second try, not a queue without end. */
  async #put(rows: readonly StoredDecision[]): Promise<void> {
    if (rows.length === 0) return;
    for (let attempt = 0; ; attempt++) {
      try {
        await this.#store.put(rows);
        this.#failing = false;
        return;
      } catch (error) {
        if (attempt > 0 || this.#failing || this.#closed) {
          this.#drop(rows.length, error);
          return;
        }
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      }
    }
  }

  #drop(count: number, cause?: unknown): void {
    this.#dropped += count;
    if (this.#failing) return;
    this.#failing = true;
    this.#log.error({ count, err: cause }, 'records of decisions are lost: the store does not take them');
  }

  #pending(facts: DecisionFacts): Pending {
    return {
      facts,
      policy: this.#policy,
      roles: undefined,
      scopes: undefined,
      client: undefined,
      address: undefined,
      has: 'unknown',
      args: NO_ARGUMENTS,
      exactNumbers: true,
      bytes: 0,
    };
  }

  /** The newest or one near it: of many calls in one turn, or of waits that ended together. */
  #find(list: readonly Pending[], newest: number, id: string): Pending | undefined {
    for (let back = 0; back < Math.min(64, list.length); back++) {
      const pending = list[(newest - back + list.length) % list.length];
      if (pending?.facts.id === id) return pending;
    }
    return undefined;
  }
}

const NO_ARGUMENTS: readonly Buffer[] = [];
