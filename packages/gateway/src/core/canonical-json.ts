/** JSON in the one form of RFC 8785, for digests that others can compute again. */

interface RawJson {
  isRawJSON(value: unknown): value is { readonly rawJSON: string };
}

/**
 * Members in the order of their names by UTF-16 code units, no spaces, numbers as ECMAScript writes the nearest double.
 * Integers that no double holds (RFC 8785 knows none) keep their value: rounding would make two of them one.
 */
export function canonicalJson(value: unknown): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if ((JSON as unknown as RawJson).isRawJSON(value)) return canonicalNumber(value.rawJSON);
  const record = value as Readonly<Record<string, unknown>>;
  const members = Object.keys(record)
    .toSorted()
    .map((name) => `${JSON.stringify(name)}:${canonicalJson(record[name])}`);
  return `{${members.join(',')}}`;
}

function canonicalNumber(text: string): string {
  const number = Number(text);
  if (Number.isFinite(number) && !Number.isInteger(number)) return JSON.stringify(number);
  const exact = decimal(text);
  return Number.isFinite(number) && decimal(String(number)) === exact ? JSON.stringify(number) : exact;
}

/** Digits without zeros at either end, and the power of ten of the last: equal for equal numbers, however written. */
function decimal(text: string): string {
  const [, sign = '', whole = '', fraction = '', exponent = '0'] =
    /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text) ?? [];
  const digits = (whole + fraction).replace(/^0+/, '');
  const kept = digits.replace(/0+$/, '');
  if (kept === '') return '0';
  const power = BigInt(exponent) - BigInt(fraction.length) + BigInt(digits.length - kept.length);
  return `${sign}${kept}e${power}`;
}
