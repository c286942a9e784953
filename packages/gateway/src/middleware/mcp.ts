import { denialOf, isCost, type LimiterAnswer, type LimiterLike } from './limiter.ts';

export interface McpGuardOptions<Request> {
  readonly limiter: LimiterLike;
  readonly clientId: (request: Request) => string;
  /** `tools/call`, `resources/read`… */
  readonly endpoint: (request: Request) => string;
  /** Default: 0, only the call counts. */
  readonly cost?: (request: Request) => number;
}

/** What a guarded handler answers in place of a result. */
export interface McpRefusal {
  readonly error: 'Rate limit exceeded';
  readonly reason: string;
  readonly retryAfterSeconds?: number;
}

/**
 * Puts the limits before a handler of MCP requests: it runs only for `allowed: true`. A limiter that cannot be asked is
 * a denial with the reason `limiter_unavailable`; an error of the handler is the handler's.
 */
export function guardMcp<Request, Result>(
  handler: (request: Request) => Result | Promise<Result>,
  { limiter, clientId, endpoint, cost = () => 0 }: McpGuardOptions<Request>,
): (request: Request) => Promise<Result | McpRefusal> {
  return async (request) => {
    let answer: unknown;
    try {
      const estimate = cost(request);
      answer = isCost(estimate)
        ? await limiter.process({
            operation: 'check_mcp_limit',
            client_id: clientId(request),
            endpoint: endpoint(request),
            estimated_cost: estimate,
          })
        : { reason: 'cost_invalid' };
    } catch {
      answer = { reason: 'limiter_unavailable' };
    }
    const refusal = denialOf(answer);
    if (refusal === undefined) return handler(request);
    const { retryAfter } = refusal;
    return {
      error: 'Rate limit exceeded',
      reason: refusal.body.reason,
      ...(retryAfter === undefined ? {} : { retryAfterSeconds: retryAfter }),
    };
  };
}

/** Gives a client another tier. True only when the limiter says that it did. */
export async function upgradeClient(limiter: LimiterLike, clientId: string, tier: string): Promise<boolean> {
  try {
    const answer = await limiter.process({ operation: 'set_client_tier', client_id: clientId, tier });
    return (answer as LimiterAnswer | null)?.status === 'success';
  } catch {
    return false;
  }
}

/** What a client has used: the answer of `get_mcp_statistics`. Rejects when the limiter cannot be asked. */
export async function clientUsage(limiter: LimiterLike, clientId: string): Promise<LimiterAnswer> {
  return (await limiter.process({ operation: 'get_mcp_statistics', client_id: clientId })) as LimiterAnswer;
}
