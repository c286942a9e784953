/** `/v1/check` and `/v1/holds`: the limits for other systems, in the same words and with the same rights as operations. */
import * as z from 'zod';
import { mayDo } from '../access/rights.ts';
import type { HoldView, LimitAnswer, OperationsPort } from '../pipeline/operations-port.ts';
import { boundedCopy, MAX_ITEMS } from './operations/bounds.ts';
import { type Caller, subjectOf } from './operations/caller.ts';
import { endpointNumbers, tierFor } from './operations/check-mcp-limit.ts';
import { amount, clientId, endpoint, fromMicros, text, tier, toMicros } from './operations/fields.ts';
import { isoTime } from './operations/get-status.ts';
import { denialOf, limitOf } from './operations/limits-check.ts';
import { OperationProblem } from './operations/problem.ts';

/** Seconds that a hold may last. */
const MAX_TTL = 86_400;
const DEFAULT_TTL = 60;

const question = {
  client_id: clientId,
  endpoint,
  estimated_cost: amount('estimated_cost').default(0),
  tool_name: text('tool_name').optional(),
  tier: tier.optional(),
};

const checkInput = z.strictObject({
  ...question,
  mode: z.enum(['peek', 'consume'], { error: 'mode must be "peek" or "consume"' }).default('peek'),
});

const holdInput = z.strictObject({
  ...question,
  ttl_seconds: amount('ttl_seconds')
    .min(1, 'ttl_seconds must be at least 1')
    .max(MAX_TTL, `ttl_seconds must be at most ${MAX_TTL}`)
    .default(DEFAULT_TTL),
});

const settleInput = z.strictObject({ cost: amount('cost').optional() });

/** One answer of `/v1/check`. */
export interface CheckAnswer {
  readonly allowed: boolean;
  readonly reason?: string;
  readonly retry_after_seconds?: number;
  readonly [member: string]: unknown;
}

/**
 * Answers one question or a list (at most 1000), all in one step of the limits. `peek`, the default, changes nothing.
 * Throws an OperationProblem; a list with one bad question is refused whole, before anything is consumed.
 */
export async function check(body: unknown, caller: Caller, port: OperationsPort): Promise<CheckAnswer | CheckAnswer[]> {
  if (!Array.isArray(body)) return (await checkAll([body], caller, port))[0]!;
  if (body.length > MAX_ITEMS) throw new OperationProblem('input_too_large', `At most ${MAX_ITEMS} questions at once.`);
  return checkAll(body, caller, port);
}

async function checkAll(list: readonly unknown[], caller: Caller, port: OperationsPort): Promise<CheckAnswer[]> {
  const asked = list.map((one) => parse(checkInput, one));
  const subjects = await Promise.all(
    asked.map(({ client_id, mode }) => subjectOf(client_id, caller, port, mode === 'peek' ? 'read' : 'write')),
  );
  const requests = asked.map((one, i) => ({
    client: subjects[i]!.client,
    endpoint: one.endpoint,
    name: one.tool_name,
    cost: toMicros(one.estimated_cost),
    tier: tierFor(one.tier, caller, port.tiers),
    mode: one.mode,
  }));
  const answers = requests.length === 0 ? [] : await port.decide(requests);
  return requests.map((request, i): CheckAnswer => {
    const answer = answers[i];
    // No answer is no permission.
    if (answer === undefined) return { allowed: false, reason: 'unavailable' };
    return { client_id: subjects[i]!.id, endpoint: request.endpoint, mode: request.mode, ...answerOf(answer) };
  });
}

function answerOf(answer: LimitAnswer): CheckAnswer {
  const numbers = { tier: answer.tier, ...endpointNumbers(answer) };
  if (answer.allowed === true) return { allowed: true, ...numbers };
  return {
    allowed: false,
    reason: denialOf(answer).reason,
    ...(answer.retryAfterSeconds === undefined ? {} : { retry_after_seconds: answer.retryAfterSeconds }),
    ...numbers,
    violated: answer.violated.map((one) => {
      const limit = limitOf(one);
      return {
        rule: one.rule,
        ...(limit === undefined ? {} : { limit }),
        ...(one.retryAfterSeconds === undefined ? {} : { retry_after_seconds: one.retryAfterSeconds }),
      };
    }),
    ...(answer.decisionId === undefined ? {} : { decision_id: answer.decisionId }),
  };
}

