/**
 * Replays recorded decisions against limits: who would have been refused or admitted, and what it would have cost.
 * Records hold no argument values, so that expressions over them are decided by their recorded values; where an
 * expression is new, the call is undecidable and left out, and the share of such calls is told.
 */
import type { Answer, Question } from '../admission/external.ts';
import type { AdmissionOptions } from '../admission/options.ts';
import type { DecisionDocument } from '../telemetry/decisions/record.ts';
import { PreparedOptions } from './recorded-options.ts';
import { Rehearsal } from './rehearsal.ts';

/** What a policy says of one record. Undefined: undecidable. */
export interface Replayed {
  readonly allowed: boolean;
  /** The limit that refuses. */
  readonly rule: string | undefined;
  readonly reason: string | undefined;
  /** Micro-units by unit, of admitted calls. */
  readonly cost: Readonly<Record<string, number>>;
}

export interface Replay {
  /** By place of the record. */
  readonly verdicts: readonly (Replayed | undefined)[];
  /** Limits that records cannot decide: on calls at once, because nobody knows how long calls took. */
  readonly leftOut: readonly string[];
}

export interface Change {
  readonly id: string;
  readonly at: string;
  readonly caller: string;
  readonly method: string;
  readonly object: string | undefined;
  readonly before: 'admitted' | 'refused';
  readonly after: 'admitted' | 'refused';
  /** Of the refusal, whichever side it is on. */
  readonly rule: string | undefined;
  readonly reason: string | undefined;
}

export interface CallerChange {
  readonly caller: string;
  readonly calls: number;
  readonly nowRefused: number;
  readonly nowAdmitted: number;
}

export interface CostChange {
  readonly before: number;
  readonly after: number;
  readonly difference: number;
}

export interface Simulation {
  readonly records: number;
  readonly decided: number;
  readonly undecidable: number;
  /** Refused by access, which no limit was asked about: neither decided nor undecidable, and the same before and after. */
  readonly refusedByAccess: number;
  /** 0 to 1 of the records but those. */
  readonly undecidableShare: number;
  /** What the verdicts are compared with: the current limits over the same records, or what was recorded. */
  readonly comparedWith: 'current limits' | 'recorded verdicts';
  /** Of decided calls. */
  readonly admittedBefore: number;
  readonly admittedAfter: number;
  readonly nowRefused: number;
  readonly nowAdmitted: number;
  readonly changes: readonly Change[];
  /** Whose calls change, most changes first. */
  readonly callers: readonly CallerChange[];
  /** By unit, of decided calls: micro-units. */
  readonly cost: Readonly<Record<string, CostChange>>;
  readonly leftOut: readonly string[];
}

/**
 * Simulates `next`. With `current`, both are replayed from empty counters and compared with each other, so that what
 * records cannot know (what was used before the first, how long calls took) changes nothing by itself; without it,
 * `next` is compared with what was recorded. The records may come in any order.
 */
export async function simulate(
  unordered: readonly DecisionDocument[],
  next: AdmissionOptions,
  current: AdmissionOptions | undefined,
): Promise<Simulation> {
  const records = inOrder(unordered.filter((record) => record.access === undefined));
  const refusedByAccess = unordered.filter((record) => record.access !== undefined).length;
  const after = await replay(records, next);
  const before = current === undefined ? undefined : await replay(records, current);
  const changes: Change[] = [];
  const callers = new Map<string, { calls: number; nowRefused: number; nowAdmitted: number }>();
  const cost = new Map<string, { before: number; after: number }>();
  let undecidable = 0;
  let admittedBefore = 0;
  let admittedAfter = 0;
  for (const [i, record] of records.entries()) {
    const was = before === undefined ? recorded(record) : before.verdicts[i];
    const is = after.verdicts[i];
    if (was === undefined || is === undefined) {
      undecidable++;
      continue;
    }
    if (was.allowed) admittedBefore++;
    if (is.allowed) admittedAfter++;
    addCost(cost, 'before', was);
    addCost(cost, 'after', is);
    const caller = callers.get(record.caller.id) ?? { calls: 0, nowRefused: 0, nowAdmitted: 0 };
    callers.set(record.caller.id, caller);
    caller.calls++;
    if (was.allowed === is.allowed) continue;
    if (is.allowed) caller.nowAdmitted++;
    else caller.nowRefused++;
    changes.push(changeOf(record, was, is));
  }
  const changed = [...callers].filter(([, { nowRefused, nowAdmitted }]) => nowRefused + nowAdmitted > 0);
  const nowRefused = changes.filter((change) => change.after === 'refused').length;
  return {
    records: records.length,
    decided: records.length - undecidable,
    undecidable,
    refusedByAccess,
    undecidableShare: records.length === 0 ? 0 : undecidable / records.length,
    comparedWith: current === undefined ? 'recorded verdicts' : 'current limits',
    admittedBefore,
    admittedAfter,
    nowRefused,
    nowAdmitted: changes.length - nowRefused,
    changes,
    callers: changed
      .map(([caller, counts]) => ({ caller, ...counts }))
      .sort((a, b) => b.nowRefused + b.nowAdmitted - a.nowRefused - a.nowAdmitted || (a.caller < b.caller ? -1 : 1)),
    cost: Object.fromEntries(
      [...cost].map(([unit, sums]) => [unit, { ...sums, difference: sums.after - sums.before }]),
    ),
    leftOut: after.leftOut,
  };
}

