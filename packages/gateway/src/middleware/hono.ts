import type { Context, MiddlewareHandler } from 'hono';
import { endpointOf, type MiddlewareOptions, refusalFor } from './limiter.ts';

/** For `app.use(limitHono({...}))`. The request in the options is Hono's context. */
export function limitHono(options: MiddlewareOptions<Context>): MiddlewareHandler {
  return async (context, next) => {
    const refusal = await refusalFor(context, endpointOf(context.req.method, context.req.path), options);
    if (refusal === undefined) return next();
    context.header('Cache-Control', 'no-store');
    if (refusal.retryAfter !== undefined) context.header('Retry-After', String(refusal.retryAfter));
    return context.json(refusal.body, refusal.status);
  };
}
