import { TollgateError } from '../core/errors.ts';
import type { AnswerListener } from '../protocol/call.ts';
import { Field, type Message } from '../protocol/message.ts';

/** Requests one client may leave unanswered at a time. */
const MAX_OPEN = 256;

/**
 * Requests of the gateway to one client that wait for its response. Ids are minted here, one count per client, so
 * that no answer can reach anybody else.
 */
export class PendingAsks {
  readonly #open = new Map<string, AnswerListener>();
  #last = 0;

  get size(): number {
    return this.#open.size;
  }

  /** Registers a request; gives its id as JSON text, or undefined after refusing because too many are open. */
  add(listener: AnswerListener): string | undefined {
    if (this.#open.size >= MAX_OPEN) {
      listener(
        new TollgateError('too_many_streams', `The client has ${MAX_OPEN} unanswered requests of its servers already.`),
      );
      return undefined;
    }
    const id = String(++this.#last);
    this.#open.set(id, listener);
    return id;
  }

  /** Routes a response of the client. Late, repeated and unknown ids are dropped: false. */
  answer(message: Message): boolean {
    const id = message.raw(Field.id);
    const listener = id === undefined ? undefined : this.#open.get(id);
    if (listener === undefined) return false;
    this.#open.delete(id!);
    listener(message);
    return true;
  }

  /** Forgets a request whose asker no longer waits. False: it was answered already. */
  withdraw(id: string): boolean {
    return this.#open.delete(id);
  }

  /** Fails one request. */
  fail(id: string, error: TollgateError): void {
    const listener = this.#open.get(id);
    if (listener === undefined) return;
    this.#open.delete(id);
    listener(error);
  }

  failAll(error: TollgateError): void {
    for (const id of [...this.#open.keys()]) this.fail(id, error);
  }
}
