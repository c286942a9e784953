import { MemoryLimiter } from '@tollgate/limiter';
import { describe, expect, it } from 'vitest';
import { silentLog } from '../core/log.ts';
import { CompiledLimit, type Target } from './limits.ts';
import { Plans } from './plan.ts';
import { PriceTable } from './price-table.ts';
import { budget, limit } from './testing.ts';

describe('plans of names that others choose', () => {
  it('are remembered when they are short; long ones fill neither memory nor log', () => {
    const warned: unknown[] = [];
    const log = { ...silentLog, warn: (fields: object) => void warned.push(fields) };
    const looked: string[] = [];
    const pricesOf = (tool: string): undefined => void looked.push(tool);
    const prices = new PriceTable({ pricesOf, unpriced: 'warn' }, log);
    const plans = new Plans({
      limits: [new CompiledLimit(limit('spend', budget(1)), 0, new MemoryLimiter(), undefined)],
      pricesOf: (tool) => prices.of(tool),
      unpriced: (tool, name) => prices.unpriced(tool, name),
    });
    const planOf = (tool: string) => {
      const target: Target = { kind: 'tool', canonicalId: tool, server: 's', endpoint: '/mcp' };
      return plans.named('tools/call', target, 'default', undefined);
    };
    expect(planOf('s/short')).toBe(planOf('s/short'));
    expect(warned).toHaveLength(1);
    const long = `s/${'x'.repeat(9_000)}`;
    expect(planOf(long)).not.toBe(planOf(long));
    expect(planOf(long).steps).toHaveLength(1);
    expect(looked.filter((tool) => tool === long)).toHaveLength(3);
    expect(warned).toHaveLength(1);
  });
});
