import type { LimitKey, Rung } from '../../admission/options.ts';
import { suggest } from '../problems.ts';
import { parseQuota, parseRate, QUOTA_PATTERN, RATE_PATTERN } from '../quotas.ts';
import { parseDuration, quote, UnitError } from '../units.ts';
import { amount, choice, either, expression, flag, list, map, oneOrList, parsed, section, text, whole } from './kit.ts';
import { pattern, ruleName, ruleNameProblem } from './names.ts';

const KEYS: readonly LimitKey[] = [
  'everyone',
  'principal',
  'tenant',
  'session',
  'client',
  'tool',
  'server',
  'endpoint',
  'ip',
  'args',
];
const MAX_BURST = 1_000_000_000;
/** Where no person waits any more; longer chains of waits are refused as well. */
const MAX_WAIT_MS = 30_000;

const by = parsed('a key to count by', 'principal', (value): LimitKey => {
  if ((KEYS as readonly string[]).includes(value)) return value as LimitKey;
  if (value === 'country') {
    throw new UnitError('Counting by country is not in this version.', `One of ${KEYS.join(', ')}.`);
  }
  throw new UnitError(`${quote(value)} is nothing to count by.`, suggest(value, KEYS));
});

const rung = parsed(
  'a step',
  'wait 10s',
  (value): Rung => {
    if (value === 'refuse') return { kind: 'refuse' };
    if (value === 'stale') {
      throw new UnitError('Answers from the cache are not in this version.', 'Write wait 10s or refuse.');
    }
    const wait = /^wait\s+(\S+)$/.exec(value);
    if (wait === null) throw new UnitError(`${quote(value)} is not a step.`, 'Write wait 10s or refuse.');
    const ms = parseDuration(wait[1]!);
    if (ms > MAX_WAIT_MS) throw new UnitError(`${quote(value)} is too long.`, 'The longest wait is 30s.');
    return { kind: 'wait', ms };
  },
  { unit: 'rung' },
);

const share = parsed('a share', '80%', (value) => {
  const number = /^(\d{1,3}(?:\.\d{1,2})?)\s*%$/.exec(value);
  if (number === null) throw new UnitError(`${quote(value)} is not a share.`, 'For example 80%.');
  if (!(Number(number[1]) > 0 && Number(number[1]) <= 100)) {
    throw new UnitError(`${quote(value)} is not between 0% and 100%.`, 'For example 80%.');
  }
  return `${Number(number[1])}%`;
});

const timezone = parsed('a time zone', 'Europe/Berlin', (value) => {
  try {
    new Intl.DateTimeFormat('en', { timeZone: value });
    return value;
  } catch {
    throw new UnitError(`${quote(value)} is not a time zone.`, 'Write UTC or an IANA name such as Europe/Berlin.');
  }
});

const cost = parsed('a cost', '"size(args.pages)"', (value): string => {
  if (/^[-+−]?(?:[\d.]+(?:e[-+]?\d+)?|nan|\.?inf(?:inity)?)$/i.test(value.trim())) {
    throw new UnitError(
      `${quote(value)} is a number written as text.`,
      'Write a whole number of at least 1, unquoted.',
    );
  }
  return value;
}).pipe(expression('a cost', '"size(args.pages)"', 'integer'));

const globs = (example: string) => oneOrList(pattern(example), 'a pattern', example).optional();
const quota = () => parsed('a limit', '30/min', parseQuota, { pattern: QUOTA_PATTERN, unit: 'quota' });
const burst = () =>
  either(
    whole(0, MAX_BURST),
    amount('10 USD'),
    `Must be a whole number from 0 to ${MAX_BURST}, or an amount where the limit is one`,
  )
    .optional()
    .describe(
      'Token bucket only: so many more at once. `30/min` with `burst: 10` holds 40, refilled 30 a minute. Default 0.',
    );

