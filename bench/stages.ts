import { readdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { measureStages } from './measure.ts';
import type { Stage } from './stage.ts';
import { printTable } from './table.ts';

function isStage(value: unknown): value is Stage {
  const candidate = value as Partial<Stage> | null;
  return typeof candidate === 'object' && typeof candidate?.name === 'string' && typeof candidate.run === 'function';
}

/** Every stage that a file in stages/ exports, alone or in a list, in the order of the files. */
export async function loadStages(): Promise<Stage[]> {
  const folder = resolve(import.meta.dirname, 'stages');
  const found: Stage[] = [];
  for (const file of readdirSync(folder)
    .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'))
    .sort()) {
    const module = (await import(resolve(folder, file))) as Record<string, unknown>;
    const stages = Object.values(module).flat().filter(isStage);
    if (stages.length === 0) throw new Error(`bench/stages/${file} exports no stage`);
    found.push(...stages);
  }
  return found;
}

/** Prints what each in-process stage costs. */
export async function benchStages(quick: boolean): Promise<void> {
  const results = await measureStages(await loadStages(), quick ? 5 : 25, quick ? 5 : 20);
  printTable(
    ['stage', 'ratio', 'ns'],
    results.map(({ name, ratio, nanoseconds }) => [name, ratio.toFixed(3), nanoseconds.toFixed(1)]),
  );
}
