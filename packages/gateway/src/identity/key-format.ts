/**
 * The form of an API key: `tg_<id>_<secret><checksum>`, all in base 32. The id is public and finds the record, the
 * secret has 260 random bits, the checksum tells a mistyped or cut key from a wrong one before anything is looked up.
 */
import { createHash } from 'node:crypto';
import { randomId } from '../core/ids.ts';

const ID = 16;
const SECRET = 52;
const CHECKSUM = 6;
const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';
const FORM = new RegExp(`^tg_([${ALPHABET}]{${ID}})_[${ALPHABET}]{${SECRET}}([${ALPHABET}]{${CHECKSUM}})$`);

export interface MadeKey {
  readonly id: string;
  /** The whole key. It exists here and at its owner, and nowhere else. */
  readonly key: string;
}

export function makeKey(): MadeKey {
  const id = randomId(ID);
  const body = `tg_${id}_${randomId(SECRET)}`;
  return { id, key: body + checksum(body) };
}

/** The id of a text that has the form of a key and the right checksum; undefined for every other text. */
export function keyId(text: string): string | undefined {
  const match = FORM.exec(text);
  if (match === null) return undefined;
  return checksum(text.slice(0, -CHECKSUM)) === match[2] ? match[1] : undefined;
}

/** What is kept of a key. The secret is random, so nothing slower than a hash is needed (NIST SP 800-63B, 5.1.1.2). */
export function keyDigest(key: string): Buffer {
  return createHash('sha256').update(key, 'utf8').digest();
}

/** 30 bits of a digest of what stands before. */
function checksum(body: string): string {
  const bits = createHash('sha256').update('tollgate key checksum\0').update(body, 'utf8').digest().readUInt32BE(0);
  let text = '';
  for (let i = 0; i < CHECKSUM; i++) text += ALPHABET[(bits >>> (5 * i)) & 31];
  return text;
}
