/**
 * The sealed form of one value. A random data key (DEK) is used for this one value and never again, so that the limit
 * on random GCM nonces under one key cannot be reached; the master key (KEK) only wraps data keys.
 *
 * Text: `tgv1.<KEK version>.<KEK>.<wrapped DEK>.<nonce>.<ciphertext>.<tag>.<commitment>`, all but the first two base64url.
 */
import { createCipheriv, createDecipheriv, randomBytes, timingSafeEqual } from 'node:crypto';
import { TollgateError } from '../core/errors.ts';
import { deriveKey, lengthPrefixed } from './bytes.ts';

const FORMAT = 'tgv1';
const ALGORITHM = 'AES-256-GCM+HKDF-SHA256-commit';

/** What a sealed value belongs to. A change of any field makes it unreadable. */
export interface Place {
  readonly ownerKind: string;
  readonly owner: string;
  readonly record: string;
  readonly purpose: string;
  readonly name: string;
  readonly version: number;
}

/** Wraps and unwraps data keys under one version of the master key. */
export interface WrappingKey {
  readonly version: number;
  /** The provider's name of it. */
  readonly key: string;
  wrap(dataKey: Buffer, context: Buffer): Promise<string>;
  unwrap(wrapped: string, context: Buffer): Promise<Buffer>;
}

export interface Envelope {
  readonly kek: number;
  readonly key: string;
  readonly wrapped: string;
  readonly nonce: Buffer;
  readonly ciphertext: Buffer;
  readonly tag: Buffer;
  readonly commitment: Buffer;
}

const NONCE = 12;
const TAG = 16;
const COMMITMENT = 32;
/** The length of a secret tells which it is; lengths are rounded up to this. */
const BLOCK = 64;
const MAX_ENVELOPE = 256 * 1024;
const NO_SALT = Buffer.alloc(0);

/** The additional data of the payload. The master key is not in it: rewrapping leaves the payload as it is. */
function payloadContext(place: Place): Buffer {
  return lengthPrefixed([FORMAT, ALGORITHM, ...fieldsOf(place)]);
}

/** What the wrapped data key is bound to: everything, and the master key that wraps it. */
function wrapContext(place: Place, kek: number, key: string): Buffer {
  return lengthPrefixed([`${FORMAT}-wrap`, ALGORITHM, ...fieldsOf(place), key, String(kek)]);
}

function fieldsOf({ ownerKind, owner, record, purpose, name, version }: Place): string[] {
  return [ownerKind, owner, record, purpose, name, String(version)];
}

/** Seals a value. `material`: only for known-answer tests; otherwise data key and nonce are random. */
export async function seal(
  value: Buffer,
  place: Place,
  kek: WrappingKey,
  material?: { readonly dataKey: Buffer; readonly nonce: Buffer },
): Promise<string> {
  const dataKey = material?.dataKey ?? randomBytes(32);
  const nonce = material?.nonce ?? randomBytes(NONCE);
  const context = payloadContext(place);
  const key = deriveKey(dataKey, NO_SALT, `${FORMAT} encrypt`);
  const padded = pad(value);
  try {
    const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG });
    cipher.setAAD(context);
    const ciphertext = Buffer.concat([cipher.update(padded), cipher.final()]);
    return write({
      kek: kek.version,
      key: kek.key,
      wrapped: await kek.wrap(dataKey, wrapContext(place, kek.version, kek.key)),
      nonce,
      ciphertext,
      tag: cipher.getAuthTag(),
      commitment: commitmentOf(dataKey, context),
    });
  } finally {
    dataKey.fill(0);
    key.fill(0);
    padded.fill(0);
  }
}

