import { hkdfSync } from 'node:crypto';

/**
 * Parts behind their lengths: no two lists of parts have the same bytes. Plain concatenation would let a value move from
 * the end of one field to the start of the next (tenant `a`, name `bc` and tenant `ab`, name `c`).
 */
export function lengthPrefixed(parts: readonly (string | Uint8Array)[]): Buffer {
  const pieces: Buffer[] = [];
  for (const part of parts) {
    const bytes = Buffer.from(part as string);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    pieces.push(length, bytes);
  }
  return Buffer.concat(pieces);
}

/** A key of 32 bytes for one purpose (HKDF-SHA256, RFC 5869). */
export function deriveKey(secret: Uint8Array, salt: Uint8Array, purpose: Uint8Array | string): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, salt, purpose, 32));
}
