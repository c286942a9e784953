/** Any number of calls, with any lives, in any order: money is held, charged and given back exactly once. */
import { type Limiter, MemoryLimiter } from '@tollgate/limiter';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Call } from '../protocol/call.ts';
import type { AdmissionEvents, OpenedHold } from './events.ts';
import type { PriceOptions } from './options.ts';
import {
  answer,
  atOnce,
  call,
  limit,
  perCall,
  price,
  principal,
  Rig,
  rate,
  remote,
  START,
  toolTarget,
  total,
  usd,
} from './testing.ts';

const RUNS = process.env['TOLLGATE_PROOF'] === 'full' ? 2000 : 150;
const BUDGET = 40e6;
const CALLERS = ['a', 'b'].map((name) => principal(`life/${name}`));
const PRICES: Readonly<Record<string, PriceOptions>> = {
  'math/fixed': price({ each: usd(3) }),
  'math/told': price({ from: ['cost'], hold: usd(2), max: usd(5) }),
  'math/many': price({ each: usd(0.5), times: 'args.count' }),
};
const TARGETS = Object.keys(PRICES).map((tool) => toolTarget(tool));

type Step =
  | { readonly kind: 'begin'; readonly who: number; readonly tool: number; readonly count: number }
  | { readonly kind: 'end'; readonly which: number; readonly executed: 'no' | 'yes' | 'unknown'; readonly cost: number }
  | { readonly kind: 'park'; readonly which: number }
  | { readonly kind: 'resume'; readonly which: number }
  | { readonly kind: 'pass'; readonly ms: number };

const steps: fc.Arbitrary<readonly Step[]> = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({ kind: fc.constant('begin' as const), who: fc.nat(1), tool: fc.nat(2), count: fc.nat(9) }),
    },
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constant('end' as const),
        which: fc.nat(20),
        executed: fc.constantFrom('no' as const, 'yes' as const, 'unknown' as const),
        cost: fc.nat(7),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('park' as const), which: fc.nat(20) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('resume' as const), which: fc.nat(20) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('pass' as const), ms: fc.nat(2000) }) },
  ),
  { maxLength: 60, size: 'max' },
);

interface Life {
  readonly call: Call;
  readonly who: number;
  readonly tool: number;
  readonly count: number;
}

/** What the world should look like, kept beside it. */
class World {
  readonly running: Life[] = [];
  readonly parked: (Life & { readonly id: string })[] = [];
  readonly opened = new Map<string, OpenedHold>();
  readonly ends = new Map<string, number[]>();
  /** Charged by principal. */
  readonly spent = [0, 0];
  readonly rig: Rig;

  constructor(limiter: Limiter) {
    const end = (id: string, amount: number) => this.ends.set(id, [...(this.ends.get(id) ?? []), amount]);
    const events: AdmissionEvents = {
      opened: (hold) => {
        expect(this.opened.has(hold.id)).toBe(false);
        this.opened.set(hold.id, hold);
      },
      settled: ({ id, amounts }) => end(id, amounts['USD'] ?? this.opened.get(id)!.estimate['USD']!),
      released: ({ id }) => end(id, 0),
    };
    this.rig = new Rig({
      limits: [
        limit('spend', total(BUDGET / 1e6)),
        limit('calls', rate(1000)),
        limit('busy', atOnce(6)),
        limit('each', perCall(4)),
      ],
      prices: PRICES,
      deps: { events, limiter },
    });
  }

  async do(step: Step): Promise<void> {
    // What earlier steps ended is written by then, wherever the limiter is.
    await new Promise(setImmediate);
    if (step.kind === 'pass') this.rig.clock.now += step.ms;
    else if (step.kind === 'begin') await this.#begin(step);
    else if (step.kind === 'resume') await this.#resume(pick(this.parked, step.which));
    else {
      const life = pick(this.running, step.which);
      if (life === undefined) return;
      if (step.kind === 'park') this.#park(life);
      else this.#end(life, step.executed, step.cost);
    }
  }

