/** Who asks an operation, whom they ask about, and whether they may. */
import { mayDo } from '../../access/rights.ts';
import type { Principal } from '../../core/principal.ts';
import type { Client, OperationsPort } from '../../pipeline/operations-port.ts';
import { isNewClientId } from './fields.ts';
import { OperationProblem } from './problem.ts';

export interface Caller {
  /** Undefined: this process itself (library). */
  readonly principal: Principal | undefined;
  readonly id: string;
  readonly roles: readonly string[];
}

/** The library: whoever runs this process is its admin. */
export const LIBRARY: Caller = Object.freeze({
  principal: undefined,
  id: 'local/library',
  roles: Object.freeze(['admin']),
});

export function callerOf(principal: Principal): Caller {
  return { principal, id: principal.id, roles: principal.roles };
}

/** The selector of global statistics and the client of checks that name nobody (X0-05). */
export const ANONYMOUS = 'anonymous';

/** Whom an operation is about, with the id as the answer echoes it. */
export interface Subject {
  readonly client: Client;
  readonly id: string;
}

/**
 * The client that `id` names. `read`: operators and auditors may look at others; `write`: only admins may act for
 * others, and an admin makes a new client by naming it. For everybody else an id that is not theirs is
 * `user_mismatch` before anything is looked up, so that nobody learns by answer or time who exists (R0-53, R0-54).
 */
export async function subjectOf(
  id: string | undefined,
  caller: Caller,
  port: OperationsPort,
  access: 'read' | 'write',
): Promise<Subject> {
  const admin = mayDo(caller.roles, 'clients.charge', 'others');
  const others = admin || (access === 'read' && mayDo(caller.roles, 'clients.read', 'others'));
  const { principal } = caller;
  if (principal !== undefined && (id === undefined ? !admin : isOwn(id, principal, admin))) {
    return { client: port.clientOf(principal), id: id ?? principal.id };
  }
  if (!others) {
    throw new OperationProblem(
      'user_mismatch',
      'client_id must be your own, or be left out. Others need the role admin.',
    );
  }
  const named = id ?? ANONYMOUS;
  const found = await port.resolve(named, access === 'write' && isNewClientId(named));
  if (found === 'ambiguous') {
    throw new OperationProblem(
      'ambiguous_client',
      'Several clients have this id. Write it as entry/subject or entry@tenant/subject, for example corp/ada.',
    );
  }
  if (found !== 'unknown') return { client: found, id: named };
  if (access === 'write') {
    throw new OperationProblem(
      'unknown_client',
      isNewClientId(named)
        ? 'Nobody has this client_id.'
        : 'Nobody has this client_id, and a new one must have 1 to 100 characters of A-Z a-z 0-9 _ - . @',
    );
  }
  return { client: port.stranger(named), id: named };
}

/** To an admin an id that is not whole is somebody's among all clients; to anybody else it can only be their own. */
function isOwn(id: string, { id: own, subject, person }: Principal, admin: boolean): boolean {
  return id === own || (!admin && (id === subject || id === person));
}
