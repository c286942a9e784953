import { describe, expect, it } from 'vitest';
import type { DecisionDocument } from '../telemetry/decisions/record.ts';
import { decisionLine, decisionText } from './decision-text.ts';

const REFUSED: DecisionDocument = {
  v: 1,
  id: 'tg-7f3k1',
  at: '2026-03-04T23:59:58.500Z',
  verdict: 'refused',
  reason: 'daily_cost_exceeded',
  method: 'tools/call',
  endpoint: '/mcp',
  object: 'math/render',
  server: 'math',
  caller: { id: 'keys/ada', tenant: 'acme', tier: 'gold', roles: ['engineer'] },
  rules: [
    { name: 'calls', key: '00', unit: 'requests', cost: 1 },
    {
      name: 'spend',
      key: '01',
      unit: 'USD',
      cost: 20_000,
      capacity: 20_000_000,
      usedBefore: 19_990_000,
      usedAfter: 19_990_000,
      held: 5000,
      remaining: 10_000,
      violated: true,
      reason: 'daily_cost_exceeded',
      retryAfterSeconds: 2,
    },
  ],
  retryAfterSeconds: 2,
  cost: { USD: 20_000 },
  price: 'fixed',
  arguments: {
    size: 18,
    digest: '0011223344556677',
    shape: { type: 'object', size: 1, keys: { pages: { type: 'array', size: 2, items: [] } } },
  },
  expressions: { 'size(args.pages) > 1': true, 'args.x * 2': null },
};

describe('a decision in prose', () => {
  it('says who, what, each rule with its numbers, and what would have let it pass', () => {
    expect(decisionText(REFUSED).split('\n')).toEqual([
      'tg-7f3k1 was refused on 2026-03-04 23:59:58 UTC: daily_cost_exceeded.',
      '  who     keys/ada (tenant acme, tier gold, roles engineer) at /mcp',
      '  what    tools/call math/render with arguments of 18 bytes, keys pages, #0011223344556677',
      '  rules   calls: had room; takes 1 call',
      '          spend: in the way (daily_cost_exceeded); takes 0.02 USD; 19.99 USD of 20 USD used before and after, 0.01 USD left, 0.005 USD held by calls that run',
      '  price   0.02 USD (fixed)',
      '  value   size(args.pages) > 1 = true',
      '  value   args.x * 2 = failed',
      '  passes  2 s later, at 00:00:00 UTC, if nothing else is called',
      '  passes  with room for 20.01 USD in spend, which holds 20 USD',
    ]);
  });

  it('of an admission says what was held, and no remedy', () => {
    const { reason: _reason, retryAfterSeconds: _seconds, expressions: _values, ...rest } = REFUSED;
    const text = decisionText({
      ...rest,
      verdict: 'admitted',
      rules: [],
      hold: { id: 'tg-7f3k1', amounts: { USD: 20_000 } },
      waitedMs: 1500,
      shadowed: ['trial'],
      degraded: 'open',
    });
    expect(text).toContain('tg-7f3k1 was admitted on');
    expect(text).toContain('hold    tg-7f3k1: 0.02 USD');
    expect(text).toContain('waited  1.5 s');
    expect(text).toContain('would have refused: trial');
    expect(text).toContain('let through');
    expect(text).toContain('none covered the call');
    expect(text).not.toContain('passes');
  });

  it('says where waiting cannot help, and where nobody knows when', () => {
    const { retryAfterSeconds: _seconds, ...rest } = REFUSED;
    expect(decisionText(rest)).toContain('passes  not by waiting');
    expect(decisionText({ ...REFUSED, estimated: true })).toContain('passes  at the latest 2 s later');
    const stopped = { ...rest, rules: [], reason: 'stopped', because: 'Calls like this are stopped: audit' };
    expect(decisionText(stopped)).toContain('stopped. Calls like this are stopped: audit');
    expect(decisionText(stopped)).toContain('when its reason is gone: stopped');
  });

  it('is one line in a list, and no text of a caller makes another', () => {
    expect(decisionLine(REFUSED)).toBe(
      '2026-03-04T23:59:58.500Z  tg-7f3k1  refused  keys/ada  tools/call  math/render  daily_cost_exceeded spend',
    );
    const hostile = { ...REFUSED, object: 'math/x\n2026  tg-0  admitted', caller: { id: 'a\u001b[2Jb', tier: 'x\ny' } };
    expect(decisionLine(hostile).split('\n')).toHaveLength(1);
    expect(decisionText(hostile)).not.toMatch(/\u001b|^2026/m);
  });
});
