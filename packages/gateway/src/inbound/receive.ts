/** From an identified POST to one strictly read message. */
import type { IncomingMessage } from 'node:http';
import { TollgateError } from '../core/errors.ts';
import { failedId } from '../protocol/json/rules.ts';
import { scan } from '../protocol/json/scan.ts';
import type { Message } from '../protocol/message.ts';
import { checkBodyHead, readBody } from './body.ts';
import type { Edge } from './edge.ts';
import type { Exchange } from './exchange.ts';
import type { RequestHead } from './request-head.ts';

/** Reads and scans the body; calls back with the message, or answers with what is wrong. */
export function receive(
  edge: Edge,
  request: IncomingMessage,
  exchange: Exchange,
  head: RequestHead,
  done: (message: Message) => void,
): void {
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
    try {
      done(message);
    } catch (error) {
      edge.log.error({ err: error }, 'a posted message could not be handled');
      exchange.refuse(TollgateError.from(error));
    }
  });
}
