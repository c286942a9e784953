import { parseSpan, UnitError } from '../config/units.ts';
import { TollgateError } from '../core/errors.ts';

/** A duration behind an option, such as `--since 7d`, in milliseconds. Throws `usage`. */
export function spanOf(option: string, written: string): number {
  try {
    return parseSpan(written);
  } catch (error) {
    if (error instanceof UnitError) throw new TollgateError('usage', `${option}: ${error.message} ${error.fix}`);
    throw error;
  }
}
