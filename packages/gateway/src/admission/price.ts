/**
 * What a call costs, in exact integers: a price is multiplied and rounded up once to a millionth of its unit, never a
 * fraction of a double. Decimal texts are read digit by digit.
 */
import { TollgateError } from '../core/errors.ts';
import { compileExpression, type Expression, ExpressionError, type ExpressionScope } from '../core/expression.ts';
import type { PriceOptions } from './options.ts';

/** A billion units: below it, sums over a long time stay exact. */
export const MAX_MICROS = 1e15;

/** The price of one tool in one unit. */
export class Price {
  readonly options: PriceOptions;
  readonly unit: string;
  /** Of a result from the cache, in micro-units. */
  readonly cached: number;
  readonly #times: Expression | undefined;

  /** Throws `config_invalid` for an expression that does not compile, and where no amount says the unit. */
  constructor(options: PriceOptions, tool: string) {
    const amounts = [options.each, options.hold, options.max, options.cached];
    const unit = amounts.find((amount) => amount !== undefined)?.unit;
    if (unit === undefined) {
      throw new TollgateError('config_invalid', `tools.${tool}.price: no amount; write \`each\` or \`hold\`.`);
    }
    this.options = options;
    this.unit = unit;
    this.cached = options.cached?.micros ?? 0;
    this.#times = options.times === undefined ? undefined : compileTimes(options.times, tool);
  }

  /** True when an expression has to be evaluated. */
  get computed(): boolean {
    return this.#times !== undefined;
  }

  /** True when only the result says what the call cost. */
  get reported(): boolean {
    return this.options.from !== undefined;
  }

  /**
   * What to reserve, in micro-units. Throws ExpressionError when `times` fails, is negative, or gives a price that
   * cannot be charged.
   */
  estimate(scope: ExpressionScope | undefined): number {
    const { each, hold, max } = this.options;
    if (this.reported && hold !== undefined) return hold.micros;
    if (each === undefined) return max?.micros ?? 0;
    if (this.#times === undefined) return each.micros;
    const product = multiplyUp(each.micros, this.#times.evaluate(scope!) as number);
    if (product === undefined) throw new ExpressionError('the price is negative or too large to be charged');
    return product;
  }

  /** The price that a parsed result tells, in micro-units; undefined: it is not there in a form that is accepted. */
  actual(result: unknown): number | undefined {
    let value = result;
    for (const step of this.options.from!) {
      // Own members only: a path must never reach a prototype.
      if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return undefined;
      value = (value as Record<string | number, unknown>)[step];
    }
    return microsOf(value);
  }
}

function compileTimes(source: string, tool: string): Expression {
  try {
    return compileExpression(source, 'number');
  } catch (error) {
    if (!(error instanceof ExpressionError)) throw error;
    throw new TollgateError('config_invalid', `tools.${tool}.price.times: ${error.message}.`);
  }
}

/** `micros` times a number, rounded up once; undefined for a negative number or a product that is too large. */
export function multiplyUp(micros: number, times: number): number | undefined {
  if (!(times >= 0 && times <= MAX_MICROS)) return undefined;
  const product = micros * times;
  if (Number.isInteger(times)) return product <= MAX_MICROS ? product : undefined;
  const [digits, places] = decimalOf(times);
  const scale = 10n ** BigInt(places);
  const exact = (BigInt(micros) * digits + scale - 1n) / scale;
  return exact <= BigInt(MAX_MICROS) ? Number(exact) : undefined;
}

/** A positive double as the decimal that it is written as: 0.1 is a tenth, not the binary number next to it. */
function decimalOf(value: number): [digits: bigint, places: number] {
  const [mantissa, exponent = '0'] = String(value).split('e') as [string, string?];
  const [whole, fraction = ''] = mantissa.split('.') as [string, string?];
  const places = fraction.length - Number(exponent);
  const digits = BigInt(whole + fraction);
  return places >= 0 ? [digits, places] : [digits * 10n ** BigInt(-places), 0];
}

/**
 * A JSON number of at most 16 digits before the point, 30 after it, and 2 of an exponent; no sign. `1e-400`, which most
 * readers take for 0, is no price.
 */
const DECIMAL = /^(0|[1-9]\d{0,15})(?:\.(\d{1,30}))?(?:[eE]([+-]?\d{1,2}))?$/;

interface RawJson {
  isRawJSON(value: unknown): value is { readonly rawJSON: string };
}

/**
 * A JSON number that a server reported as micro-units, exact and rounded up once: `1.5e-05`, as many languages write small
 * numbers, is 15. Undefined for a sign, a text, what is no number and what is too large to be charged.
 */
export function microsOf(value: unknown): number | undefined {
  const text =
    typeof value === 'number'
      ? String(value)
      : (JSON as unknown as RawJson).isRawJSON(value)
        ? value.rawJSON
        : undefined;
  const match = text === undefined ? null : DECIMAL.exec(text);
  if (match === null) return undefined;
  const [, whole = '', fraction = '', exponent = '0'] = match;
  // At most 46 digits times a power of at most 135: bounded work on what a server wrote.
  const digits = BigInt(whole + fraction);
  const power = 6 + Number(exponent) - fraction.length;
  const scale = 10n ** BigInt(Math.abs(power));
  const micros = power >= 0 ? digits * scale : (digits + scale - 1n) / scale;
  return micros <= BigInt(MAX_MICROS) ? Number(micros) : undefined;
}

/** `1.5`, `0.000001`: an amount as exact decimal text with at least so many places. */
export function decimalText(micros: number, places = 0): string {
  const whole = Math.trunc(Math.abs(micros) / 1e6);
  const fraction = String(Math.abs(micros) % 1e6)
    .padStart(6, '0')
    .replace(/0+$/, '')
    .padEnd(places, '0');
  return `${micros < 0 ? '-' : ''}${whole}${fraction === '' ? '' : `.${fraction}`}`;
}

/** `20.00 USD`, `0.005 USD`, `3 credits`: currencies have two places at least. */
export function amountText(micros: number, unit: string): string {
  return `${decimalText(micros, isCurrency(unit) ? 2 : 0)} ${unit}`;
}

export function isCurrency(unit: string): boolean {
  return /^[A-Z]{3}$/.test(unit);
}
