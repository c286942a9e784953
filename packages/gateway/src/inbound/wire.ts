/** What the edges say themselves, and how they know ids again. */
import { notificationBytes } from '../protocol/json/splice.ts';

/** Tells the client that its answer to a request of the gateway is no longer wanted. */
export function cancelBytes(id: string, reason: string): Buffer {
  return notificationBytes('notifications/cancelled', `{"requestId":${id},"reason":${JSON.stringify(reason)}}`);
}

/** One form for ids that are the same string written differently, so that a cancel finds its call. */
export function idKey(raw: string): string {
  return raw.includes('\\') ? JSON.stringify(JSON.parse(raw)) : raw;
}

const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;

/**
 * A message as one line. Line breaks can only be whitespace between JSON tokens (inside strings they are escaped),
 * so a space means the same.
 */
export function toLine(message: Buffer): Buffer {
  const line = Buffer.allocUnsafe(message.length + 1);
  message.copy(line);
  if (message.includes(LF) || message.includes(CR)) {
    for (let i = 0; i < message.length; i++) if (line[i] === LF || line[i] === CR) line[i] = SPACE;
  }
  line[message.length] = LF;
  return line;
}
