import * as z from 'zod';
import { mayDo, rolesOf } from '../../access/rights.ts';
import type { LimitAnswer, LimitRequest } from '../../pipeline/operations-port.ts';
import { type Caller, type Subject, subjectOf } from './caller.ts';
import { amount, clientId, endpoint, text, tier, toMicros } from './fields.ts';
import { denialOf, limitOf } from './limits-check.ts';
import { defineOperation, type OperationContext, type OperationResult } from './operation.ts';
import { OperationProblem } from './problem.ts';

const input = z.object({
  client_id: clientId,
  endpoint,
  estimated_cost: amount('estimated_cost').default(0),
  tier: tier.optional(),
  tool_name: text('tool_name').optional(),
});

type Input = z.output<typeof input>;

interface Question {
  readonly subject: Subject;
  readonly request: LimitRequest;
  readonly input: Input;
}

/**
 * Whether a call may be made now; allowed, it counts as made: one call, and the estimate is charged at once (X0-02).
 * A `tier` is honoured for this check only, and only from an admin (C-05).
 */
export const checkMcpLimit = defineOperation({
  name: 'check_mcp_limit',
  about: 'Ask whether a client may call an endpoint now. Allowed, it counts as one call and charges estimated_cost.',
  roles: rolesOf('op.check_mcp_limit'),
  input,
  run: async (read, context) => {
    const [result] = await checkAll([read], [context]);
    if (result?.status !== 'fulfilled') throw result?.reason;
    return result.value;
  },
  runAll: checkAll,
});

async function checkAll(
  inputs: readonly Input[],
  contexts: readonly OperationContext[],
): Promise<PromiseSettledResult<OperationResult>[]> {
  const questions = await Promise.allSettled(inputs.map((read, i) => question(read, contexts[i]!)));
  const asked = questions.filter((one) => one.status === 'fulfilled').map(({ value }) => value);
  const answers = asked.length === 0 ? [] : await contexts[0]!.port.decide(asked.map(({ request }) => request));
  let next = 0;
  return questions.map((one): PromiseSettledResult<OperationResult> => {
    if (one.status === 'rejected') return one;
    const answer = answers[next++];
    // A limiter that said nothing has not allowed anything.
    if (answer === undefined) return { status: 'rejected', reason: new OperationProblem('internal', 'Internal error') };
    return { status: 'fulfilled', value: resultOf(one.value, answer) };
  });
}

async function question(read: Input, { caller, port }: OperationContext): Promise<Question> {
  const subject = await subjectOf(read.client_id, caller, port, 'write');
  return {
    subject,
    input: read,
    request: {
      client: subject.client,
      endpoint: read.endpoint,
      name: read.tool_name,
      cost: toMicros(read.estimated_cost),
      tier: tierFor(read.tier, caller, port.tiers),
      mode: 'consume',
    },
  };
}

/** No client promotes itself: from anybody but an admin a tier is not even looked at (X0-03, C-05). */
export function tierFor(asked: string | undefined, caller: Caller, tiers: readonly string[]): string | undefined {
  if (asked === undefined || !mayDo(caller.roles, 'checks.tier', 'others')) return undefined;
  if (!tiers.includes(asked)) throw invalidTier(asked, tiers);
  return asked;
}

export function invalidTier(asked: string, tiers: readonly string[]): OperationProblem {
  return new OperationProblem('invalid_tier', `Invalid tier: ${asked.replace(/[^\x20-\x7e]/g, '?')}`, {
    valid_tiers: tiers,
  });
}

function resultOf(
  { subject, input: { endpoint: asked, estimated_cost } }: Question,
  answer: LimitAnswer,
): OperationResult {
  const metadata = {
    client_id: subject.id,
    client_tier: answer.tier,
    endpoint: asked,
    estimated_cost,
    ...endpointNumbers(answer),
  };
  if (answer.allowed === true) return { allowed: true, metadata };
  const { reason, violation } = denialOf(answer);
  const limit = violation === undefined ? undefined : limitOf(violation);
  return {
    allowed: false,
    reason,
    ...(answer.retryAfterSeconds === undefined ? {} : { retry_after_seconds: answer.retryAfterSeconds }),
    metadata: {
      ...metadata,
      ...(limit === undefined ? {} : { limit }),
      violated: answer.violated.map(({ rule }) => rule),
      ...(answer.decisionId === undefined ? {} : { decision_id: answer.decisionId }),
    },
  };
}

/** The base table's number under the original's name, and what is really enforced beside it (C-06). */
export function endpointNumbers({ limits: { base, effective, burst } }: Pick<LimitAnswer, 'limits'>): OperationResult {
  return {
    ...(base === undefined ? {} : { endpoint_limit: base }),
    ...(effective === undefined ? {} : { effective_limit: effective }),
    ...(burst === undefined ? {} : { burst_allowance: burst }),
  };
}
