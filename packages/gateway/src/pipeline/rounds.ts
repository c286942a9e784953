/**
 * Rounds of a call whose money is held. A modern server that answers `input_required` ends the round but not the
 * call: the hold stays open, and the state that the client must bring back is sealed around the server's own. Only
 * what opens under the seal continues the hold (a forged or foreign state would be a way to run calls unpaid).
 */

import type { Clock } from '../core/clock.ts';
import { keepNewest } from '../core/keep-newest.ts';
import { callDigest, invalidState, StateSeal } from '../protocol/bridge/seal.ts';
import type { Call } from '../protocol/call.ts';
import { DEFAULT_SCAN_CAPS, scan } from '../protocol/json/scan.ts';
import { encode, replaceFields } from '../protocol/json/splice.ts';
import { Field, type Message } from '../protocol/message.ts';

/** Which hold a round belongs to. The first round of a call is 1. */
export interface Round {
  readonly hold: string;
  readonly round: number;
}

interface RoundState extends Round {
  readonly principal: string;
  readonly endpoint: string;
  readonly method: string;
  readonly digest: string;
  readonly expires: number;
  /** What the server asked to get back, as JSON; undefined: it asked for nothing. */
  readonly inner: string | undefined;
}

/** The server's own state may be a few hundred kilobytes; base64 and the envelope come on top. */
const MAX_STATE = 1_048_576;
/** Holds whose last round is remembered. */
const MAX_HOLDS = 10_000;
const CAPS = { ...DEFAULT_SCAN_CAPS, keys: Infinity, string: Infinity, looseText: true };

export class Rounds {
  readonly #clock: Clock;
  readonly #seal: StateSeal<RoundState>;
  /** The last round that was answered, by hold: an older state would run the same round again for one price. */
  readonly #last = new Map<string, number>();

  /** `key`: 32 bytes that all gateways of one storage share, so that a round may reach any of them. */
  constructor(clock: Clock, key?: Buffer) {
    this.#clock = clock;
    this.#seal = new StateSeal({ prefix: 'tgr1.', maxLength: MAX_STATE, ...(key === undefined ? {} : { key }) });
  }

  /** True when an answer ends only a round of a modern call. */
  static asks(call: Call, answer: Message): boolean {
    return call.era === 'modern' && answer.string(Field.resultType) === 'input_required';
  }

  /** The answer with the server's state sealed together with the hold, good for `ttl` milliseconds. */
  seal(call: Call, answer: Message, { hold, round }: Round, ttl: number): Message {
    const object = answer.object() as { readonly result: Readonly<Record<string, unknown>> };
    const inner = object.result['requestState'];
    this.#remember(hold, round);
    const requestState = this.#seal.seal({
      hold,
      round,
      principal: call.principal.id,
      endpoint: call.endpoint,
      method: call.method,
      digest: callDigest(call),
      expires: this.#clock.wall() + ttl,
      inner: inner === undefined ? undefined : JSON.stringify(inner),
    });
    return encode({ ...object, result: { ...object.result, requestState } });
  }

  /**
   * The round that a call continues, and what the server shall see of its state (in `call.outbound`). Undefined: the
   * call brings no state of ours, or that of a round which the hold is past: then it is a call with a price of its own,
   * since its client may have lost the answer. Throws `input_state_invalid` for a state that was changed, expired or is
   * another call's.
   */
  open(call: Call): Round | undefined {
    const sealed = call.message.string(Field.requestState);
    if (sealed === undefined || !this.#seal.claims(sealed)) return undefined;
    const state = this.#seal.open(sealed, this.#clock.wall());
    const same =
      state !== undefined &&
      state.principal === call.principal.id &&
      state.endpoint === call.endpoint &&
      state.method === call.method &&
      state.digest === callDigest(call);
    if (!same) throw invalidState();
    call.outbound = unsealed(call.message, state.inner);
    // Another gateway may have answered later rounds: only what is known to be past is refused the hold.
    if (state.round < (this.#last.get(state.hold) ?? 0)) return undefined;
    return { hold: state.hold, round: state.round + 1 };
  }

  #remember(hold: string, round: number): void {
    this.#last.set(hold, round);
    keepNewest(this.#last, MAX_HOLDS);
  }
}

function unsealed(message: Message, inner: string | undefined): Message {
  if (inner !== undefined) return scan(replaceFields(message, [[Field.requestState, inner]]), CAPS);
  const { params, ...envelope } = message.object() as { readonly params: Readonly<Record<string, unknown>> };
  const { requestState: _, ...rest } = params;
  return encode({ ...envelope, params: rest });
}
