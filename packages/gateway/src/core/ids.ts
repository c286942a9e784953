import { randomBytes } from 'node:crypto';

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';

/** Random id of `length` base-32 characters (5 bits each): 26 characters hold 130 bits. */
export function randomId(length: number): string {
  const bytes = randomBytes(length);
  let id = '';
  for (let i = 0; i < length; i++) id += ALPHABET[bytes[i]! & 31];
  return id;
}

/** Id of a legacy session: at least 128 random bits (MCP 2025-11-25, session management). */
export function newSessionId(): string {
  return randomId(26);
}

let decisionPrefix = randomId(6);
let decisionCount = 0;

/** Id of a decision, as shown to callers and in the log: unique across restarts, cheap to make. */
export function newDecisionId(): string {
  if (++decisionCount > 0xffffff) {
    decisionCount = 1;
    decisionPrefix = randomId(6);
  }
  return `tg-${decisionPrefix}${decisionCount.toString(32)}`;
}
