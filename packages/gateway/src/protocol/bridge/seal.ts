import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';

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

const PREFIX = 'tg1.';
const IV_BYTES = 12;
const TAG_BYTES = 16;

/**
 * Seals and opens `requestState` with AES-256-GCM under a key of this process (MCP 2026-07-28, multi round-trip
 * requests: the server must treat the state as attacker-controlled and should bind principal, request and expiry).
 * A parked call lives in this process only, so a state that outlives it is void by construction.
 */
export class StateSeal {
  readonly #key = randomBytes(32);

  seal(state: SealedState): string {
    const iv = randomBytes(IV_BYTES);
    const cipher = createCipheriv('aes-256-gcm', this.#key, iv, { authTagLength: TAG_BYTES });
    const text = Buffer.concat([cipher.update(JSON.stringify(state), 'utf8'), cipher.final()]);
    return PREFIX + Buffer.concat([iv, cipher.getAuthTag(), text]).toString('base64url');
  }

  /** The state, or undefined when it is not ours, was changed, or has expired. */
  open(sealed: string, now: number): SealedState | undefined {
    if (!sealed.startsWith(PREFIX) || sealed.length > 2048) return undefined;
    const bytes = Buffer.from(sealed.slice(PREFIX.length), 'base64url');
    // Base64url decoding is lenient; only the one spelling that was issued is accepted.
    if (bytes.toString('base64url') !== sealed.slice(PREFIX.length)) return undefined;
    if (bytes.length <= IV_BYTES + TAG_BYTES) return undefined;
    try {
      const decipher = createDecipheriv('aes-256-gcm', this.#key, bytes.subarray(0, IV_BYTES), {
        authTagLength: TAG_BYTES,
      });
      decipher.setAuthTag(bytes.subarray(IV_BYTES, IV_BYTES + TAG_BYTES));
      const text = Buffer.concat([decipher.update(bytes.subarray(IV_BYTES + TAG_BYTES)), decipher.final()]);
      const state = JSON.parse(text.toString('utf8')) as SealedState;
      return state.expires > now ? state : undefined;
    } catch {
      return undefined;
    }
  }
}

/** Digest of the parts of a call that a continued round must repeat unchanged. */
export function callDigest(...parts: readonly (string | undefined)[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part === undefined ? '-' : `${part.length}:${part}`);
  return hash.digest('base64url');
}
