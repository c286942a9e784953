/** Holds of other systems: their numbers, by the id that was given out. */
import { externalHoldId } from '../admission/desk.ts';
import type { Answer, External, HoldAnswer, Question, Subject } from '../admission/external.ts';
import type { Clock } from '../core/clock.ts';
import { randomId } from '../core/ids.ts';
import { keepNewest } from '../core/keep-newest.ts';
import { idInTenant } from '../core/principal.ts';
import type { Ledger } from '../store/storage.ts';
import { type Full, OpenHolds } from './open-holds.ts';
import type { HoldView } from './operations-port.ts';

/** Holds that are remembered with their numbers; older ones are read from the ledger. */
const MAX_HOLDS = 100_000;

interface HoldsDeps {
  readonly external: () => External;
  readonly clock: Clock;
  readonly ledger: Ledger | undefined;
  readonly currency: () => string;
}

interface KnownHold {
  readonly subject: Subject;
  view: HoldView;
  /** Monotonic; undefined: made by another process, known by its wall time alone. */
  readonly ends?: number;
}

export class ExternalHolds {
  readonly #deps: HoldsDeps;
  readonly #known = new Map<string, KnownHold>();
  readonly #open = new OpenHolds();

  constructor(deps: HoldsDeps) {
    this.#deps = deps;
  }

  /** `hold` undefined: refused, and nothing was taken. `full`: too many are open, and the limits were not asked. */
  async reserve(
    question: Question,
    endpoint: string,
    ttl: number,
  ): Promise<
    { readonly full: Full } | { readonly full?: never; readonly answer: Answer; readonly hold: HoldView | undefined }
  > {
    const { external, clock, currency } = this.#deps;
    const { subject } = question;
    const own = randomId(16);
    const id = publicId(subject.principal, own);
    // By the clock that nobody sets: a hold neither ends early nor keeps its place when the wall clock is corrected.
    const now = clock.monotonic();
    const ends = now + ttl;
    const full = this.#open.begin(id, subject.principal, ends, now);
    if (full !== undefined) return { full };
    let answer: Answer | undefined;
    try {
      answer = await external().reserve(question, own, ttl, clock.monotonic());
    } finally {
      if (answer?.allowed !== true) this.#open.end(id);
    }
    if (answer.allowed !== true) return { answer, hold: undefined };
    const hold: HoldView = {
      id,
      state: 'open',
      client: subject.principal,
      endpoint,
      reserved: answer.cost[currency()] ?? 0,
      charged: undefined,
      expiresAt: Math.ceil(clock.wall() + ttl),
    };
    this.#remember(hold.id, { subject, view: hold, ends });
    return { answer, hold };
  }

  async find(id: string): Promise<HoldView | undefined> {
    const known = this.#known.get(id) ?? (await this.#fromLedger(id));
    if (known === undefined) return undefined;
    const { view, ends } = known;
    const { clock } = this.#deps;
    const over = ends === undefined ? view.expiresAt <= clock.wall() : ends <= clock.monotonic();
    return view.state === 'open' && over ? expired(known) : view;
  }

  /** `cost` undefined: what was reserved. */
  async settle(id: string, cost: number | undefined): Promise<HoldView | undefined> {
    const amounts = cost === undefined ? [] : [{ unit: this.#deps.currency(), micros: cost }];
    return this.#end(
      id,
      (reserved) => cost ?? reserved,
      (subject, own, now) => this.#deps.external().settle(subject, own, amounts, now),
    );
  }

  async release(id: string): Promise<HoldView | undefined> {
    return this.#end(
      id,
      () => 0,
      (subject, own, now) => this.#deps.external().release(subject, own, now),
    );
  }

  async #end(
    id: string,
    charge: (reserved: number) => number,
    end: (subject: Subject, own: string, now: number) => Promise<HoldAnswer>,
  ): Promise<HoldView | undefined> {
    const known = this.#known.get(id) ?? (await this.#fromLedger(id));
    const parts = readPublicId(id);
    if (known === undefined || parts === undefined) return undefined;
    const { state, changed } = await end(known.subject, parts.own, this.#deps.clock.monotonic());
    if (state !== 'open') this.#open.end(id);
    if (changed && (state === 'settled' || state === 'released')) {
      known.view = { ...known.view, state, charged: charge(known.view.reserved) };
      this.#remember(id, known);
    } else if (state === 'expired' && known.view.state === 'open') {
      expired(known);
    }
    return known.view;
  }

  #remember(id: string, hold: KnownHold): void {
    this.#known.set(id, hold);
    keepNewest(this.#known, MAX_HOLDS);
  }

  /** A hold of an earlier process or of another gateway. Holds without money leave nothing in the ledger. */
  async #fromLedger(id: string): Promise<KnownHold | undefined> {
    const parts = readPublicId(id);
    if (parts === undefined) return undefined;
    const { ledger, currency } = this.#deps;
    const entry = await ledger?.entry(externalHoldId({ principal: parts.principal }, parts.own));
    if (entry === undefined) return undefined;
    const money = entry.amounts.find(({ unit }) => unit === currency());
    const view: HoldView = {
      id,
      state: entry.state,
      client: idInTenant(entry.principal, entry.tenant),
      endpoint: entry.tool,
      reserved: money?.estimate ?? 0,
      charged: entry.state === 'open' ? undefined : (money?.amount ?? 0),
      expiresAt: entry.expiresAt,
    };
    return { subject: { principal: entry.principal, tenant: entry.tenant }, view };
  }
}

/** Nobody ended it in time: what was reserved counts as spent. */
function expired(known: KnownHold): HoldView {
  known.view = { ...known.view, state: 'expired', charged: known.view.reserved };
  return known.view;
}

/** Says whose hold it is, so that any gateway of the storage finds it; who may see it is decided elsewhere. */
function publicId(principal: string, own: string): string {
  return `hold-${own}-${Buffer.from(principal).toString('base64url')}`;
}

function readPublicId(id: string): { readonly own: string; readonly principal: string } | undefined {
  const match = /^hold-([0-9a-z]{16})-([A-Za-z0-9_-]{1,4000})$/.exec(id);
  return match === null ? undefined : { own: match[1]!, principal: Buffer.from(match[2]!, 'base64url').toString() };
}
