import { endpointOf, type MiddlewareOptions, refusalFor } from './limiter.ts';

/** What of a Fastify request is used. */
export interface FastifyRequestLike {
  readonly method: string;
  readonly originalUrl: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly ip: string;
}

/** What of a Fastify reply is used. */
export interface FastifyReplyLike {
  code(status: number): FastifyReplyLike;
  header(name: string, value: unknown): FastifyReplyLike;
  send(payload: unknown): FastifyReplyLike;
}

/** For `fastify.addHook('onRequest', limitFastify({...}))`: before the body is read. */
export function limitFastify<Request extends FastifyRequestLike = FastifyRequestLike>(
  options: MiddlewareOptions<Request>,
): (request: Request, reply: FastifyReplyLike) => Promise<unknown> {
  return async (request, reply) => {
    const refusal = await refusalFor(request, endpointOf(request.method, request.originalUrl), options);
    if (refusal === undefined) return undefined;
    reply.code(refusal.status).header('cache-control', 'no-store');
    if (refusal.retryAfter !== undefined) reply.header('retry-after', refusal.retryAfter);
    // A hook that answers returns its reply, and the route is not run.
    return reply.send(refusal.body);
  };
}
