/**
 * Whose fault it is that a connection could not be opened: the server's, which then waits before the next start, or that
 * of one caller or session, which must not close the server to everybody.
 */
import { TollgateError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { ClientSession } from '../protocol/call.ts';
import type { Era } from '../protocol/versions.ts';
import type { Eras } from './eras.ts';
import { isAboutAccount } from './http-failure.ts';
import type { Slot } from './instances.ts';
import { refusedInitialize } from './legacy-connection.ts';
import { WrongEra } from './negotiate.ts';
import type { Restarts, SessionRestarts } from './restarts.ts';
import { tellingLine } from './stderr-tail.ts';

interface StartFailuresDeps {
  readonly log: Log;
  /** Callers bring secrets of their own. */
  readonly ownSecrets: boolean;
  readonly eras: Eras;
  readonly restarts: Restarts;
  readonly own: SessionRestarts;
  readonly stderr: () => readonly string[];
  /** Whether any connection to the server is open. */
  readonly live: () => boolean;
}

export class StartFailures {
  readonly #deps: StartFailuresDeps;

  constructor(deps: StartFailuresDeps) {
    this.#deps = deps;
  }

  /** Remembers the failure where it belongs, and returns what the caller is told. `era`: undefined while detecting. */
  judge(slot: Slot, era: Era | undefined, thrown: unknown): TollgateError {
    const { ownSecrets, eras, restarts, log, live } = this.#deps;
    const error = TollgateError.from(thrown);
    // What one caller's account lacks says nothing about the server.
    if (isAboutAccount(error)) return error;
    const own = ownSecrets && slot.scope?.principal !== undefined;
    if (error.code === 'secret_missing' || error.code === 'vault_unavailable') {
      // Nothing was asked of the server, and a secret may be set at any moment: nobody has to wait.
      if (!own) restarts.problem = error;
      log.info({ reason: error.message, code: error.code }, 'The server cannot be used without its secret');
      return error;
    }
    // What a server thinks of the secret of one caller says nothing about the others.
    if (own && error.code === 'server_login_required') return error;
    if (slot.declaring !== undefined && this.#concernsOne(error)) return this.#failedFor(slot.declaring, error);
    if (error instanceof WrongEra) {
      if (eras.pinned) return this.#failed(new TollgateError('server_protocol_error', error.message));
      eras.wrong(error.wished);
      return error;
    }
    if (error.code === 'shutting_down') return error;
    if (era !== undefined && !live()) eras.forget();
    return this.#failed(this.#beforeAnythingRan(error));
  }

  /**
   * Whether a failed handshake says nothing about the server: the server serves others, or has read what this client
   * declared and refused it. One client must not be able to close a server to everybody.
   */
  #concernsOne(error: TollgateError): boolean {
    const { eras, live } = this.#deps;
    if (error.code === 'shutting_down' || error.code === 'server_login_required') return false;
    if (error instanceof WrongEra && !eras.pinned && !eras.isLast(error.wished)) return false;
    return live() || refusedInitialize(error);
  }

  #failedFor(session: ClientSession, error: TollgateError): TollgateError {
    const failure = error instanceof WrongEra ? new TollgateError('server_protocol_error', error.message) : error;
    const told = this.#beforeAnythingRan(failure);
    this.#deps.own.startFailed(session, told);
    this.#deps.log.info({ reason: told.message, code: told.code }, 'The server cannot be used by one session');
    return told;
  }

  /** The caller's own request was never sent, whatever became of the handshake. */
  #beforeAnythingRan(error: TollgateError): TollgateError {
    const silent = error.code === 'deadline_exceeded';
    const said = silent ? tellingLine(this.#deps.stderr()) : undefined;
    const code = silent || error.code === 'server_disconnected' ? 'server_unavailable' : error.code;
    if (code === error.code && error.executed === 'no') return error;
    return new TollgateError(code, said === undefined ? error.message : `${error.message}. On stderr: ${said}`, {
      cause: error,
      ...(error.retryAfterSeconds === undefined ? {} : { retryAfterSeconds: error.retryAfterSeconds }),
    });
  }

  #failed(error: TollgateError): TollgateError {
    this.#deps.restarts.startFailed(error);
    this.#deps.log.warn({ reason: error.message, code: error.code }, 'The server cannot be used');
    return error;
  }
}
