/** `GET /metrics` on the admin address: for operators, auditors and admins, as the labels name limits and servers. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { mayDo, rolesOf } from '../access/rights.ts';
import { TollgateError } from '../core/errors.ts';
import type { Identified } from '../protocol/call.ts';

interface MetricsDeps {
  /** The caller behind an Authorization header, or why not. */
  readonly identify: (authorization: string | undefined) => Identified | Promise<Identified>;
  readonly page: () => { readonly text: string; readonly type: string };
}

export function createMetricsPage({
  identify,
  page,
}: MetricsDeps): (request: IncomingMessage, response: ServerResponse) => void {
  return (request, response) => {
    const answer = (status: number, body: string, headers: Record<string, string> = {}): void => {
      response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', ...headers }).end(body);
    };
    // A body that nobody reads must not keep the connection.
    request.resume();
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      answer(405, 'Only GET is served here.\n', { allow: 'GET, HEAD' });
      return;
    }
    void Promise.resolve(identify(request.headers.authorization)).then((who) => {
      if (TollgateError.is(who)) {
        answer(who.http, `${who.message}\n`, who.http === 401 ? { 'www-authenticate': 'Bearer' } : {});
      } else if (!mayDo(who.roles, 'metrics.read', 'others')) {
        answer(403, `This needs one of the roles ${rolesOf('metrics.read').join(', ')}.\n`);
      } else {
        const { text, type } = page();
        answer(200, text, { 'content-type': type });
      }
    });
  };
}
