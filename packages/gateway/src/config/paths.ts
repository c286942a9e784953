import { quote, UnitError } from './units.ts';

const EXAMPLE = 'For example result._meta.usageTotalUsd or result.structuredContent.usage[0].cost.';
const STEP = /\.([A-Za-z_$][\w$-]*)|\[(\d{1,6})\]|\["((?:[^"\\]|\\["\\])+)"\]/y;
const MAX_STEPS = 32;

/**
 * `result._meta.usageTotalUsd` as the keys below the result. A path, not CEL: a dot and a name, `[0]`, or
 * `["a/b"]` for names with other characters.
 */
export function parsePath(text: string): readonly (string | number)[] {
  if (!text.startsWith('result')) throw new UnitError(`${quote(text)} does not begin with result.`, EXAMPLE);
  const path: (string | number)[] = [];
  STEP.lastIndex = 'result'.length;
  while (STEP.lastIndex < text.length) {
    const at = STEP.lastIndex;
    const step = STEP.exec(text);
    if (step === null) throw new UnitError(`${quote(text)} cannot be read at character ${at + 1}.`, EXAMPLE);
    path.push(step[1] ?? (step[2] === undefined ? step[3]!.replaceAll(/\\(["\\])/g, '$1') : Number(step[2])));
  }
  if (path.length === 0) throw new UnitError('The whole result is not a number.', EXAMPLE);
  if (path.length > MAX_STEPS) throw new UnitError(`The path has more than ${MAX_STEPS} steps.`, EXAMPLE);
  return path;
}