export const limit = section(
  {
    on: globs('tools/call').describe(
      'Methods. Default tools/call, resources/read, prompts/get and completion/complete; lists, discover, initialize and ping count only when named.',
    ),
    tool: globs('github/*').describe('Patterns on `server/tool`.'),
    resource: globs('data://*').describe('Patterns on the URI of a resource.'),
    prompt: globs('docs/*').describe('Patterns on `server/prompt`.'),
    server: globs('github').describe('Patterns on the name of the server.'),
    endpoint: globs('/team').describe('Patterns on the path of the endpoint.'),
    tenant: globs('acme').describe('Patterns on the caller’s tenant; a caller without one matches none.'),
    tier: globs('premium').describe('Patterns on the caller’s tier.'),
    when: expression('a condition', '"size(args.pages) > 100"', 'boolean')
      .optional()
      .describe('CEL; the limit covers the calls for which it is true. One that fails counts as true.'),
    by: oneOrList(by, 'a key to count by', 'principal').describe(
      `One counter for \`everyone\`, or one for each ${KEYS.slice(1)
        .map((key) => `\`${key}\``)
        .join(', ')}, or a list of them.`,
    ),
    limit: quota().describe(
      'How much: `30/min` (calls), `20 at once`, `500 USD/day`, `100 credits/month`, `1 USD/call`, `1000 USD total`, or `tier`: only the rows of `tiers` say how much.',
    ),
    burst: burst(),
    algorithm: choice(['token-bucket', 'sliding-window', 'fixed-window'])
      .optional()
      .describe(
        'How it comes back. `token-bucket` (default for calls): drop by drop; `sliding-window`: never more than the number in any window; `fixed-window` (default for amounts and for months): all at once, for `min`, `h`, `day`, `week` and `month` at the turn of the calendar, for a length such as `60s` so long after the first call.',
      ),
    cost: either(
      whole(1, MAX_BURST),
      cost,
      `Must be a whole number from 1 to ${MAX_BURST}, or an expression that gives one`,
    )
      .optional()
      .describe('What a call weighs: a whole number, or CEL that gives one. Default 1; of an amount, the price.'),
    hits: flag().prefault(false).describe('Answers from the cache count too.'),
    // biome-ignore lint/suspicious/noThenProperty: a key of the product's configuration; nobody awaits a schema.
    then: oneOrList(rung, 'a step', '[wait 10s, refuse]')
      .optional()
      .describe(
        'What happens when there is no room, in this order: `wait D` (30 s at most in all), then `refuse`. Default refuse.',
      ),
    mode: choice(['enforce', 'shadow', 'off'])
      .prefault('enforce')
      .describe(
        '`shadow`: counts and reports, refuses nothing. `off`: as if it were not written, for a limit of the preset.',
      ),
    onError: choice(['local', 'open', 'closed'])
      .optional()
      .describe(
        'When shared state cannot be reached: count in this process (`local`, default), let pass (`open`), refuse (`closed`). Amounts are always `closed`.',
      ),
    replaces: oneOrList(ruleName('the name of a limit', 'calls'), 'the name of a limit', '[calls]')
      .optional()
      .describe('Limits that do not count where this one covers the call.'),
    was: ruleName('the earlier name', 'old-name')
      .optional()
      .describe('Earlier name of this limit; what was used under it stays used.'),
    latch: flag().prefault(false).describe('Once reached it stays shut until an admin resets it.'),
    alerts: list(share, 'shares', '[80%, 95%]')
      .prefault([])
      .describe('Shares of the limit at which operators are told.'),
    timezone: timezone.optional().describe('IANA name, for windows that turn with the calendar. Default UTC.'),
    message: text('a sentence', '"Ask in #platform for more."')
      .optional()
      .describe('Added to the refusal that callers see.'),
    disclose: choice(['full', 'mine', 'none'])
      .prefault('mine')
      .describe(
        'What a refusal tells. `mine`: rule, reason and retry time, numbers only of rules keyed by the caller; `full`: all; `none`: reason and retry time.',
      ),
  },
  {
    hints: {
      rate: 'Write `limit`.',
      per: 'Write `by`, and the period in `limit`.',
      key: 'Write `by`.',
      window: 'Write the period in `limit`, for example 30/min.',
      shadow: 'Write mode: shadow.',
      enabled: 'Write mode: off.',
    },
  },
);

export const limits = map(limit, 'limits', ruleNameProblem).describe(
  'Limits by name. All that apply must pass, in one atomic step; a refused call consumes nothing.',
);

const row = either(
  quota(),
  section({ limit: quota().describe('As in the limit it names.'), burst: burst() }),
  'Must be a limit such as 30/min, or a map with `limit` and `burst`',
);

export const tiers = map(map(row, 'limits', ruleNameProblem), 'tiers', ruleNameProblem).describe(
  'Numbers by tier: each row replaces `limit` and `burst` of the limit it names, for callers of that tier. `default` is for callers without one, and for a `limit: tier` whose tier has no row.',
);

export const sessionGuard = section({
  enabled: either(flag(), choice(['true', 'false']), 'Must be true or false')
    .prefault(true)
    .describe('False: as if the key were not there. May come from a variable.'),
  limit: parsed('a rate', '120/60s', parseRate, { pattern: RATE_PATTERN, unit: 'rate' })
    .prefault('120/60s')
    .describe('How many requests of one session in a window that begins with its first.'),
}).describe(
  'Counts every HTTP request of a session before anything of it is read. Off unless the key is present; `sessionGuard: {}` takes the defaults.',
);

/** `5/min`, or a map: the limit of a route, counted by principal. */
export const routeLimit = either(
  quota(),
  section({
    limit: quota().describe('How much; everything but `tier`.'),
    burst: burst(),
    replaces: oneOrList(ruleName('the name of a limit', 'calls'), 'the name of a limit', '[calls]')
      .optional()
      .describe('Limits that do not count for calls of this route.'),
  }),
  'Must be a limit such as 5/min, or a map with `limit`, `burst` and `replaces`',
);
