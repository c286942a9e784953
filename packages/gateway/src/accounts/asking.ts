/** How a caller without an account is told where to connect one, in the form that its client can take. */
import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import type { Principal } from '../core/principal.ts';
import { missingCapability } from '../protocol/bridge/client-requests.ts';
import { isObject } from '../protocol/bridge/meta.ts';
import { callDigest, invalidState, StateSeal } from '../protocol/bridge/seal.ts';
import type { Call } from '../protocol/call.ts';
import { encode, errorBytes, resultBytes } from '../protocol/json/splice.ts';
import { Field } from '../protocol/message.ts';
import type { Accounts } from './accounts.ts';
import { keyFor, LINK_LIFE, type ShownLink } from './links.ts';

/** Methods whose answer may ask for input (MCP 2026-07-28, multi round-trip requests). */
const MAY_ASK: ReadonlySet<string> = new Set(['tools/call', 'prompts/get', 'resources/read']);
const URL_ELICITATION_REQUIRED = -32042;
const URL_MODE = { mode: 'url' };
const KEY = 'tollgate_account';

interface AskedState {
  readonly principal: string;
  readonly endpoint: string;
  readonly method: string;
  readonly digest: string;
  readonly askedAt: number;
  readonly expires: number;
}

/** A call that comes back from the question. */
export interface Reentry {
  readonly askedAt: number;
  readonly declined: boolean;
}

export class AccountQuestions {
  readonly #accounts: Accounts;
  readonly #clock: Clock;
  readonly #seal: StateSeal<AskedState>;

  /** `key` as in `AccountsDeps`. */
  constructor(accounts: Accounts, clock: Clock, key: Buffer | undefined) {
    this.#accounts = accounts;
    this.#clock = clock;
    this.#seal = new StateSeal({ prefix: 'tgq1.', maxLength: 4096, key: keyFor('question', key) });
  }

  /**
   * The answer to a call that failed with `account_required`: a complete response that asks the client to open the
   * page, or where the client cannot be asked, the error whose text holds the link.
   */
  answer(call: Call, error: TollgateError): Buffer | TollgateError {
    const { principal, server, message } = call;
    const id = message.raw(Field.id);
    if (server === undefined || id === undefined) return error;
    if (isAnonymous(principal)) {
      return new TollgateError(
        'account_required',
        `${server} needs an account of yours, and the gateway does not know who you are: sign in to the gateway first`,
      );
    }
    const link = this.#accounts.link(principal.id, server);
    const { code } = link;
    const how = code === undefined ? 'You sign in as yourself first.' : `The page asks for this code: ${code}`;
    const text = `Connect your account at ${server}. ${how}`;
    if (MAY_ASK.has(call.method)) {
      if (call.era === 'modern' && this.#modernMayAsk(call)) return this.#inputRequired(call, id, link, text);
      if (call.era === 'legacy' && legacyMayAsk(call)) {
        const elicitation = { mode: 'url', elicitationId: link.id, url: link.url, message: text };
        return errorBytes(id, URL_ELICITATION_REQUIRED, text, { elicitations: [elicitation] });
      }
    }
    const reason = error.message.replace(/\.$/, '');
    return new TollgateError(
      'account_required',
      `${reason}. Open ${link.url} in a browser within 10 minutes, ${code === undefined ? 'sign in there as yourself' : `type the code ${code} there, sign in`}, and repeat this call`,
    );
  }

  /**
   * The question that a call answers, undefined when it answers none of ours; what the server shall see of it is then in
   * `call.outbound`. Throws `input_state_invalid` for a state that was changed, has expired or is another call's.
   */
  reenter(call: Call): Reentry | undefined {
    const sealed = call.message.string(Field.requestState);
    if (sealed === undefined || !this.#seal.claims(sealed)) return undefined;
    const state = this.#seal.open(sealed, this.#clock.wall());
    const ours =
      state !== undefined &&
      state.principal === call.principal.id &&
      state.endpoint === call.endpoint &&
      state.method === call.method &&
      state.digest === callDigest(call);
    if (!ours) throw invalidState();
    const { params, ...envelope } = call.message.object() as { readonly params: Readonly<Record<string, unknown>> };
    const { requestState: _state, inputResponses, ...rest } = params;
    call.outbound = encode({ ...envelope, params: rest });
    const answer = isObject(inputResponses) ? inputResponses[KEY] : undefined;
    const action = isObject(answer) ? answer['action'] : undefined;
    return { askedAt: state.askedAt, declined: action === 'decline' || action === 'cancel' };
  }

  /** A later round of a server's own question holds that server's state, which a question of ours would replace. */
  #modernMayAsk({ message }: Call): boolean {
    const declared = message.json(Field.clientCapabilities);
    if (missingCapability('elicitation/create', URL_MODE, isObject(declared) ? declared : {}) !== undefined)
      return false;
    const state = message.string(Field.requestState);
    return state === undefined ? !message.has(Field.requestState) : this.#seal.claims(state);
  }

  #inputRequired(call: Call, id: string, link: ShownLink, text: string): Buffer {
    const now = this.#clock.wall();
    const requestState = this.#seal.seal({
      principal: call.principal.id,
      endpoint: call.endpoint,
      method: call.method,
      digest: callDigest(call),
      askedAt: now,
      expires: now + LINK_LIFE,
    });
    const params = { mode: 'url', url: link.url, message: text };
    const inputRequests = { [KEY]: { method: 'elicitation/create', params } };
    return resultBytes(id, JSON.stringify({ resultType: 'input_required', inputRequests, requestState }));
  }
}

/** 2025-11-25 is the first version with URL mode. */
function legacyMayAsk({ session }: Call): boolean {
  if (session === undefined || session.version < '2025-11-25') return false;
  return missingCapability('elicitation/create', URL_MODE, session.capabilities) === undefined;
}

/** Of anonymous callers nobody knows who comes next under the same name. */
function isAnonymous({ entry }: Principal): boolean {
  return entry === 'anonymous';
}
