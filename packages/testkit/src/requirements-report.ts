/**
 * npm run requirements [-- --update] [--list]
 * Prints how many requirements are covered, planned and uncited; fails on a covered one that no test cites and on a
 * citation of an unknown id. `--update` marks the cited ones as covered; `--list` names the uncited ones.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { findCitations, judgeRequirements } from './citations.ts';
import { requirements } from './requirements.ts';

const { values } = parseArgs({
  options: { update: { type: 'boolean', default: false }, list: { type: 'boolean', default: false } },
});
const judgement = judgeRequirements(requirements, findCitations(resolve(import.meta.dirname, '../../..')));

if (values.update) {
  const file = resolve(import.meta.dirname, 'requirements.ts');
  let source = readFileSync(file, 'utf8');
  for (const id of judgement.flippable) source = source.replace(`\n${id} planned `, `\n${id} covered `);
  writeFileSync(file, source);
  console.log(`Marked as covered: ${judgement.flippable.join(' ') || 'nothing new'}`);
}
const covered = judgement.covered.length + (values.update ? judgement.flippable.length : 0);
console.log(
  `${requirements.length} requirements: ${covered} covered, ${requirements.length - covered} planned, ${judgement.uncited.length} uncited`,
);
if (!values.update && judgement.flippable.length > 0) {
  console.log(`Cited but still planned (--update marks them): ${judgement.flippable.join(' ')}`);
}
if (values.list) {
  for (const { id, text } of requirements) if (judgement.uncited.includes(id)) console.log(`  ${id} ${text}`);
}
for (const problem of judgement.problems) console.error(`✗ ${problem}`);
process.exitCode = judgement.problems.length > 0 ? 1 : 0;