/** A hold as other systems see it. Money in whole units of the gateway's currency. */
export interface HoldAnswer {
  readonly id: string;
  readonly state: HoldView['state'];
  readonly client_id: string;
  readonly endpoint: string;
  readonly reserved: number;
  readonly charged?: number;
  readonly currency: string;
  readonly expires_at: string;
}

/** Reserves; a refusal is answered, not thrown. */
export async function reserve(
  body: unknown,
  caller: Caller,
  port: OperationsPort,
): Promise<{ readonly hold: HoldAnswer } | { readonly refused: CheckAnswer }> {
  const asked = parse(holdInput, body);
  const { client, id } = await subjectOf(asked.client_id, caller, port, 'write');
  const reservation = await port.reserve({
    client,
    endpoint: asked.endpoint,
    name: asked.tool_name,
    cost: toMicros(asked.estimated_cost),
    tier: tierFor(asked.tier, caller, port.tiers),
    ttl: Math.ceil(asked.ttl_seconds * 1000),
  });
  if (reservation.allowed === true) return { hold: holdOf(reservation.hold, port) };
  return { refused: { client_id: id, endpoint: asked.endpoint, ...answerOf(reservation.answer) } };
}

export async function readHold(id: string, caller: Caller, port: OperationsPort): Promise<HoldAnswer> {
  return holdOf(await found(id, caller, port, mayDo(caller.roles, 'holds.read', 'others')), port);
}

export async function settle(id: string, body: unknown, caller: Caller, port: OperationsPort): Promise<HoldAnswer> {
  const { cost } = parse(settleInput, body ?? {});
  await found(id, caller, port, mayDo(caller.roles, 'holds.end', 'others'));
  return ended(await port.settle(id, cost === undefined ? undefined : toMicros(cost)), port);
}

export async function release(id: string, caller: Caller, port: OperationsPort): Promise<HoldAnswer> {
  await found(id, caller, port, mayDo(caller.roles, 'holds.end', 'others'));
  return ended(await port.release(id), port);
}

/** Somebody else's hold looks like none. */
async function found(id: string, caller: Caller, port: OperationsPort, others: boolean): Promise<HoldView> {
  const hold = await port.hold(id);
  if (hold === undefined || !(others || hold.client === caller.id)) throw noHold();
  return hold;
}

function ended(hold: HoldView | undefined, port: OperationsPort): HoldAnswer {
  if (hold === undefined) throw noHold();
  return holdOf(hold, port);
}

function noHold(): OperationProblem {
  return new OperationProblem('unknown_hold', 'There is no such hold, or it ended long ago.');
}

function holdOf(
  { id, state, client, endpoint: of, reserved, charged, expiresAt }: HoldView,
  port: OperationsPort,
): HoldAnswer {
  return {
    id,
    state,
    client_id: client,
    endpoint: of,
    reserved: fromMicros(reserved),
    ...(charged === undefined ? {} : { charged: fromMicros(charged) }),
    currency: port.currency,
    expires_at: isoTime(expiresAt),
  };
}

function parse<Schema extends z.ZodType>(schema: Schema, body: unknown): z.output<Schema> {
  const copy = boundedCopy(body, 'body');
  if (typeof copy !== 'object' || copy === null || Array.isArray(copy)) {
    throw new OperationProblem('invalid_input', 'The body must be a JSON object.');
  }
  const parsed = schema.safeParse(Object.fromEntries(Object.entries(copy).filter(([, value]) => value !== null)));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new OperationProblem('invalid_input', (issue?.message ?? 'The body is invalid').slice(0, 300));
}
