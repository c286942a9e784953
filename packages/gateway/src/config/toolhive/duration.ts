/** Durations as Go writes them: `1m`, `1h30m`, `1.5h`, `250ms`, `1m0s`. Whole microseconds, which is what limits count in. */

/** Nanoseconds. */
const UNITS: Readonly<Record<string, bigint>> = {
  ns: 1n,
  us: 1_000n,
  µs: 1_000n, // U+00B5
  μs: 1_000n, // U+03BC
  ms: 1_000_000n,
  s: 1_000_000_000n,
  m: 60_000_000_000n,
  h: 3_600_000_000_000n,
};
const PART = /(\d*)(?:\.(\d*))?(ns|us|µs|μs|ms|s|m|h)/y;
const MAX_NANOS = 2n ** 63n - 1n;
const MAX_TEXT = 64;

/**
 * Microseconds of a Go duration, rounded to the nearest, but never from something to nothing: the shortest that is
 * more than zero is 1. May be zero or negative. Undefined: `time.ParseDuration` would not read it either.
 */
export function parseGoDuration(text: string): number | undefined {
  if (text.length > MAX_TEXT) return undefined;
  const sign = /^[-+]/.test(text) ? text[0]! : '';
  const rest = text.slice(sign.length);
  if (rest === '0') return 0;
  let nanos = 0n;
  let at = 0;
  while (at < rest.length) {
    PART.lastIndex = at;
    const [whole, digits = '', decimals = '', unit = ''] = PART.exec(rest) ?? [];
    if (whole === undefined || digits + decimals === '') return undefined;
    const size = UNITS[unit]!;
    nanos += BigInt(digits || '0') * size;
    if (decimals !== '') nanos += (BigInt(decimals) * size) / 10n ** BigInt(decimals.length);
    if (nanos > MAX_NANOS) return undefined;
    at += whole.length;
  }
  if (at === 0) return undefined;
  const micros = nanos > 0n && nanos < 1_000n ? 1n : (nanos + 500n) / 1_000n;
  return Number(sign === '-' ? -micros : micros);
}

/** As Go prints it: `1m0s`, `1h30m0s`, `1.5s`, `250ms`, `10µs`, `0s`. */
export function formatGoDuration(micros: number): string {
  if (micros < 0) return `-${formatGoDuration(-micros)}`;
  if (micros === 0) return '0s';
  if (micros < 1_000) return `${micros}µs`;
  if (micros < 1_000_000) return `${decimal(micros, 1_000)}ms`;
  const minutes = Math.floor(micros / 60_000_000);
  const seconds = `${decimal(micros - minutes * 60_000_000, 1_000_000)}s`;
  if (minutes === 0) return seconds;
  return minutes < 60 ? `${minutes}m${seconds}` : `${Math.floor(minutes / 60)}h${minutes % 60}m${seconds}`;
}

/** A quotient by a power of ten, without the rounding of a division. */
function decimal(value: number, by: number): string {
  const digits = String(by).length - 1;
  const rest = String(value % by)
    .padStart(digits, '0')
    .replace(/0+$/, '');
  return rest === '' ? String(Math.floor(value / by)) : `${Math.floor(value / by)}.${rest}`;
}