/**
 * The order of decisions. Refusals are kept for longer than admissions: those from before the first admission would
 * meet empty counters, and are left out.
 */
function inOrder(unordered: readonly DecisionDocument[]): readonly DecisionDocument[] {
  const records = [...new Map(unordered.map((record) => [record.id, record])).values()];
  const times = new Map(records.map((record) => [record, Date.parse(record.at)]));
  records.sort((a, b) => times.get(a)! - times.get(b)!);
  const first = records.findIndex((record) => record.verdict === 'admitted');
  return first < 0 ? records : records.slice(first);
}

/** A call that waits to be asked again. */
interface Turn {
  readonly at: number;
  readonly place: number;
  readonly question: Question;
  readonly since: number;
}

/** Decides over every record, in order, from empty counters. */
export async function replay(records: readonly DecisionDocument[], options: AdmissionOptions): Promise<Replay> {
  const prepared = new PreparedOptions(options);
  const verdicts: (Replayed | undefined)[] = [];
  const start = records.length === 0 ? 0 : Date.parse(records[0]!.at);
  const rehearsal = new Rehearsal(prepared.options, start);
  /** Calls that wait for their turn, by when it comes. */
  let waiting: Turn[] = [];
  const ask = async (question: Question, at: number, place: number, since: number): Promise<void> => {
    const answer = await rehearsal.decide(question, at);
    const wait = prepared.waitOf(answer, at - since);
    if (wait === undefined) {
      verdicts[place] = replayed(answer);
    } else {
      waiting.push({ at: at + wait, place, question, since });
      waiting.sort((a, b) => a.at - b.at || a.place - b.place);
    }
  };
  const serve = async (until: number): Promise<void> => {
    while (waiting.length > 0 && waiting[0]!.at <= until) {
      const [turn, ...rest] = waiting;
      waiting = rest;
      await ask(turn!.question, turn!.at, turn!.place, turn!.since);
    }
  };
  try {
    for (const [place, record] of records.entries()) {
      const at = Date.parse(record.at);
      await serve(at);
      const question = prepared.question(record, rehearsal);
      if (question === undefined) verdicts[place] = undefined;
      else await ask(question, at, place, at);
    }
    await serve(Infinity);
  } finally {
    rehearsal.close();
  }
  return { verdicts, leftOut: prepared.leftOut };
}

function recorded(record: DecisionDocument): Replayed {
  const allowed = record.verdict === 'admitted';
  return {
    allowed,
    rule: allowed ? undefined : record.rules.find((rule) => rule.violated === true)?.name,
    reason: record.reason,
    cost: allowed ? (record.cost ?? {}) : {},
  };
}

function replayed({ allowed, decision, cost }: Answer): Replayed {
  return { allowed, rule: decision?.binding?.limit.name, reason: decision?.reason, cost: allowed ? cost : {} };
}

function changeOf(record: DecisionDocument, was: Replayed, is: Replayed): Change {
  const refusal = is.allowed ? was : is;
  return {
    id: record.id,
    at: record.at,
    caller: record.caller.id,
    method: record.method,
    object: record.object,
    before: was.allowed ? 'admitted' : 'refused',
    after: is.allowed ? 'admitted' : 'refused',
    rule: refusal.rule,
    reason: refusal.reason,
  };
}

function addCost(
  sums: Map<string, { before: number; after: number }>,
  side: 'before' | 'after',
  { cost }: Replayed,
): void {
  for (const [unit, micros] of Object.entries(cost)) {
    const sum = sums.get(unit) ?? { before: 0, after: 0 };
    sums.set(unit, sum);
    // Beyond this a sum is not exact, and could not be written as an amount.
    sum[side] = Math.min(sum[side] + micros, Number.MAX_SAFE_INTEGER);
  }
}