/** Opens what `seal` made, for the same place only. Rejects with `vault_key_wrong`, or as the provider does. */
export async function open(text: string, place: Place, kek: WrappingKey): Promise<Buffer> {
  const envelope = read(text);
  const context = payloadContext(place);
  const dataKey = await unwrapped(envelope, place, kek);
  const key = deriveKey(dataKey, NO_SALT, `${FORMAT} encrypt`);
  try {
    // GCM alone does not commit to a key: one text can be made that opens under two keys, to two values.
    if (!timingSafeEqual(commitmentOf(dataKey, context), envelope.commitment)) throw damaged();
    const cipher = createDecipheriv('aes-256-gcm', key, envelope.nonce, { authTagLength: TAG });
    cipher.setAAD(context);
    cipher.setAuthTag(envelope.tag);
    const padded = Buffer.concat([cipher.update(envelope.ciphertext), final(cipher)]);
    try {
      return unpad(padded);
    } finally {
      padded.fill(0);
    }
  } finally {
    dataKey.fill(0);
    key.fill(0);
  }
}

/** The same value under another master key: only the data key is wrapped anew. */
export async function rewrap(text: string, place: Place, from: WrappingKey, to: WrappingKey): Promise<string> {
  const envelope = read(text);
  const dataKey = await unwrapped(envelope, place, from);
  try {
    // What was tampered with must not get a fresh wrapping.
    if (!timingSafeEqual(commitmentOf(dataKey, payloadContext(place)), envelope.commitment)) throw damaged();
    const wrapped = await to.wrap(dataKey, wrapContext(place, to.version, to.key));
    return write({ ...envelope, kek: to.version, key: to.key, wrapped });
  } finally {
    dataKey.fill(0);
  }
}

async function unwrapped(envelope: Envelope, place: Place, kek: WrappingKey): Promise<Buffer> {
  if (envelope.kek !== kek.version || envelope.key !== kek.key) throw damaged();
  const dataKey = await kek.unwrap(envelope.wrapped, wrapContext(place, kek.version, kek.key));
  if (dataKey.length !== 32) throw damaged();
  return dataKey;
}

function commitmentOf(dataKey: Buffer, context: Buffer): Buffer {
  return deriveKey(dataKey, NO_SALT, Buffer.concat([Buffer.from(`${FORMAT} commit `), context]));
}

function final(cipher: ReturnType<typeof createDecipheriv>): Buffer {
  try {
    return cipher.final();
  } catch (cause) {
    throw damaged(cause);
  }
}

export function write(envelope: Envelope): string {
  const { kek, key, wrapped, nonce, ciphertext, tag, commitment } = envelope;
  const parts = [key, wrapped, nonce, ciphertext, tag, commitment].map((part) =>
    Buffer.from(part as string).toString('base64url'),
  );
  return [FORMAT, kek, ...parts].join('.');
}

/** Every length is checked: Node accepts tags of 4 bytes unless told otherwise, which takes 2^32 guesses to forge. */
export function read(text: string): Envelope {
  const parts = text.length > MAX_ENVELOPE ? [] : text.split('.');
  const [format, kek, ...rest] = parts;
  if (format !== FORMAT || parts.length !== 8 || !/^[1-9]\d{0,8}$/.test(kek!)) throw damaged();
  const bytes = rest.map((part) => {
    const decoded = Buffer.from(part, 'base64url');
    // One text for one value: what decodes alike but is written differently is not ours.
    if (decoded.toString('base64url') !== part) throw damaged();
    return decoded;
  });
  const [key, wrapped, nonce, ciphertext, tag, commitment] = bytes as [Buffer, Buffer, Buffer, Buffer, Buffer, Buffer];
  if (nonce.length !== NONCE || tag.length !== TAG || commitment.length !== COMMITMENT) throw damaged();
  if (ciphertext.length === 0 || ciphertext.length % BLOCK !== 0) throw damaged();
  return { kek: Number(kek), key: key.toString(), wrapped: wrapped.toString(), nonce, ciphertext, tag, commitment };
}

function pad(value: Buffer): Buffer {
  const padded = Buffer.alloc(Math.ceil((value.length + 4) / BLOCK) * BLOCK);
  padded.writeUInt32BE(value.length);
  value.copy(padded, 4);
  return padded;
}

function unpad(padded: Buffer): Buffer {
  const length = padded.readUInt32BE();
  if (length > padded.length - 4) throw damaged();
  return Buffer.from(padded.subarray(4, 4 + length));
}

function damaged(cause?: unknown): TollgateError {
  return new TollgateError(
    'vault_key_wrong',
    'A sealed value of the vault was changed, belongs to another place, or to another key',
    { cause },
  );
}
