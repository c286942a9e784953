import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { endpointOf, type MiddlewareOptions, type Refusal, refusalFor } from './limiter.ts';

/** Wraps a listener of `http.createServer`: a request that has no room is answered and never reaches it. */
export function limitHttp(listener: RequestListener, options: MiddlewareOptions<IncomingMessage>): RequestListener {
  return (request, response) => {
    refusalFor(request, endpointOf(request.method, request.url), options).then(
      (refusal) => {
        if (refusal !== undefined) sendRefusal(response, refusal);
        else listener(request as never, response as never);
      },
      // Only `when` of the options can have thrown.
      (error: unknown) => response.destroy(error instanceof Error ? error : undefined),
    );
  };
}

/** What Express hands to a middleware, as far as it is used; `originalUrl` is the path before routers cut it. */
export interface ExpressRequest extends IncomingMessage {
  readonly originalUrl?: string;
}

type ExpressMiddleware<Request> = (request: Request, response: ServerResponse, next: (error?: unknown) => void) => void;

/** For `app.use(limitExpress({...}))`; any framework with `(request, response, next)` takes it. */
export function limitExpress<Request extends ExpressRequest = ExpressRequest>(
  options: MiddlewareOptions<Request>,
): ExpressMiddleware<Request> {
  return (request, response, next) => {
    refusalFor(request, endpointOf(request.method, request.originalUrl ?? request.url), options).then((refusal) => {
      if (refusal === undefined) next();
      else sendRefusal(response, refusal);
    }, next);
  };
}

function sendRefusal(response: ServerResponse, { status, retryAfter, body }: Refusal): void {
  if (response.headersSent || response.destroyed) return;
  const text = JSON.stringify(body);
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
    'cache-control': 'no-store',
    ...(retryAfter === undefined ? {} : { 'retry-after': String(retryAfter) }),
  });
  response.end(text);
}
