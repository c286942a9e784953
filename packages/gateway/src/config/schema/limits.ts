import { suggest } from '../problems.ts';
import { parseRate, RATE_PATTERN, UnitError } from '../units.ts';
import { choice, map, oneOrList, parsed, section, text, whole } from './kit.ts';
import { pattern, ruleNameProblem } from './names.ts';

const KEYS = ['everyone', 'principal', 'session', 'tool', 'server', 'endpoint'] as const;
const LATER_KEYS = new Set(['tenant', 'client', 'ip', 'country', 'args']);

type LimitKeyName = (typeof KEYS)[number];

const by = parsed('a key to count by', 'principal', (value): LimitKeyName => {
  if ((KEYS as readonly string[]).includes(value)) return value as LimitKeyName;
  if (LATER_KEYS.has(value))
    throw new UnitError(`Counting by ${value} is not in this version.`, `One of ${KEYS.join(', ')}.`);
  throw new UnitError(`${JSON.stringify(value.slice(0, 60))} is nothing to count by.`, suggest(value, KEYS));
});

const globs = (example: string) => oneOrList(pattern(example), 'a pattern', example).optional();

const limit = section(
  {
    on: globs('tools/call').describe(
      'Methods. Default tools/call, resources/read, prompts/get and completion/complete; lists, discover, initialize and ping count only when named.',
    ),
    tool: globs('github/*').describe('Patterns on `server/tool`.'),
    resource: globs('data://*').describe('Patterns on the URI of a resource.'),
    prompt: globs('docs/*').describe('Patterns on `server/prompt`.'),
    server: globs('github').describe('Patterns on the name of the server.'),
    endpoint: globs('/team').describe('Patterns on the path of the endpoint.'),
    by: oneOrList(by, 'a key to count by', 'principal').describe(
      'One counter for `everyone`, or one for each `principal`, `session`, `tool`, `server`, `endpoint`, or a list of them.',
    ),
    limit: parsed('a rate', '30/min', parseRate, { pattern: RATE_PATTERN, unit: 'rate' }).describe(
      'How many in which period.',
    ),
    burst: whole(0, 1_000_000_000)
      .prefault(0)
      .describe('So many more at once: `30/min` with `burst: 10` holds 40, refilled 30 a minute.'),
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
    later: [
      'tenant',
      'tier',
      'when',
      'algorithm',
      'cost',
      'hits',
      'then',
      'mode',
      'onError',
      'replaces',
      'was',
      'latch',
      'alerts',
      'timezone',
    ],
    hints: { rate: 'Write `limit`.', per: 'Write `by`, and the period in `limit`.', key: 'Write `by`.' },
  },
);

export const limits = map(limit, 'limits', ruleNameProblem).describe(
  'Rate limits by name. All that apply must pass, in one atomic step; a refused call consumes nothing.',
);
