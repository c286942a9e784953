/** What the middleware asks, in this process or over HTTP, and what it makes of the answer. */
import { createHash } from 'node:crypto';

/** An answer of an operation, as far as the middleware reads it. */
export interface LimiterAnswer {
  readonly status?: string;
  readonly allowed?: boolean;
  readonly reason?: string;
  readonly retry_after_seconds?: number;
  readonly [member: string]: unknown;
}

/** `createOperations(gateway)` is one, and so is `remoteLimiter({ url, token })`. */
export interface LimiterLike {
  /** One operation. May reject when nothing can be asked; see `onError`. */
  process(input: Readonly<Record<string, unknown>>): Promise<unknown>;
}

/** Extracted from a request; undefined: this request comes from nobody, and is refused. */
export type ClientIdOf<Request> = (request: Request) => string | undefined | Promise<string | undefined>;

export interface MiddlewareOptions<Request> {
  readonly limiter: LimiterLike;
  /** Who is asking: take it from what was authenticated, never from a header that callers write themselves. */
  readonly clientId: ClientIdOf<Request>;
  /** What a request is expected to cost, in whole units of the gateway's currency. Default 1.0. */
  readonly cost?: number | ((request: Request) => number);
  /** Which requests are limited. Default all. */
  readonly when?: (request: Request) => boolean;
  /** When the limiter cannot be asked: `closed` (the default) answers 503, `open` lets the request through. */
  readonly onError?: 'closed' | 'open';
}

/** The refusal of a request, ready to send. */
export interface Refusal {
  readonly status: 400 | 403 | 429 | 503;
  /** `Retry-After`, in whole seconds. */
  readonly retryAfter: number | undefined;
  readonly body: { readonly error: string; readonly reason: string };
}

/**
 * Asks for one request. Undefined: it may pass. An answer without `allowed: true` is a denial, whatever else it says
 * (R0-46).
 */
export async function refusalFor<Request>(
  request: Request,
  endpoint: string,
  options: MiddlewareOptions<Request>,
): Promise<Refusal | undefined> {
  if (options.when?.(request) === false) return undefined;
  // What the request makes fail is the request's, never a limiter that cannot be asked: `open` must not let it through.
  const client = await settled(() => options.clientId(request));
  if (typeof client !== 'string' || client === '') {
    return { status: 403, retryAfter: undefined, body: { error: 'No client id', reason: 'client_id_missing' } };
  }
  const { cost = 1 } = options;
  const estimate = typeof cost === 'number' ? cost : await settled(() => cost(request));
  if (!isCost(estimate)) {
    return { status: 400, retryAfter: undefined, body: { error: 'No cost', reason: 'cost_invalid' } };
  }
  try {
    const answer = await options.limiter.process({
      operation: 'check_mcp_limit',
      client_id: clientIdFor(client),
      endpoint,
      estimated_cost: estimate,
    });
    return denialOf(answer);
  } catch {
    if (options.onError === 'open') return undefined;
    return {
      status: 503,
      retryAfter: 1,
      body: { error: 'The limits cannot be asked', reason: 'limiter_unavailable' },
    };
  }
}

/** True: can be charged. JSON has no NaN, and a cost that is lost on the way to a gateway would be none. */
export function isCost(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0;
}

async function settled<T>(read: () => T | Promise<T>): Promise<T | undefined> {
  try {
    return await read();
  } catch {
    return undefined;
  }
}

/** Undefined: allowed. */
export function denialOf(answer: unknown): Refusal | undefined {
  const { allowed, reason, retry_after_seconds: seconds } = (answer ?? {}) as LimiterAnswer;
  if (allowed === true) return undefined;
  return {
    status: 429,
    retryAfter: typeof seconds === 'number' && Number.isFinite(seconds) ? Math.max(1, Math.ceil(seconds)) : undefined,
    body: { error: 'Rate limit exceeded', reason: typeof reason === 'string' ? reason : 'denied' },
  };
}

/** `get/users/5`: the method in lower case and the path, without its query (R0-47). */
export function endpointOf(method: string | undefined, url: string | undefined): string {
  const target = url ?? '/';
  const end = target.search(/[?#]/);
  const path = end === -1 ? target : target.slice(0, end);
  return `${(method ?? 'get').toLowerCase()}${path.slice(0, 1000)}`;
}

/** Ids that operations would refuse, such as `::1`, stand as their digest: always the same, and shared with nobody. */
function clientIdFor(id: string): string {
  if (/^[A-Za-z0-9_.@-]{1,100}$/.test(id)) return id;
  return `sha256.${createHash('sha256').update(id, 'utf16le').digest('hex').slice(0, 40)}`;
}
