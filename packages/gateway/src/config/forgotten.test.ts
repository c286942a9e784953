import { describe, expect, it } from 'vitest';
import { compile } from './compile.ts';
import { appliedChanges } from './diff.ts';
import { countedLimits, forgottenUse } from './forgotten.ts';
import { loadConfigObject } from './load.ts';

const load = (limits: object) =>
  loadConfigObject({ version: 1, servers: { files: { url: 'http://127.0.0.1:1/mcp' } }, limits });

function warnings(before: object, after: object): readonly string[] {
  return appliedChanges(load(before), load(after)).warnings;
}

const CALLS = { by: 'principal', limit: '30/min' };
const MONEY = { by: 'principal', limit: '20 USD/day' };

describe('a changed configuration', () => {
  it('warns of every limit that begins at nothing, because it counts by something else or in another unit', () => {
    expect(
      warnings(
        { calls: CALLS, spend: MONEY, old: MONEY },
        {
          calls: { ...CALLS, by: ['tenant', 'tool'] },
          spend: { ...MONEY, limit: '20 credits/day' },
          new: { by: 'everyone', limit: '7 EUR/day', was: 'old' },
        },
      ),
    ).toEqual([
      'limits.calls counts by tenant and tool and no longer by principal: what was used is not kept, everybody begins at nothing',
      'limits.spend counts in credits and no longer in USD: what was used is not kept, everybody begins at nothing',
      'limits.new (was old) counts in EUR and no longer in USD, by everyone and no longer by principal: what was used is not kept, everybody begins at nothing',
    ]);
  });

  it.each([
    ['other numbers, periods and algorithms', { c: { ...CALLS, limit: '9/h', algorithm: 'sliding-window' } }],
    ['another name with `was`', { requests: { ...CALLS, was: 'c' } }],
    ['keys in another order', { c: CALLS, d: { by: ['tool', 'principal'], limit: '3/h' } }],
    ['a limit that is gone, or new', { other: MONEY }],
    ['what keeps nothing from call to call', { c: { by: 'principal', limit: '2 at once' } }],
  ])('does not warn of %s', (_what, after) => {
    expect(warnings({ c: CALLS, d: { by: ['principal', 'tool'], limit: '3/h' } }, after)).toEqual([]);
  });

  it('is judged by what the running gateway counts', () => {
    const running = countedLimits(compile(load({ c: CALLS }).config).admission);
    expect(running).toEqual([{ name: 'c', by: 'principal', counts: 'calls' }]);
    const changed = countedLimits(compile(load({ c: { ...CALLS, by: 'tool' } }).config).admission);
    expect(forgottenUse(JSON.parse(JSON.stringify(running)), changed)).toHaveLength(1);
  });
});
