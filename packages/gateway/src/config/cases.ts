/** The file of `tollgate test`: cases with what is given, what is called, and what must come of it. */
import { readFile, stat } from 'node:fs/promises';
import * as z from 'zod';
import type { Amount } from '../admission/options.ts';
import { TollgateError } from '../core/errors.ts';
import { formatAmount, parseAmount } from './amounts.ts';
import type { CompiledConfig } from './compile.ts';
import { explainIssues } from './issues.ts';
import { type Finding, invalidConfig, mistake, shortPath, suggest } from './problems.ts';
import { choice, flag, kindOf, list, map, message, parsed, section, text, whole } from './schema/kit.ts';
import { MAX_CONFIG_BYTES, parseText } from './tree.ts';
import { parseVirtualTime, quote, UnitError } from './units.ts';

const amount = () => parsed('an amount', '0.02 USD', parseAmount);

/** `19.99 USD`, or a whole number of calls. */
const used = z.union(
  [
    z
      .int({
        error: message('Must be a whole number that can be counted exactly.', `At most ${Number.MAX_SAFE_INTEGER}.`),
      })
      .min(0)
      .transform((count): number | Amount => count),
    parsed('a number of calls or an amount', '19.99 USD', (value): number | Amount => {
      if (/^\d+$/.test(value)) throw new UnitError(`${quote(value)} is a text.`, `Write ${value} without quotes.`);
      return parseAmount(value);
    }),
  ],
  { error: message('Must be a whole number of calls, or an amount.', 'For example 29 or 19.99 USD.') },
);

const moment = parsed('a time with its zone', '2026-03-01T10:00:00Z', (value): number => {
  const known = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,3})?)?(Z|[+-]\d\d:\d\d)$/.test(value);
  const time = known ? Date.parse(value) : Number.NaN;
  if (Number.isNaN(time)) {
    throw new UnitError('This is not a time with its zone.', 'For example 2026-03-01T10:00:00Z.');
  }
  return time;
});

const offset = parsed('a time after the start', '+2s', (value): number => {
  if (/^\+?-/.test(value)) {
    throw new UnitError(`${quote(value)} is before the start.`, 'Give the case a later start with `given.at`.');
  }
  if (!value.startsWith('+')) throw new UnitError('A time after the start begins with +.', `Write +${value}.`);
  return parseVirtualTime(value.slice(1));
});

const duration = (example: string) => parsed('a duration', example, parseVirtualTime);

const step = section(
  {
    caller: text('a principal', 'keys/ada').prefault('test/caller'),
    tenant: text('a tenant', 'acme').optional(),
    tier: text('a tier', 'standard').optional(),
    roles: list(text('a role', 'engineer'), 'roles', '[engineer]').prefault([]),
    client: text('a client id', 'cursor').optional(),
    session: text('a session', 's1').optional(),
    address: text('an address', '192.0.2.7').optional(),
    endpoint: text('a path', '/mcp').prefault('/mcp'),
    method: text('a method', 'tools/call').prefault('tools/call'),
    tool: text('a tool as server/tool', 'files/read_file').optional(),
    args: z
      .record(z.string(), z.unknown(), { error: message('Must be a map of arguments.', 'For example { path: /a }.') })
      .optional(),
    at: offset.optional(),
    times: whole(1, 100_000).prefault(1),
    cost: amount().optional(),
    takes: duration('5s').optional(),
  },
  {
    hints: {
      arguments: 'Write `args`.',
      count: 'Write `times`.',
      price: 'Write `cost`.',
      principal: 'Write `caller`.',
    },
  },
);

const refused = section({
  rule: text('the name of a limit', 'calls').optional(),
  reason: text('a reason', 'rate_limited').optional(),
  retryAfter: z
    .union([choice(['never']), duration('2s')], {
      error: message('Must be a duration or never.', 'For example 2s.'),
    })
    .optional(),
});

const outcome = section({
  allowed: z
    .union([flag(), whole(0, 100_000)], {
      error: (issue) =>
        message(`Must be true, false or how many of the calls, not ${kindOf(issue.input)}.`, 'For example true or 30.'),
    })
    .optional(),
  refused: refused.optional(),
  charged: amount().optional(),
});

const testCase = section({
  name: text('a sentence', '"the 31st call is refused"'),
  given: section({
    at: moment.optional(),
    tier: text('a tier', 'standard').optional(),
    spent: map(used, 'what limits have used', () => undefined).prefault({}),
  }).prefault({}),
  when: list(step, 'calls', '[{ caller: keys/ada, tool: files/read_file, times: 30 }]'),
  // biome-ignore lint/suspicious/noThenProperty: the word of the file; a list is no promise
  then: list(outcome, 'outcomes, one for each call of `when`', '[{ allowed: true }]'),
});

const file = section({ cases: list(testCase, 'cases', '[{ name: …, when: […], then: […] }]') });

export type TestCase = z.infer<typeof testCase>;
export type TestStep = z.infer<typeof step>;
export type TestOutcome = z.infer<typeof outcome>;

