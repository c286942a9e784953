import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatAmount, formatMicros, parseAmount, parseMicros } from './amounts.ts';
import { parsePath } from './paths.ts';
import { compileQuota, formatQuota, parseQuota } from './quotas.ts';
import { UnitError } from './units.ts';

const runs = process.env['TOLLGATE_PROOF'] === 'full' ? 20_000 : 500;

describe('amounts', () => {
  it('are exact to a millionth, digit by digit', () => {
    expect(['0.005 USD', '1 USD', '0 USD', '0.10 USD', '2  credits', '9007199254.740991 USD'].map(parseAmount)).toEqual(
      [
        { unit: 'USD', micros: 5000 },
        { unit: 'USD', micros: 1_000_000 },
        { unit: 'USD', micros: 0 },
        { unit: 'USD', micros: 100_000 },
        { unit: 'credits', micros: 2_000_000 },
        { unit: 'USD', micros: Number.MAX_SAFE_INTEGER },
      ],
    );
    // In floating point 1.005 and 4.35 millions of them are not whole.
    expect(parseMicros('1.005', 'USD')).toBe(1_005_000);
    expect(parseMicros('4.350001', 'USD')).toBe(4_350_001);
    expect(parseMicros('0.1000000000', 'USD')).toBe(100_000);
  });

  it('are read as they are written, whatever they are', () => {
    void fc.assert(
      fc.property(fc.maxSafeNat(), (micros) => {
        expect(parseAmount(formatAmount({ unit: 'USD', micros }))).toEqual({ unit: 'USD', micros });
      }),
      { numRuns: runs },
    );
    expect([5000, 20_000_000, 1_500_000, 1, 0].map(formatMicros)).toEqual(['0.005', '20', '1.5', '0.000001', '0']);
  });

  it.each([
    ['-1 USD', 'negative'],
    ['−1 USD', 'negative'],
    ['+1 USD', 'not a number'],
    ['NaN USD', 'not a number'],
    ['Infinity USD', 'not a number'],
    ['1e3 USD', 'exponent'],
    ['1E-3 USD', 'exponent'],
    ['0x10 USD', 'not a number'],
    ['1. USD', 'not a number'],
    ['.5 USD', 'not a number'],
    ['1_000 USD', 'separators'],
    ['1,000 USD', 'separators'],
    ['0,50 USD', 'comma'],
    ['0.0000001 USD', 'more than 6 decimals'],
    ['9007199254.740992 USD', 'too large'],
    [`${'9'.repeat(400)} USD`, 'too large'],
    ['5', 'no unit'],
    ['5USD', 'no blank'],
    ['$5', 'in front'],
    ['USD 5', 'not a unit'],
    ['5 calls', 'not a unit of an amount'],
    ['5 U$', 'not a unit'],
    [`5 ${'U'.repeat(33)}`, 'not a unit'],
  ])('refuse %j with the reason', (text, reason) => {
    expect(() => parseAmount(text)).toThrow(reason);
  });
});

describe('a limit as people write it', () => {
  it.each([
    ['30/minute', 'Write min.'],
    ['1/hour', 'Write h.'],
    ['10 USD per day', 'Write 10 USD/day.'],
    ['30 per minute', 'Write 30/min.'],
    ['20 concurrent', 'Write 20 at once.'],
    ['$10/day', 'Write 10 USD'],
    ['30/constructor', 'is not a period'],
    ['30/5constructor', 'is not a period'],
  ])('answers %j with what to write', (text, fix) => {
    expect(() => parseQuota(text)).toThrow();
    try {
      parseQuota(text);
    } catch (error) {
      expect(`${(error as UnitError).message} ${(error as UnitError).fix}`).toContain(fix);
    }
  });
});

describe('the number of a limit', () => {
  it('says by its unit what is counted', () => {
    const texts = ['30/min', '120/60s', '100/month', '20 at once', '500 USD/day', '1 USD/call', '2.5 credits/5m'];
    expect([...texts, '1000 USD total', 'tier'].map((text) => parseQuota(text))).toMatchObject([
      { kind: 'rate', count: 30, period: { ms: 60_000, page: 'minute' } },
      { kind: 'rate', count: 120, period: { ms: 60_000, page: undefined } },
      { kind: 'rate', count: 100, period: { ms: undefined, page: 'month' } },
      { kind: 'concurrency', count: 20 },
      { kind: 'amount', amount: { unit: 'USD', micros: 500_000_000 }, period: { page: 'day' } },
      { kind: 'per-call', amount: { unit: 'USD', micros: 1_000_000 } },
      { kind: 'amount', amount: { unit: 'credits', micros: 2_500_000 }, period: { ms: 300_000, page: undefined } },
      { kind: 'total', amount: { unit: 'USD', micros: 1_000_000_000 } },
      { kind: 'tier' },
    ]);
  });

  it('is written as it was read', () => {
    for (const text of [
      '30/min',
      '5/90s',
      '1/month',
      '20 at once',
      '0.5 USD/week',
      '1 USD/call',
      '3 credits/2h',
      '7 USD total',
      'tier',
    ]) {
      expect(formatQuota(parseQuota(text))).toBe(text);
    }
  });

  it('counts named periods by the calendar in fixed windows, and lengths from the first call', () => {
    const period = (text: string, algorithm: 'token-bucket' | 'fixed-window') => {
      const quota = parseQuota(text);
      const compiled = quota.kind === 'tier' ? undefined : compileQuota(quota, algorithm, 0);
      return compiled !== undefined && 'period' in compiled ? compiled.period : undefined;
    };
    expect(period('5/day', 'token-bucket')).toEqual({ kind: 'length', ms: 86_400_000 });
    expect(period('5/day', 'fixed-window')).toEqual({ kind: 'calendar', page: 'day' });
    expect(period('5/24h', 'fixed-window')).toEqual({ kind: 'length', ms: 86_400_000 });
    expect(period('5/s', 'fixed-window')).toEqual({ kind: 'length', ms: 1000 });
    expect(period('5 USD/month', 'fixed-window')).toEqual({ kind: 'calendar', page: 'month' });
  });

  it('is read or refused with a sentence, whatever it is', () => {
    const piece = fc.constantFrom(
      '30',
      '1.5',
      '-2',
      '1e9',
      '/',
      ' ',
      'USD',
      'min',
      '60s',
      'call',
      'total',
      'at once',
      '',
    );
    void fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(piece, { maxLength: 6 }).map((parts) => parts.join('')),
        ),
        (text) => {
          try {
            const quota = parseQuota(text);
            expect(parseQuota(formatQuota(quota))).toEqual(quota);
          } catch (error) {
            expect(error).toBeInstanceOf(UnitError);
          }
        },
      ),
      { numRuns: runs },
    );
  });
});

describe('the path to a price', () => {
  it('is names and positions below the result', () => {
    expect(parsePath('result._meta.usageTotalUsd')).toEqual(['_meta', 'usageTotalUsd']);
    expect(parsePath('result._meta["acme/cost"].parts[0].x-y')).toEqual(['_meta', 'acme/cost', 'parts', 0, 'x-y']);
  });

  it.each([
    '',
    'result',
    'cost',
    'results.x',
    'result.',
    'result.a..b',
    'result[x]',
    'result["]',
    'result.a()',
    `result${'.a'.repeat(33)}`,
  ])('refuses %j', (text) => {
    expect(() => parsePath(text)).toThrow(UnitError);
  });
});
