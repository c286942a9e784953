/** Runs one case of `tollgate test` on a virtual clock and says what came otherwise than expected. */
import type { Answer, Question } from '../admission/external.ts';
import type { Amount } from '../admission/options.ts';
import { formatAmount, formatMicros } from '../config/amounts.ts';
import type { TestCase, TestOutcome, TestStep } from '../config/cases.ts';
import type { CompiledConfig } from '../config/compile.ts';
import { formatDuration } from '../config/units.ts';
import { Rehearsal } from './rehearsal.ts';

export interface CaseResult {
  readonly name: string;
  /** One sentence for each expectation that was not met. Empty: passed. */
  readonly failures: readonly string[];
}

const DEFAULT_START = Date.UTC(2026, 0, 1);

export async function runCase(test: TestCase, config: CompiledConfig): Promise<CaseResult> {
  const start = test.given.at ?? DEFAULT_START;
  const used = new Map(
    Object.entries(test.given.spent).map(([limit, spent]) => [limit, typeof spent === 'number' ? spent : spent.micros]),
  );
  const rehearsal = new Rehearsal(config.admission, start, used);
  const failures: string[] = [];
  let at = start;
  try {
    for (const [i, step] of test.when.entries()) {
      if (step.at !== undefined) at = Math.max(at, start + step.at);
      const answers: Answer[] = [];
      for (let n = 0; n < step.times; n++) {
        answers.push(await rehearsal.decide(questionOf(step, test.given.tier), at, step.takes));
      }
      failures.push(
        ...compare(test.then[i]!, answers).map((what) => `call ${i + 1} (${step.tool ?? step.method}): ${what}`),
      );
    }
  } finally {
    rehearsal.close();
  }
  return { name: test.name, failures };
}

function questionOf(step: TestStep, tier: string | undefined): Question {
  return {
    subject: {
      principal: step.caller,
      tenant: step.tenant,
      tier: step.tier ?? tier,
      roles: step.roles,
      client: step.client,
      session: step.session,
      address: step.address,
    },
    method: step.method,
    endpoint: step.endpoint,
    tool: step.tool,
    server: step.tool?.split('/', 1)[0],
    arguments: step.args ?? {},
    estimate: step.cost,
  };
}

function compare({ allowed, refused, charged }: TestOutcome, answers: readonly Answer[]): string[] {
  const failures: string[] = [];
  const admitted = answers.filter((answer) => answer.allowed).length;
  if (allowed !== undefined) {
    const wanted = allowed === true ? answers.length : allowed === false ? 0 : allowed;
    if (admitted !== wanted) {
      failures.push(`expected ${wanted} of ${answers.length} to be allowed, ${admitted} were${firstRefusal(answers)}`);
    }
  }
  if (refused !== undefined) failures.push(...compareRefusal(refused, answers.at(-1)!));
  if (charged !== undefined) {
    const sum = sumOf(answers, charged.unit);
    if (sum !== charged.micros) {
      failures.push(`expected ${formatAmount(charged)} to be charged, it was ${formatMicros(sum)} ${charged.unit}`);
    }
  }
  return failures;
}

/** The last of the calls is the one that is meant. */
function compareRefusal(wanted: NonNullable<TestOutcome['refused']>, { decision }: Answer): string[] {
  if (decision === undefined) return ['expected a refusal, it was allowed'];
  const failures: string[] = [];
  const rules = decision.violated.map(({ limit }) => limit.name);
  if (wanted.rule !== undefined && !rules.includes(wanted.rule)) {
    failures.push(`expected ${wanted.rule} to refuse, it was ${rules.join(', ') || decision.reason}`);
  }
  if (wanted.reason !== undefined && wanted.reason !== decision.reason) {
    failures.push(`expected the reason ${wanted.reason}, it was ${decision.reason}`);
  }
  if (wanted.retryAfter !== undefined) {
    const told = decision.retryAfterSeconds === undefined ? 'never' : decision.retryAfterSeconds * 1000;
    if (told !== wanted.retryAfter) {
      failures.push(`expected to be told to repeat after ${delay(wanted.retryAfter)}, it was ${delay(told)}`);
    }
  }
  return failures;
}

function delay(value: number | 'never'): string {
  return value === 'never' ? value : formatDuration(value);
}

function firstRefusal(answers: readonly Answer[]): string {
  const refusal = answers.find((answer) => !answer.allowed)?.decision;
  if (refusal === undefined) return '';
  const rule = refusal.binding?.limit.name;
  return `; refused: ${refusal.reason}${rule === undefined ? '' : ` by ${rule}`}`;
}

function sumOf(answers: readonly Answer[], unit: Amount['unit']): number {
  return answers.reduce((sum, { allowed, cost }) => sum + (allowed ? (cost[unit] ?? 0) : 0), 0);
}
