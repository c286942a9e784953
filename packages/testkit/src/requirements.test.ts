import { describe, expect, it } from 'vitest';
import { citedIds, judgeRequirements } from './citations.ts';
import { requirements } from './requirements.ts';

describe('the manifest', () => {
  it('holds all 287 requirements once, each with a text', () => {
    expect(requirements).toHaveLength(287);
    expect(new Set(requirements.map(({ id }) => id)).size).toBe(287);
    const perDocument = [0, 1, 2, 3, 4].map((n) => requirements.filter(({ id }) => id.startsWith(`R${n}-`)).length);
    expect(perDocument).toEqual([83, 72, 76, 35, 21]);
    for (const { text } of requirements) expect(text.length).toBeGreaterThan(5);
  });
});

describe('citations', () => {
  it('are read from literal calls, several ids and lines included', () => {
    const call = 'verifies';
    expect(citedIds(`${call}('R1-01');\n${call}(\n  'R1-02',\n  "R2-03",\n); other('R9-09')`)).toEqual([
      'R1-01',
      'R1-02',
      'R2-03',
    ]);
  });

  it('fail on a covered id without one, and on an unknown id', () => {
    const manifest = [
      { id: 'R0-01', status: 'covered' as const },
      { id: 'R0-02', status: 'planned' as const },
      { id: 'R0-03', status: 'planned' as const },
    ];
    const judgement = judgeRequirements(
      manifest,
      new Map([
        ['R0-02', ['a.test.ts']],
        ['R7-99', ['b.test.ts']],
        ['C-01', ['c']],
      ]),
    );
    expect(judgement.flippable).toEqual(['R0-02']);
    expect(judgement.uncited).toEqual(['R0-01', 'R0-03']);
    expect(judgement.problems).toEqual([
      'R0-01 is called covered, but no test cites it',
      'R7-99 is cited in b.test.ts, but there is no such requirement',
    ]);
  });
});
