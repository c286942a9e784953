import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Ask } from '../ask.ts';
import { MemoryLimiter } from '../memory.ts';
import { anyProgram, expectSame, Play } from './programs.ts';
import { FULL, HOUR, Stand } from './stand.ts';

const ORIGIN = Date.UTC(2026, 0, 5, 10);
const SEED = [1, 2] as const;

/** A limiter that persists, at the time that `clock` tells. */
function standOf(limiter: MemoryLimiter, now: () => number): Stand {
  return new Stand({ limiter, now, advance() {}, close: () => Promise.resolve() });
}

describe('a limiter that was restored', () => {
  it('goes on like the one it was taken from, whatever was snapshot or journal, and whichever the origin is', async () => {
    const anyCut = fc.record({
      /** After how many steps the process ends. */
      cut: fc.nat(40),
      /** After how many the snapshot begins, and how many pieces of it are taken with each step. */
      begin: fc.nat(40),
      pace: fc.integer({ min: 1, max: 3 }),
      chunk: fc.constantFrom(1, 100, 65_536),
      /** Earlier by so many microseconds did the next process begin to count time. */
      shift: fc.constantFrom(0, 1, 3_600_000_000, 86_400_000_000),
      twice: fc.boolean(),
      rulesFirst: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(anyProgram, anyCut, async ({ rules, steps }, how) => {
        let time = 0;
        const first = new MemoryLimiter({ originMs: ORIGIN, persist: true, seed: SEED });
        const play = new Play(
          standOf(first, () => time),
          rules,
          '',
        );
        const journal: Uint8Array[] = [];
        let snapshot: IterableIterator<Uint8Array> | undefined;
        const pieces: Uint8Array[] = [];
        const write = (count: number) => {
          for (let i = 0; i < count && snapshot !== undefined; i++) {
            const { done, value } = snapshot.next();
            if (done === true) snapshot = undefined;
            else pieces.push(value);
          }
          const changed = first.changes();
          if (changed !== undefined) journal.push(changed, ...(how.twice ? [changed] : []));
        };
        const cut = Math.min(how.cut, steps.length);
        for (const [at, step] of steps.slice(0, cut).entries()) {
          if (at === how.begin) {
            snapshot = first.snapshot(how.chunk);
            // What came before is all in the snapshot.
            write(0);
            journal.length = 0;
          }
          time += step.advance;
          await play.step(step);
          write(how.pace);
        }
        write(Infinity);

        const second = new MemoryLimiter({ originMs: ORIGIN - how.shift / 1000, persist: true });
        const stand = standOf(second, () => time + how.shift);
        if (how.rulesFirst) new Play(stand, rules, '', play);
        second.restore([...pieces, ...journal]);
        const again = new Play(stand, rules, '', play);
        for (const step of steps.slice(cut)) {
          time += step.advance;
          expectSame(await again.step(step), await play.step(step));
        }
      }),
      { numRuns: FULL ? 2000 : 60 },
    );
  });

  it('keeps what was used under numbers that have changed meanwhile', () => {
    const ask = new Ask();
    const bucket = { algorithm: 'token-bucket', name: 'bucket', periodMs: 3_600_000 } as const;
    const money = { algorithm: 'total', name: 'money', settles: true } as const;
    const first = new MemoryLimiter({ persist: true });
    const [hundred, budget] = [first.rule({ ...bucket, limit: 100 }), first.rule({ ...money, limit: 50 })];
    ask.clear().rule(hundred, 20).key(1).rule(budget, 30).key(1).hold('open', HOUR);
    expect(first.decide(ask, 0).allowed).toBe(true);
    const second = new MemoryLimiter({ persist: true });
    second.restore(first.snapshot());
    const [ten, less] = [second.rule({ ...bucket, limit: 40 }), second.rule({ ...money, limit: 25 })];
    expect(second.inspect(ask.clear().rule(ten, 0).key(1).rule(less, 0).key(1), 0)).toMatchObject([
      { used: 20, remaining: 20 },
      { used: 30, held: 30, remaining: 0 },
    ]);
    expect(second.settle({ id: 'open', amounts: { requests: 5 } }, 0)).toMatchObject({
      state: 'settled',
      changed: true,
    });
    expect(second.inspect(ask, 0)).toMatchObject([{ used: 20 }, { used: 5, held: 0 }]);
  });

  it('finds every key again when rules are made in another order before the state is read', () => {
    const options = Array.from({ length: 12 }, (_, i) => ({ name: `rule ${i}`, limit: i + 1, periodMs: 3_600_000 }));
    const make = (subject: MemoryLimiter, i: number) =>
      subject.rule({ ...options[i]!, algorithm: i % 2 === 0 ? 'token-bucket' : 'fixed-window' });
    const first = new MemoryLimiter({ persist: true });
    const used = options.map((_, i) => make(first, i));
    const ask = new Ask();
    for (let key = 0; key < 500; key++) {
      ask.clear();
      for (const rule of used) ask.rule(rule).key(key);
      expect(first.decide(ask, 0).allowed).toBe(true);
    }
    const second = new MemoryLimiter({ persist: true });
    const rules = options.map((_, i) => make(second, options.length - 1 - i)).reverse();
    second.restore([...first.snapshot(), first.changes()!]);
    for (let key = 0; key < 500; key++) {
      ask.clear();
      for (const rule of rules) ask.rule(rule).key(key);
      expect(second.inspect(ask, 0).map((standing) => standing.remaining)).toEqual(options.map((_, i) => i));
    }
  });

  it('knows rules that were made while the snapshot was taken', () => {
    const first = new MemoryLimiter({ persist: true });
    const ask = new Ask();
    const old = first.rule({ algorithm: 'total', name: 'old', limit: 50 });
    first.decide(ask.clear().rule(old), 0);
    const snapshot = first.snapshot(1);
    const pieces = [snapshot.next().value!];
    const made = { algorithm: 'total', name: 'new', limit: 50, settles: true } as const;
    first.decide(ask.clear().rule(first.rule(made), 20).hold('open', HOUR), 0);
    pieces.push(...snapshot);
    const second = new MemoryLimiter({ persist: true });
    second.restore([...pieces, first.changes()!]);
    const rule = second.rule(made);
    expect(second.inspect(ask.clear().rule(rule, 0), 0)).toMatchObject([{ used: 20, held: 20 }]);
    expect(second.settle({ id: 'open', amounts: { requests: 5 } }, 0)).toMatchObject({ changed: true });
    expect(second.inspect(ask.clear().rule(rule, 0), 0)).toMatchObject([{ used: 5, held: 0 }]);
  });

  it('refuses what is damaged, and to be restored once it has decided', () => {
    const first = new MemoryLimiter({ persist: true });
    const ask = new Ask();
    const rule = first.rule({ algorithm: 'total', name: 'money', limit: 50 });
    for (let key = 0; key < 50; key++) first.decide(ask.clear().rule(rule).key(key), 0);
    const pieces = [...first.snapshot()];
    for (let at = 0; at < pieces.length; at++) {
      for (const damage of [
        (piece: Uint8Array) => piece.subarray(0, piece.length - 1),
        (piece: Uint8Array) => piece.with(Math.floor(piece.length / 2), piece[Math.floor(piece.length / 2)]! ^ 1),
        (piece: Uint8Array) => piece.with(0, piece[0]! ^ 255),
        // The layout before keys of several rules lay in one block: nothing would be found in it.
        (piece: Uint8Array) => piece.with(4, 1),
      ]) {
        const damaged = pieces.map((piece, i) => (i === at ? damage(piece) : piece));
        expect(() => new MemoryLimiter({ persist: true }).restore(damaged)).toThrow(Error);
      }
    }
    expect(() => new MemoryLimiter().restore([pieces[0]!.with(4, 1)])).toThrow('has version 1');
    expect(() => first.restore(pieces)).toThrow(TypeError);
  });
});
