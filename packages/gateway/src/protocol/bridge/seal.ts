import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';
import { TollgateError } from '../../core/errors.ts';
import type { Call } from '../call.ts';
import { Field } from '../message.ts';

/** What a `requestState` of the gateway says. Clients are told nothing: it is encrypted, not just signed. */
export interface SealedState {
  /** Id of the parked conversation; empty when the call is simply to be sent again. */
  readonly conversation: string;
  readonly principal: string;
  readonly endpoint: string;
  readonly method: string;
  /** Digest of name or uri and arguments: a state is good for the same call only. */
  readonly digest: string;
  readonly round: number;
  /** Wall milliseconds after which it is void. */
  readonly expires: number;
}

const IV_BYTES = 12;
const TAG_BYTES = 16;

interface SealOptions {
  /** Begins every state, so that one kind is never taken for another. */
  readonly prefix: string;
  /** 32 bytes. Default: random, so that a state is void once this process has ended. */
  readonly key?: Buffer;
  /** Longest state that is opened, in characters. */
  readonly maxLength: number;
}

/**
 * Seals and opens `requestState` with AES-256-GCM (MCP 2026-07-28, multi round-trip requests: the server must treat
 * the state as attacker-controlled and should bind principal, request and expiry).
 */
export class StateSeal<State extends { readonly expires: number }> {
  readonly #key: Buffer;
  readonly #options: SealOptions;

  constructor(options: SealOptions) {
    this.#options = options;
    this.#key = options.key ?? randomBytes(32);
  }

  seal(state: State): string {
    const iv = randomBytes(IV_BYTES);
    const cipher = createCipheriv('aes-256-gcm', this.#key, iv, { authTagLength: TAG_BYTES });
    const text = Buffer.concat([cipher.update(JSON.stringify(state), 'utf8'), cipher.final()]);
    return this.#options.prefix + Buffer.concat([iv, cipher.getAuthTag(), text]).toString('base64url');
  }

  /** Whether a state claims to be of this kind. */
  claims(sealed: string): boolean {
    return sealed.startsWith(this.#options.prefix);
  }

  /** The state, or undefined when it is not ours, was changed, or has expired. */
  open(sealed: string, now: number): State | undefined {
    if (!this.claims(sealed) || sealed.length > this.#options.maxLength) return undefined;
    const spelled = sealed.slice(this.#options.prefix.length);
    const bytes = Buffer.from(spelled, 'base64url');
    // Base64url decoding is lenient; only the one spelling that was issued is accepted.
    if (bytes.toString('base64url') !== spelled) return undefined;
    if (bytes.length <= IV_BYTES + TAG_BYTES) return undefined;
    try {
      const decipher = createDecipheriv('aes-256-gcm', this.#key, bytes.subarray(0, IV_BYTES), {
        authTagLength: TAG_BYTES,
      });
      decipher.setAuthTag(bytes.subarray(IV_BYTES, IV_BYTES + TAG_BYTES));
      const text = Buffer.concat([decipher.update(bytes.subarray(IV_BYTES + TAG_BYTES)), decipher.final()]);
      const state = JSON.parse(text.toString('utf8')) as State;
      return state.expires > now ? state : undefined;
    } catch {
      return undefined;
    }
  }
}

/** Digest of what a continued round must repeat unchanged: name or uri, and arguments. */
export function callDigest({ message }: Call): string {
  const args = message.json(Field.arguments);
  const hash = createHash('sha256');
  for (const part of [
    message.string(Field.name),
    message.string(Field.uri),
    args === undefined ? undefined : JSON.stringify(args),
  ]) {
    hash.update(part === undefined ? '-' : `${part.length}:${part}`);
  }
  return hash.digest('base64url');
}

export function invalidState(): TollgateError {
  return new TollgateError(
    'input_state_invalid',
    'requestState is not valid for this call: it was changed, has expired, was used before, or belongs to another call. Send the call again without it.',
  );
}
