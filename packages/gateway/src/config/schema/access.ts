import { readTenantPattern, readWho, type Who } from '../../access/options.ts';
import { patternProblem } from '../globs.ts';
import { quote, UnitError } from '../units.ts';
import { choice, expression, list, oneOrList, parsed, section } from './kit.ts';
import { pattern } from './names.ts';

/** What a rule can be about, as `on` of a limit names it. */
const METHODS = ['tools/call', 'resources/read', 'prompts/get'] as const;

const who = parsed('a caller', 'role:engineer', (value): string => {
  const read: Who | undefined = readWho(value);
  if (read === undefined) {
    throw new UnitError(
      `${quote(value)} names no caller.`,
      'Write everyone, role:x, tenant:x, tier:x, client:x, entry:x, anonymous, or a principal such as corp/ada or corp@acme/ada.',
    );
  }
  const tenanted = read.kind === 'principal' ? readTenantPattern(read.pattern) : undefined;
  const patterns = tenanted === undefined ? [read.pattern] : [tenanted.head, tenanted.subject];
  const problem = patterns.map(patternProblem).find((found) => found !== undefined);
  if (problem !== undefined) throw new UnitError(problem, '');
  return value;
});

const rule = section(
  {
    who: oneOrList(who, 'a caller', 'role:engineer').describe(
      'Whom it lets in, any of: `everyone`, `role:x`, `tenant:x`, `tier:x`, `client:x`, `entry:x` (an auth entry), `anonymous`, or a principal `entry/subject` (in every tenant) or `entry@tenant/subject`; x and principals may be patterns.',
    ),
    may: oneOrList(pattern('github/*'), 'a pattern', 'github/*').describe(
      'What they may use: patterns on `server/tool`, `server/prompt` and `server/uri` of a resource. `"*"` is everything.',
    ),
    on: oneOrList(choice(METHODS), 'a method', 'tools/call')
      .optional()
      .describe('Only tools, resources or prompts: `tools/call`, `resources/read`, `prompts/get`. Default all three.'),
    endpoint: oneOrList(pattern('/team'), 'a pattern', '/team')
      .optional()
      .describe('Patterns on the path of the endpoint. Default every endpoint, `/s/<server>` included.'),
    when: expression('a condition', '"args.pages.size() < 100"', 'boolean')
      .optional()
      .describe('CEL that must be true. One that fails is not true. What only the arguments decide stays in lists.'),
  },
  {
    hints: {
      allow: 'Write `may`.',
      tools: 'Write `may`, with on: tools/call where it is about tools only.',
      resources: 'Write `may`, with on: resources/read.',
      prompts: 'Write `may`, with on: prompts/get.',
      deny: 'What no rule allows is refused; there are no rules that forbid.',
      role: 'Write who: role:x.',
      tenant: 'Write who: tenant:x.',
      principal: 'Write who: entry/subject, or entry@tenant/subject.',
      if: 'Write `when`.',
    },
  },
);

export const access = list(rule, 'rules', '[{ who: "role:engineer", may: "github/*" }]').describe(
  'Who may use what. Absent: everybody may use what scopes and endpoints allow. Present: what no rule allows is hidden; an empty list: nobody may use anything.',
);