/**
 * Reads a file of cases for a configuration. Throws `config_not_found`, or `config_invalid` with every mistake, its
 * line and what to write: also names of tiers, limits and servers that the configuration does not have.
 */
export async function loadCases(path: string, config: CompiledConfig, cwd = process.cwd()): Promise<TestCase[]> {
  const name = shortPath(path, cwd);
  const content = await read(path, name);
  const { tree, problems } = parseText(content, path);
  if (problems.length > 0) {
    throw invalidConfig(name, problems, cwd);
  }
  const result = file.safeParse(tree.value ?? {});
  const findings = result.success
    ? crossCheck(result.data.cases, config)
    : explainIssues(result.error.issues, tree.value);
  if (findings.length > 0) {
    throw invalidConfig(
      name,
      findings.map((finding) => ({ ...finding, position: tree.at(finding.path) })),
      cwd,
    );
  }
  return result.data!.cases;
}

async function read(path: string, name: string): Promise<string> {
  try {
    const info = await stat(path);
    if (info.isFile() && info.size <= MAX_CONFIG_BYTES) return await readFile(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? 'does not exist' : `cannot be read (${code})`;
    throw new TollgateError('config_not_found', `${name} ${why}.`, { cause: error });
  }
  throw new TollgateError('config_not_found', `${name} is not a file of at most 1 MiB.`);
}

/** Names that nothing has would make a case say nothing. */
function crossCheck(cases: readonly TestCase[], config: CompiledConfig): Finding[] {
  const { limits, tiers } = config.admission;
  const limitNames = limits.map((limit) => limit.name);
  const servers = config.servers.map((server) => server.name);
  const endpoints = config.endpoints.map((endpoint) => endpoint.path);
  const findings: Finding[] = [];
  if (cases.length === 0)
    findings.push(mistake(['cases'], 'There is no case.', 'A file without cases would always pass.'));
  const known = (path: Finding['path'], what: string, word: string | undefined, words: readonly string[]): void => {
    if (word === undefined || words.includes(word)) return;
    findings.push(mistake(path, `There is no ${what} "${word}" in the configuration.`, suggest(word, words)));
  };
  for (const [i, { given, when, then }] of cases.entries()) {
    const base = ['cases', i] as const;
    known([...base, 'given', 'tier'], 'tier', given.tier, tiers);
    for (const [limit, spent] of Object.entries(given.spent)) {
      const path = [...base, 'given', 'spent', limit];
      known(path, 'limit', limit, limitNames);
      findings.push(...unitProblem(path, config, limit, spent));
    }
    if (then.length !== when.length) {
      const numbers = `\`when\` has ${when.length} and \`then\` has ${then.length}`;
      findings.push(
        mistake([...base, 'then'], `Each call needs one outcome: ${numbers}.`, 'Write {} where nothing is expected.'),
      );
    }
    if (when.length === 0)
      findings.push(mistake([...base, 'when'], 'There is no call.', 'A case without calls would always pass.'));
    let before = 0;
    for (const [j, { tier, tool, endpoint, at, method }] of when.entries()) {
      const path = [...base, 'when', j];
      known([...path, 'tier'], 'tier', tier, tiers);
      known([...path, 'endpoint'], 'endpoint', endpoint, endpoints);
      if (tool !== undefined) known([...path, 'tool'], 'server', tool.split('/', 1)[0], servers);
      if (tool === undefined && method === 'tools/call') {
        findings.push(mistake(path, 'A tools/call needs a tool.', 'Write tool: server/tool.'));
      }
      if (at !== undefined && at < before) {
        findings.push(mistake([...path, 'at'], 'Time does not go back.', 'Times count from the start of the case.'));
      }
      before = Math.max(before, at ?? 0);
    }
    for (const [j, { refused }] of then.entries()) {
      known([...base, 'then', j, 'refused', 'rule'], 'limit', refused?.rule, limitNames);
    }
  }
  return findings;
}

function unitProblem(path: Finding['path'], config: CompiledConfig, name: string, spent: number | Amount): Finding[] {
  const limit = config.admission.limits.find((candidate) => candidate.name === name);
  const quota = limit?.quota ?? limit?.rows.values().next().value;
  if (quota === undefined) return [];
  const unit = 'amount' in quota ? quota.amount.unit : undefined;
  if (quota.kind === 'per-call' || quota.kind === 'concurrency') {
    return [mistake(path, 'Nothing is kept of such a limit from one call to the next.', 'Remove it.')];
  }
  if (typeof spent === 'number') {
    return unit === undefined ? [] : [mistake(path, `"${name}" counts ${unit}.`, `Write ${spent} ${unit}.`)];
  }
  if (spent.unit === unit) return [];
  const wanted = unit === undefined ? 'calls' : unit;
  return [mistake(path, `"${name}" counts ${wanted}, not ${spent.unit}.`, `Not ${formatAmount(spent)}.`)];
}
