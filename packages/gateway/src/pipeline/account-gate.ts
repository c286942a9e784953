/** Before admission: whether the caller has the account that the server needs. What is missing uses nothing up. */
import { TollgateError } from '../core/errors.ts';
import type { Call } from '../protocol/call.ts';
import { Field } from '../protocol/message.ts';
import type { Server } from '../protocol/peer.ts';
import type { UserAccounts } from './user-accounts.ts';

/** A client says "opened" when the page opens, not when the person is done: so long its call waits for them. */
const WAIT_MS = 20_000;

/**
 * Undefined: go on. The promise ends when the caller has an account; it rejects with `account_required`, or with
 * `access_denied` where the person said no. Throws `input_state_invalid`.
 */
export function accountFor(
  call: Call,
  server: Server,
  timeout: number,
  users: UserAccounts | undefined,
): Promise<unknown> | undefined {
  const back = users !== undefined && call.message.has(Field.requestState) ? users.questions.reenter(call) : undefined;
  if (users === undefined || back === undefined) return server.account?.(call.principal);
  const { name } = server;
  if (back.declined) throw new TollgateError('access_denied', `${name}: connecting an account was declined`);
  return users.accounts
    .connected(call.principal.id, name, back.askedAt, Math.min(WAIT_MS, timeout), call.lifetime)
    .then((connected) => {
      if (!connected) throw new TollgateError('account_required', `${name}: no account was connected yet`);
      return server.account?.(call.principal);
    });
}
