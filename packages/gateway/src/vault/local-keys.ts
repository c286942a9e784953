/** Master keys that this process holds in memory: from a file or a variable. */
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createSecretKey,
  type KeyObject,
  randomBytes,
} from 'node:crypto';
import { TollgateError } from '../core/errors.ts';
import { deriveKey } from './bytes.ts';

const SALT = 16;
/** RFC 3394, section 2.2.3.1. */
const INITIAL_VALUE = Buffer.alloc(8, 0xa6);
const WRAPPED = SALT + 40;

/** A name that says which key it is and nothing about it. */
export function keyName(key: Buffer): string {
  return `local-${createHmac('sha256', key).update('tollgate master key name').digest('hex').slice(0, 16)}`;
}

/** The keys in a text: 32 bytes as base64 each, between spaces, commas or lines; `#` begins a remark. */
export function parseKeys(text: string, where: string): Map<string, KeyObject> {
  const words = text
    .replaceAll(/#.*$/gm, '')
    .split(/[\s,]+/)
    .filter((word) => word !== '');
  const keys = new Map<string, KeyObject>();
  for (const word of words) {
    const bytes = Buffer.from(word, 'base64');
    const standard =
      bytes.toString('base64').replace(/=+$/, '') === word.replaceAll('-', '+').replaceAll('_', '/').replace(/=+$/, '');
    if (bytes.length !== 32 || !standard) {
      throw wrong(`${where} does not hold 32 bytes as base64. Make a key with: openssl rand -base64 32`);
    }
    if (isWeak(bytes)) {
      throw wrong(
        `${where} holds a key that is a placeholder or readable text. Make one with: openssl rand -base64 32`,
      );
    }
    keys.set(keyName(bytes), createSecretKey(bytes));
    bytes.fill(0);
  }
  return keys;
}

/** A random key has about 30 different bytes of 32; text, zeros and counted bytes do not look so. */
function isWeak(bytes: Buffer): boolean {
  const steps = new Set(bytes.map((byte, i) => (byte - bytes[(i + 31) % 32]! + 256) % 256));
  return new Set(bytes).size < 16 || steps.size < 8 || bytes.every((byte) => byte >= 0x20 && byte < 0x7f);
}

/**
 * Wraps with AES key wrap (RFC 3394) under a key derived from the master key, a fresh salt and the context. Key wrap
 * takes no nonce, and every data key has a wrapping key of its own: there is no count of uses to run into, and another
 * context gives another key.
 */
export function wrapLocally(
  master: KeyObject,
  dataKey: Buffer,
  context: Buffer,
  salt: Buffer = randomBytes(SALT),
): string {
  const key = wrappingKey(master, salt, context);
  try {
    const cipher = createCipheriv('id-aes256-wrap', key, INITIAL_VALUE);
    return Buffer.concat([salt, cipher.update(dataKey), cipher.final()]).toString('base64url');
  } finally {
    key.fill(0);
  }
}

export function unwrapLocally(master: KeyObject, wrapped: string, context: Buffer): Buffer {
  const bytes = Buffer.from(wrapped, 'base64url');
  if (bytes.length !== WRAPPED) throw wrong('A wrapped data key of the vault is damaged');
  const key = wrappingKey(master, bytes.subarray(0, SALT), context);
  try {
    const cipher = createDecipheriv('id-aes256-wrap', key, INITIAL_VALUE);
    return Buffer.concat([cipher.update(bytes.subarray(SALT)), cipher.final()]);
  } catch (cause) {
    throw wrong('A wrapped data key of the vault was changed, moved, or belongs to another master key', cause);
  } finally {
    key.fill(0);
  }
}

function wrappingKey(master: KeyObject, salt: Buffer, context: Buffer): Buffer {
  const exported = master.export();
  try {
    return deriveKey(exported, salt, Buffer.concat([Buffer.from('tollgate wrap '), context]));
  } finally {
    exported.fill(0);
  }
}

export function wrong(message: string, cause?: unknown): TollgateError {
  return new TollgateError('vault_key_wrong', message, { cause });
}
