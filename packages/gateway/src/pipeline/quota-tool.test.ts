import { describe, expect, it } from 'vitest';
import type { Admission } from '../admission/contract.ts';
import { lanesOf, type Principal } from '../core/principal.ts';
import type { Call } from '../protocol/call.ts';
import { QuotaTool } from './quota-tool.ts';
import type { TargetResolver } from './targets.ts';

const principal = (id: string) => ({ id, lanes: lanesOf(id) }) as Principal;

describe('the quota tool', () => {
  it('looks at everything five times a second for one caller, and then tells what it has seen last', async () => {
    let looked = 0;
    const limits = {
      quota: async () => ({ tier: `look ${++looked}`, limits: [], prices: [] }),
    } as unknown as Admission;
    const tool = new QuotaTool({ tools: () => [], tool: () => ({}) } as unknown as TargetResolver);
    const ask = async (who: Principal, now: number, args: object = {}) => {
      const call = { principal: who, era: 'modern', message: { json: () => args } } as unknown as Call;
      const { structuredContent } = JSON.parse(await tool.report(limits, call, now)) as {
        structuredContent: { tier: string };
      };
      return structuredContent.tier;
    };
    const [ann, bob] = [principal('a/ann'), principal('b/bob')];
    for (let i = 1; i <= 5; i++) expect(await ask(ann, 100 + i)).toBe(`look ${i}`);
    for (let i = 0; i < 100; i++) expect(await ask(ann, 500 + i)).toBe('look 5');
    expect(await ask(bob, 600)).toBe('look 6');
    expect(await ask(ann, 700, { tool: 'one' })).toBe('look 7');
    expect(await ask(ann, 1_101)).toBe('look 8');
  });
});
