import { parseUnit } from '../amounts.ts';
import { parsePath } from '../paths.ts';
import { amount, choice, either, expression, list, parsed, section } from './kit.ts';

const onePrice = section(
  {
    each: amount('0.005 USD').optional().describe('Of every call, or of every one of `times`.'),
    times: expression('an expression', '"size(args.pages)"', 'number')
      .optional()
      .describe('CEL: `each` times its value, rounded up once to a millionth.'),
    max: amount('5 USD')
      .optional()
      .describe('An estimate above it is refused; an actual price above it is charged in full and alarmed.'),
    from: parsed('a path', 'result._meta.usageTotalUsd', (value) => {
      parsePath(value);
      return value;
    })
      .optional()
      .describe('Where the result says what it cost; needs `hold`.'),
    hold: amount('0.10 USD').optional().describe('Reserved before a call whose price its result says.'),
    cached: amount('0.001 USD').optional().describe('Of an answer from the cache. Default 0.'),
  },
  {
    hints: {
      amount: 'Write each: 0.005 USD.',
      cost: 'Write each: 0.005 USD.',
      estimate: 'Write `hold` and `from`.',
      currency: 'Write the unit in the amount: 0.005 USD.',
    },
  },
);

/** One price, or one for each unit. */
export const price = either(
  onePrice,
  list(onePrice, 'prices', '[{ each: 0.005 USD }, { each: 2 credits }]'),
  'Must be a price such as { each: 0.005 USD }, or a list of one for each unit',
);

export const unpriced = choice(['free', 'warn', 'refuse']);

export const currency = parsed('a unit', 'USD', parseUnit);
