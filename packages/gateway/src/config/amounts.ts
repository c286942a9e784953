/**
 * Numbers of a configuration that must be exact: counts, and amounts of money or of another unit in millionths.
 * They are read digit by digit; no floating point is involved.
 */
import type { Amount } from '../admission/options.ts';
import { quote, UnitError } from './units.ts';

export const AMOUNT_PATTERN = '^[0-9]+(\\.[0-9]+)? +[A-Za-z][A-Za-z0-9_-]*$';

const DECIMALS = 6;
const MAX_COUNT = 1_000_000_000;
const MAX_AMOUNT = '9007199254.740991';
const EXAMPLE = 'Write a number, a blank and a unit, for example 0.005 USD.';
/** Words that say what is counted anyway; as units they would hide a mistake. */
const NO_UNITS = new Set(['call', 'calls', 'request', 'requests', 'total', 'at', 'once']);

/** `0.005 USD`, `100 credits`. Zero is an amount; more than 6 decimals or 2^53 millionths are refused. */
export function parseAmount(text: string): Amount {
  const match = /^(\S+)\s+(\S+)$/.exec(text);
  if (match === null) {
    if (/^[$€£]/.test(text))
      throw new UnitError(`${quote(text)} has its unit in front.`, `Write ${text.slice(1).trim()} USD.`);
    if (/^[\d.]+[A-Za-z]/.test(text)) throw new UnitError(`${quote(text)} has no blank before its unit.`, EXAMPLE);
    if (/^\d+(\.\d+)?$/.test(text)) throw new UnitError(`${quote(text)} has no unit.`, `Write ${text} USD.`);
    throw new UnitError(`${quote(text)} is not an amount.`, EXAMPLE);
  }
  return { unit: parseUnit(match[2]!), micros: parseMicros(match[1]!, match[2]!) };
}

/** `USD`, `credits`: 1 to 32 letters, digits, `_` and `-`, a letter first. Units differ by case. */
export function parseUnit(text: string): string {
  if (NO_UNITS.has(text.toLowerCase())) {
    throw new UnitError(`${quote(text)} is not a unit of an amount.`, 'Calls are counted without a unit: 30/min.');
  }
  if (!/^[A-Za-z][A-Za-z0-9_-]{0,31}$/.test(text)) {
    throw new UnitError(`${quote(text)} is not a unit.`, 'For example USD or credits: 1 to 32 letters and digits.');
  }
  return text;
}

/** The decimal text of an amount in millionths of its unit. */
export function parseMicros(text: string, unit: string): number {
  if (!/^\d+(\.\d+)?$/.test(text)) throw refusedNumber(text);
  const [whole = '', decimals = ''] = text.split('.');
  const digits = decimals.replace(/0+$/, '');
  if (digits.length > DECIMALS) {
    throw new UnitError(
      `${quote(text)} has more than ${DECIMALS} decimals; amounts are counted in millionths.`,
      `Round it to ${DECIMALS} decimals.`,
    );
  }
  const micros = whole.length > 20 ? undefined : BigInt(whole + digits.padEnd(DECIMALS, '0'));
  if (micros === undefined || micros > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new UnitError(
      `${quote(text)} is too large to be counted exactly.`,
      `The largest amount is ${MAX_AMOUNT} ${unit}.`,
    );
  }
  return Number(micros);
}

/** A whole number of at least 1. */
export function parseCount(text: string): number {
  if (/^\d+\.\d+$/.test(text)) throw new UnitError(`${quote(text)} is not a whole number.`, 'Calls are counted whole.');
  if (!/^\d+$/.test(text)) throw refusedNumber(text);
  const count = Number(text);
  if (count < 1) throw new UnitError('A limit of 0 would refuse everything.', 'Write at least 1.');
  if (count > MAX_COUNT) throw new UnitError(`${quote(text)} is too large.`, `The largest number is ${MAX_COUNT}.`);
  return count;
}

function refusedNumber(text: string): UnitError {
  if (/^[-−]/.test(text)) return new UnitError(`${quote(text)} is negative.`, 'Write a number above 0.');
  if (/^\+?(?:nan|\.nan|\.?inf|infinity|∞|unlimited|none)$/i.test(text)) {
    return new UnitError(`${quote(text)} is not a number.`, 'Where nothing is limited, remove the entry.');
  }
  if (/^\+?[\d.]+e[+-]?\d+$/i.test(text)) {
    return new UnitError(`${quote(text)} has an exponent.`, 'Write the number out, for example 1000.');
  }
  if (/^\d+,\d{1,2}$/.test(text)) {
    return new UnitError(`${quote(text)} has a comma.`, `Write a point: ${text.replace(',', '.')}.`);
  }
  if (/^\d{1,3}([,_' ]\d{3})+(\.\d+)?$/.test(text)) {
    const plain = text.replaceAll(/[,_']/g, '');
    return new UnitError(`${quote(text)} has separators between its digits.`, `Write ${plain}.`);
  }
  if (/^[$€£]/.test(text))
    return new UnitError(`${quote(text)} has its unit in front.`, `Write ${text.slice(1).trim()} USD.`);
  return new UnitError(`${quote(text)} is not a number.`, 'Write digits, with a point before decimals.');
}

/** `0.005 USD`, `20 USD`: no digit more than needed. */
export function formatAmount(amount: Amount): string {
  return `${formatMicros(amount.micros)} ${amount.unit}`;
}

export function formatMicros(micros: number): string {
  const digits = String(micros).padStart(DECIMALS + 1, '0');
  const decimals = digits.slice(-DECIMALS).replace(/0+$/, '');
  return digits.slice(0, -DECIMALS) + (decimals === '' ? '' : `.${decimals}`);
}
