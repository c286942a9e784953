/** From an identified POST to one strictly read message. */
import type { IncomingMessage } from 'node:http';
import { TollgateError } from '../core/errors.ts';
import type { Endpoint } from '../protocol/call.ts';
import { bearerChallenge } from '../protocol/challenge.ts';
import { failedId } from '../protocol/json/rules.ts';
import { scan } from '../protocol/json/scan.ts';
import { Field, type Message } from '../protocol/message.ts';
import { checkBodyHead, readBody } from './body.ts';
import type { Edge, Posted } from './edge.ts';
import type { Exchange } from './exchange.ts';
import type { RequestHead } from './request-head.ts';

export type Sender = Pick<Posted, 'endpoint' | 'principal'>;

/**
 * Reads and scans the body; calls back with the message and its sender, or answers with what is wrong. A body may take its
 * time: who was kept out meanwhile must not come in with one that was begun before.
 */
export function receive(
  edge: Edge,
  request: IncomingMessage,
  exchange: Exchange,
  head: RequestHead,
  sender: Sender,
  done: (message: Message, sender: Sender) => void,
): void {
  const { withdrawals } = edge.face();
  const { caps } = edge.options;
  const wrong = checkBodyHead(head, caps.body);
  if (wrong !== undefined) {
    exchange.refuseUnread(wrong);
    return;
  }
  readBody(request, caps.body, (body) => {
    if (body instanceof Error) {
      exchange.refuseUnread(body);
      return;
    }
    let message: Message;
    try {
      message = scan(body, caps);
    } catch (error) {
      exchange.refuse(TollgateError.from(error), failedId(error));
      return;
    }
    if (edge.face().withdrawals === withdrawals) handled(edge, exchange, () => done(message, sender));
    else void identifiedAgain(edge, exchange, head, sender, message, done);
  });
}

function handled(edge: Edge, exchange: Exchange, handle: () => void): void {
  try {
    handle();
  } catch (error) {
    edge.log.error({ err: error }, 'a posted message could not be handled');
    exchange.refuse(TollgateError.from(error));
  }
}

async function identifiedAgain(
  edge: Edge,
  exchange: Exchange,
  head: RequestHead,
  { endpoint: { path } }: Sender,
  message: Message,
  done: (message: Message, sender: Sender) => void,
): Promise<void> {
  const who = await edge.face().identify(head.authorization, path, head.address, exchange.connection);
  if (exchange.started) return;
  const endpoint = edge.face().endpoint(path);
  const id = message.raw(Field.id);
  if (who instanceof Error) {
    exchange.refuse(who, id, endpoint === undefined ? undefined : challengeOf(who, head, endpoint));
  } else if (endpoint === undefined) {
    exchange.refuse(new TollgateError('not_found', 'This endpoint is no longer served.'), id);
  } else handled(edge, exchange, () => done(message, { endpoint, principal: who }));
}

/**
 * `WWW-Authenticate` of a 401: bare where no authorization server makes tokens for the endpoint. Whoever sent no token
 * has made no error (RFC 6750 section 3.1).
 */
export function challengeOf(
  error: TollgateError,
  head: RequestHead,
  endpoint: Endpoint,
): readonly (readonly [string, string])[] | undefined {
  const challenge = error.http === 401 ? endpoint.challenge?.() : undefined;
  if (challenge?.metadata === undefined) return undefined;
  const sent = head.authorization !== undefined && /^bearer /i.test(head.authorization);
  return [['www-authenticate', bearerChallenge({ ...challenge, error: sent ? 'invalid_token' : undefined })]];
}
