/**
 * The HTTP face of operations, checks and holds, on the `admin` address: `/v1/ops`, `/v1/check`, `/v1/holds`. Errors are
 * `{ error, reason }`; who may do what is decided where the work is done, by the roles of the credential.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { getRequestListener } from '@hono/node-server';
import { type Context, Hono } from 'hono';
import { TollgateError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { Identified } from '../protocol/call.ts';
import { bodyBytes } from './body-bytes.ts';
import { type GuardedRoute, GuardedRoutes } from './guarded.ts';
import { type CheckAnswer, check, readHold, release, reserve, settle } from './limit-requests.ts';
import { callerOf } from './operations/caller.ts';
import type { OperationAnswer, Operations } from './operations/operations.ts';
import { OperationProblem, PROBLEM_STATUS, type ProblemReason } from './operations/problem.ts';
import { strictJson } from './strict-json.ts';

export interface V1Deps {
  readonly operations: Operations;
  /** The caller behind an Authorization header, or why not. */
  readonly identify: (authorization: string | undefined) => Identified | Promise<Identified>;
  readonly log: Log;
}

/** Bytes of a whole batch. One operation has its own, smaller bound. */
const MAX_BODY = 1024 * 1024;
/** Members of a whole batch. */
const MAX_KEYS = 100_000;

/** True for paths that `createV1` answers. */
export function isV1Path(path: string): boolean {
  return path === '/v1' || path.startsWith('/v1/');
}

/** The request listener for paths below `/v1`. */
export function createV1(deps: V1Deps): (request: IncomingMessage, response: ServerResponse) => void {
  return getRequestListener(v1App(deps).app.fetch, { overrideGlobalObjects: false });
}

/** The same before it is attached to a server, with the list of its routes. */
export function v1App({ operations, identify, log }: V1Deps): {
  readonly app: Hono;
  readonly routes: readonly GuardedRoute[];
} {
  const app = new Hono().basePath('/v1');
  const { port } = operations;
  const routes = new GuardedRoutes(app, (c) => identify(c.req.header('authorization')));

  app.onError((thrown, c) => {
    const { status, error, reason, extra, retryAfter } = failureOf(thrown, log);
    // What was not read of the body cannot be told from the next request.
    if (status === 413) c.header('Connection', 'close');
    if (status === 401) c.header('WWW-Authenticate', 'Bearer');
    if (retryAfter !== undefined) c.header('Retry-After', String(retryAfter));
    c.status(status as 400);
    return c.json({ error, reason, ...extra });
  });
  app.notFound((c) => c.json({ error: 'No such resource below /v1', reason: 'not_found' }, 404));
  routes.post('/ops', 'operations.list', async (c, { principal }) => {
    const caller = callerOf(principal);
    const body = await bodyOf(c);
    if (Array.isArray(body)) return c.json(await operations.runBatch(body, caller));
    const answer = await operations.run(body, caller);
    // A denial is an answer to the question; what could not be asked is a failure of the request.
    if (answer.status === 'error') c.status(statusOf(answer) as 400);
    retryAfterHeader(c, answer['retry_after_seconds']);
    return c.json(answer);
  });

  routes.get('/ops', 'operations.list', (c) => c.json({ operations: operations.registry.list() }));

  routes.post('/check', 'clients.charge', async (c, { principal }) => {
    const caller = callerOf(principal);
    const answer = await check(await bodyOf(c), caller, port);
    if (!Array.isArray(answer)) retryAfterHeader(c, answer.retry_after_seconds);
    return c.json(answer);
  });

  routes.post('/holds', 'clients.charge', async (c, { principal }) => {
    const caller = callerOf(principal);
    const outcome = await reserve(await bodyOf(c), caller, port);
    if ('hold' in outcome) return c.json(outcome.hold, 201);
    retryAfterHeader(c, outcome.refused.retry_after_seconds);
    return c.json({ error: refusalText(outcome.refused), ...outcome.refused }, refusalStatus(outcome.refused));
  });

  routes.get('/holds/:id', 'holds.read', async (c, { principal }) => {
    const caller = callerOf(principal);
    return c.json(await readHold(idOf(c), caller, port));
  });

  routes.post('/holds/:id/settle', 'holds.end', async (c, { principal }) => {
    const caller = callerOf(principal);
    return c.json(await settle(idOf(c), await bodyOf(c, {}), caller, port));
  });

  routes.post('/holds/:id/release', 'holds.end', async (c, { principal }) => {
    const caller = callerOf(principal);
    return c.json(await release(idOf(c), caller, port));
  });

  routes.seal();
  return { app, routes: routes.list };
}

function idOf(c: Context): string {
  return c.req.param('id') ?? '';
}

/** `empty`: what an empty body means; undefined: nothing, and it is refused. */
async function bodyOf(c: Context, empty?: unknown): Promise<unknown> {
  const body = await bodyBytes(c, MAX_BODY);
  if (body.length === 0 && empty !== undefined) return empty;
  // A form of another site can send everything but this type.
  if (!/^application\/json\s*(?:;|$)/i.test(c.req.header('content-type') ?? '')) {
    throw new TollgateError('unsupported_media_type', 'The body must be application/json.');
  }
  try {
    return strictJson(body, { keys: MAX_KEYS });
  } catch (error) {
    throw new OperationProblem('invalid_input', `The body is not strict JSON. ${TollgateError.from(error).message}`);
  }
}

function statusOf(answer: OperationAnswer): number {
  return PROBLEM_STATUS[answer.reason as ProblemReason] ?? 400;
}

function retryAfterHeader(c: Context, seconds: unknown): void {
  if (typeof seconds === 'number') c.header('Retry-After', String(Math.max(1, Math.ceil(seconds))));
}

const MONEY = new Set([
  'per_request_cost_exceeded',
  'hourly_cost_exceeded',
  'daily_cost_exceeded',
  'cost_exceeded',
  'unpriced',
]);

function refusalStatus({ reason = '' }: CheckAnswer): 402 | 429 | 503 {
  if (MONEY.has(reason)) return 402;
  return reason === 'emergency_stop' || reason.endsWith('unavailable') ? 503 : 429;
}

function refusalText({ reason = '' }: CheckAnswer): string {
  if (MONEY.has(reason)) return 'Cost limit exceeded';
  if (reason === 'too_many_holds') return 'Too many open holds: settle or release some';
  return reason === 'emergency_stop' ? 'Stopped' : 'Rate limit exceeded';
}

interface Failure {
  readonly status: number;
  readonly error: string;
  readonly reason: string;
  readonly extra: Readonly<Record<string, unknown>>;
  readonly retryAfter: number | undefined;
}

function failureOf(thrown: unknown, log: Log): Failure {
  if (thrown instanceof OperationProblem) {
    const { reason, message, extra } = thrown;
    return { status: PROBLEM_STATUS[reason], error: message, reason, extra, retryAfter: undefined };
  }
  const error = TollgateError.from(thrown);
  if (error.code === 'payload_too_large') {
    const told = `The body is larger than ${MAX_BODY} bytes.`;
    return { status: 413, error: told, reason: 'input_too_large', extra: {}, retryAfter: undefined };
  }
  if (error.code === 'internal') log.error({ err: error.cause }, 'a request below /v1 failed');
  const status = error.http >= 400 ? error.http : error.code === 'invalid_params' ? 400 : 500;
  return { status, error: error.message, reason: error.code, extra: {}, retryAfter: error.retryAfterSeconds };
}