  async used(who: number): Promise<{ used: number; held: number }> {
    const { limits } = await this.rig.admission.external.peek(
      { subject: { principal: CALLERS[who]!.id }, method: 'tools/call', tool: 'math/fixed' },
      this.rig.clock.now,
    );
    return limits.find(({ limit: name }) => name === 'spend')!;
  }

  async finishAll(): Promise<void> {
    while (this.parked.length > 0) {
      await this.#resume(this.parked[0]);
      const last = this.running.at(-1);
      if (last !== undefined) this.#end(last, 'yes', 1);
    }
    while (this.running.length > 0) this.#end(this.running[0]!, 'unknown', 0);
  }

  async #begin({ who, tool, count }: Extract<Step, { kind: 'begin' }>): Promise<void> {
    const life = { who, tool, count, call: call({ principal: CALLERS[who]!, args: { count } }) };
    const before = await this.used(who);
    const verdict = await this.rig.admitted(life.call, TARGETS[tool]!);
    const estimate = held(life);
    const fits = before.used + estimate <= BUDGET && estimate <= 4e6;
    if (!fits) expect(verdict.allowed).toBe(estimate === 0 && tool !== 1);
    if (verdict.allowed) this.running.push(life);
  }

  async #resume(life: World['parked'][number] | undefined): Promise<void> {
    if (life === undefined) return;
    const round = call({ principal: CALLERS[life.who]!, args: { count: life.count } });
    const verdict = await this.rig.admission.resume(round, TARGETS[life.tool]!, life.id, this.rig.clock.now);
    if (!verdict.allowed) {
      // Slots may be taken; then the call stays parked.
      this.rig.clock.now += 1000;
      if (this.running.length > 0) this.#end(this.running[0]!, 'yes', 1);
      return;
    }
    round.charge = verdict.charge;
    remove(this.parked, life);
    this.running.push({ ...life, call: round });
  }

  #park(life: Life): void {
    const id = this.rig.admission.park(life.call, 3_600_000, this.rig.clock.now);
    remove(this.running, life);
    if (id !== undefined) this.parked.push({ ...life, id });
  }

  #end(life: Life, executed: 'no' | 'yes' | 'unknown', cost: number): void {
    remove(this.running, life);
    const logical = (life.call.charge as { logicalId?: string } | undefined)?.logicalId;
    for (let i = 0; i < 2; i++) this.rig.finish(life.call, executed, answer({ cost }));
    if (executed === 'no') {
      // Earlier rounds did run: the call is still to be paid.
      if (logical !== undefined) this.parked.push({ ...life, id: logical });
      return;
    }
    const told = executed === 'yes' && life.tool === 1;
    this.spent[life.who]! += told ? cost * 1e6 : held(life);
  }
}

function held({ tool, count }: Pick<Life, 'tool' | 'count'>): number {
  return [3e6, 2e6, count * 500_000][tool]!;
}

function pick<T>(from: readonly T[], which: number): T | undefined {
  return from.length === 0 ? undefined : from[which % from.length];
}

function remove<T>(from: T[], what: T): void {
  from.splice(from.indexOf(what), 1);
}

describe('the lives of calls', () => {
  it.each([
    ['in this process', (limiter: MemoryLimiter) => limiter],
    ['behind a network', remote],
  ] as const)('end every hold exactly once and charge exactly what calls came to, limiter %s', async (_where, place) => {
    await fc.assert(
      fc.asyncProperty(steps, async (program) => {
        const world = new World(place(new MemoryLimiter({ seed: [1, 2], originMs: START })));
        for (const step of program) await world.do(step);
        await world.finishAll();
        await new Promise(setImmediate);
        for (const id of world.opened.keys()) expect(world.ends.get(id), id).toHaveLength(1);
        expect(world.ends.size).toBe(world.opened.size);
        const booked = [...world.ends.values()].flat().reduce((sum, amount) => sum + amount, 0);
        expect(booked).toBe(world.spent[0]! + world.spent[1]!);
        for (const who of [0, 1]) expect(await world.used(who)).toMatchObject({ used: world.spent[who], held: 0 });
      }),
      { numRuns: RUNS },
    );
  });
});
