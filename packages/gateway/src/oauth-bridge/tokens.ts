/**
 * Tokens, codes and states: 256 random bits behind a prefix and a checksum. Only digests are kept, and what belongs to
 * one is sealed under a key that comes from the token itself: who reads the database can neither use nor read anything.
 */
import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto';
import type { BridgeItemKind } from '../core/bridge-records.ts';

/** Scanners of secrets find them by these, and a token in the wrong place is refused unread. */
const PREFIX: Readonly<Record<BridgeItemKind, string>> = {
  state: 'tgs_',
  code: 'tgc_',
  access: 'tga_',
  refresh: 'tgr_',
};
const BODY = 43;
const CHECKSUM = 6;
const LENGTH = 4 + BODY + CHECKSUM;
const NONCE = 12;
const TAG = 16;

export function mint(kind: BridgeItemKind): string {
  const body = PREFIX[kind] + randomBytes(32).toString('base64url');
  return body + checksum(body);
}

/** Whether a text was made by `mint`, as far as that can be told without looking it up: a typing error costs nothing. */
export function isMinted(kind: BridgeItemKind, text: string): boolean {
  if (text.length !== LENGTH || !text.startsWith(PREFIX[kind]) || !/^[\w-]+$/.test(text)) return false;
  return checksum(text.slice(0, -CHECKSUM)) === text.slice(-CHECKSUM);
}

export function digestOf(text: string): string {
  return createHash('sha256').update(text, 'utf8').digest('hex');
}

/** PKCE S256 (RFC 7636 section 4.2). */
export function challengeOf(verifier: string): string {
  return createHash('sha256').update(verifier, 'ascii').digest('base64url');
}

export function randomText(): string {
  return randomBytes(32).toString('base64url');
}

export function sameText(a: string, b: string): boolean {
  return timingSafeEqual(createHash('sha256').update(a).digest(), createHash('sha256').update(b).digest());
}

/** JSON sealed under a secret (AES-256-GCM, key by HKDF); `purpose` keeps what is sealed for one use out of all others. */
export function seal(secret: string | Uint8Array, purpose: string, value: unknown): string {
  const nonce = randomBytes(NONCE);
  const cipher = createCipheriv('aes-256-gcm', keyOf(secret, purpose), nonce, { authTagLength: TAG });
  const text = Buffer.concat([cipher.update(JSON.stringify(value), 'utf8'), cipher.final()]);
  return Buffer.concat([nonce, text, cipher.getAuthTag()]).toString('base64url');
}

/** What was sealed; undefined: not under this secret and for this purpose. */
export function unseal<T>(secret: string | Uint8Array, purpose: string, sealed: string): T | undefined {
  const bytes = Buffer.from(sealed, 'base64url');
  if (bytes.length < NONCE + TAG) return undefined;
  try {
    const key = keyOf(secret, purpose);
    const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, NONCE), { authTagLength: TAG });
    decipher.setAuthTag(bytes.subarray(bytes.length - TAG));
    const text = Buffer.concat([decipher.update(bytes.subarray(NONCE, bytes.length - TAG)), decipher.final()]);
    return JSON.parse(text.toString('utf8')) as T;
  } catch {
    return undefined;
  }
}

function keyOf(secret: string | Uint8Array, purpose: string): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', secret, '', `tollgate oauth bridge: ${purpose}`, 32));
}

function checksum(body: string): string {
  return createHash('sha256').update(body, 'utf8').digest('base64url').slice(0, CHECKSUM);
}
