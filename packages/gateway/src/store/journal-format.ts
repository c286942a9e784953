/**
 * The files of journal and snapshots: a header of 48 bytes, then frames.
 *
 *   header   "TGST", version, kind, flags, 0, number (u32), salt (16), key check (16), CRC-32 of the bytes before
 *   frame    length (u32), flags (8 bits) and records (24 bits), CRC-32 of the content, CRC-32 of the 12 bytes before
 *   content  records, each its length (u32) and its bytes; deflated and then sealed with AES-256-GCM where configured
 *
 * Numbers are little-endian. Every file has its own key, derived from the configured one and the salt, so that the
 * position of a frame in its file is a nonce that never repeats, and frames cannot be moved, repeated or taken over
 * from another file. The header's CRC seeds those of the frames: what a reused disk block held before is no frame.
 */
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createSecretKey,
  hkdfSync,
  type KeyObject,
  randomBytes,
} from 'node:crypto';
import { crc32, deflateRawSync, inflateRawSync } from 'node:zlib';
import { TollgateError } from '../core/errors.ts';

export type FileKind = 'journal' | 'snapshot';

export const HEADER_BYTES = 48;
const FRAME_BYTES = 16;
const MAGIC = 'TGST';
const VERSION = 1;
const ENCRYPTED = 1;
const COMPRESSED = 1;
const END = 2;
const TAG_BYTES = 16;
/** Below this deflating costs more than it saves. */
const WORTH_DEFLATING = 128;
const LARGEST = 1 << 30;

export interface Sealing {
  /** 32 bytes. Undefined: not encrypted. */
  readonly key: Uint8Array | undefined;
  readonly compress: boolean;
}

/** Writes the frames of one file, in order. */
export class FrameWriter {
  readonly header: Buffer;
  readonly #sealing: Sealing;
  readonly #fileKey: KeyObject | undefined;
  #position = 0;

  constructor(kind: FileKind, number: number, sealing: Sealing) {
    const salt = randomBytes(16);
    this.#sealing = sealing;
    this.#fileKey = fileKey(sealing.key, salt);
    const header = Buffer.alloc(HEADER_BYTES);
    header.write(MAGIC, 0, 'latin1');
    header[4] = VERSION;
    header[5] = kind === 'journal' ? 1 : 2;
    header[6] = this.#fileKey === undefined ? 0 : ENCRYPTED;
    header.writeUInt32LE(number, 8);
    salt.copy(header, 12);
    if (this.#fileKey !== undefined) keyCheck(this.#fileKey).copy(header, 28);
    header.writeUInt32LE(crc32(header.subarray(0, 44)), 44);
    this.header = header;
  }

  /** `content` holds `records` records, each behind its length. `end` marks the last frame of a snapshot. */
  frame(content: Uint8Array, records: number, end = false): Buffer {
    let flags = end ? END : 0;
    let stored: Uint8Array = content;
    if (this.#sealing.compress && content.length > WORTH_DEFLATING) {
      const deflated = deflateRawSync(content, { level: 1 });
      if (deflated.length < content.length) {
        stored = deflated;
        flags |= COMPRESSED;
      }
    }
    const mark = ((flags << 24) | records) >>> 0;
    if (this.#fileKey !== undefined) stored = seal(this.#fileKey, this.#position, this.header, mark, stored);
    this.#position++;
    const frame = Buffer.allocUnsafe(FRAME_BYTES + stored.length);
    frame.writeUInt32LE(stored.length, 0);
    frame.writeUInt32LE(mark, 4);
    frame.writeUInt32LE(crc32(stored), 8);
    frame.writeUInt32LE(crc32(frame.subarray(0, 12), this.header.readUInt32LE(44)), 12);
    frame.set(stored, FRAME_BYTES);
    return frame;
  }
}

export interface FileContent {
  /** `torn`: the last frame was not written whole. `corrupt`: something before the end is damaged. */
  readonly state: 'clean' | 'torn' | 'corrupt';
  /** The contents of the frames before the damage. */
  readonly frames: readonly Buffer[];
  readonly records: number;
  /** Bytes of the file up to the damage. */
  readonly intact: number;
  /** A snapshot whose last frame is there. */
  readonly ended: boolean;
}

/**
 * Reads what is intact. Damaged content is no error.
 * @throws `storage_incompatible` when the file is encrypted and `key` is not its key.
 */
export function readFrames(file: Buffer, kind: FileKind, path: string, key: Uint8Array | undefined): FileContent {
  if (file.length < HEADER_BYTES) return damaged(file.length === 0 || isTornHeader(file) ? 'torn' : 'corrupt');
  const header = file.subarray(0, HEADER_BYTES);
  const known = header.toString('latin1', 0, 4) === MAGIC && header[5] === (kind === 'journal' ? 1 : 2);
  if (!known || crc32(header.subarray(0, 44)) !== header.readUInt32LE(44)) {
    return damaged(isZero(file, 0) ? 'torn' : 'corrupt');
  }
  if (header[4] !== VERSION) {
    throw new TollgateError('storage_incompatible', `${path} was written by a newer Tollgate`);
  }
  const own = openKey(header, key, path);
  const frames: Buffer[] = [];
  let at = HEADER_BYTES;
  let records = 0;
  let ended = false;
  let state: FileContent['state'] = 'clean';
  while (at < file.length && state === 'clean') {
    const step = readFrame(file, at, frames.length, header, own);
    if (typeof step === 'string') state = step;
    else {
      at = step.next;
      records += step.records;
      ended = step.end;
      frames.push(step.content);
    }
  }
  return { state, frames, records, intact: at, ended };
}

function damaged(state: 'torn' | 'corrupt'): FileContent {
  return { state, frames: [], records: 0, intact: 0, ended: false };
}

/**
 * A frame that ends beyond the file, or that ends with it but is not what its CRC says, was being written when the
 * process or the machine went down; so was a rest of zeros. All other damage came later.
 */
function readFrame(
  file: Buffer,
  at: number,
  position: number,
  header: Buffer,
  key: KeyObject | undefined,
): 'torn' | 'corrupt' | { content: Buffer; records: number; end: boolean; next: number } {
  if (file.length - at < FRAME_BYTES) return 'torn';
  if (crc32(file.subarray(at, at + 12), header.readUInt32LE(44)) !== file.readUInt32LE(at + 12)) {
    return isZero(file, at) ? 'torn' : 'corrupt';
  }
  const length = file.readUInt32LE(at);
  const next = at + FRAME_BYTES + length;
  if (next > file.length) return 'torn';
  const stored = file.subarray(at + FRAME_BYTES, next);
  if (crc32(stored) !== file.readUInt32LE(at + 8)) return next === file.length ? 'torn' : 'corrupt';
  const mark = file.readUInt32LE(at + 4);
  try {
    const opened = key === undefined ? stored : open(key, position, header, mark, stored);
    const deflated = ((mark >>> 24) & COMPRESSED) !== 0;
    const content = deflated ? inflateRawSync(opened, { maxOutputLength: LARGEST }) : opened;
    return { content, records: mark & 0xffffff, end: ((mark >>> 24) & END) !== 0, next };
  } catch {
    return 'corrupt';
  }
}

function isTornHeader(file: Buffer): boolean {
  const begun = Buffer.from(MAGIC, 'latin1').subarray(0, file.length);
  return isZero(file, 0) || file.subarray(0, begun.length).equals(begun);
}

function isZero(file: Buffer, from: number): boolean {
  for (let i = from; i < file.length; i++) if (file[i] !== 0) return false;
  return true;
}

function fileKey(key: Uint8Array | undefined, salt: Uint8Array): KeyObject | undefined {
  if (key === undefined) return undefined;
  return createSecretKey(Buffer.from(hkdfSync('sha256', key, salt, 'tollgate state file', 32)));
}

function keyCheck(key: KeyObject): Buffer {
  return createHmac('sha256', key).update('tollgate key check').digest().subarray(0, 16);
}

/** Files from before a key was configured stay readable. */
function openKey(header: Buffer, key: Uint8Array | undefined, path: string): KeyObject | undefined {
  if ((header[6]! & ENCRYPTED) === 0) return undefined;
  const own = fileKey(key, header.subarray(12, 28));
  if (own !== undefined && keyCheck(own).equals(header.subarray(28, 44))) return own;
  const what = key === undefined ? 'but no key is configured' : 'with another key than the configured one';
  throw new TollgateError(
    'storage_incompatible',
    `${path} is encrypted, ${what}: configure the key that it was written with, or move the file away to start empty`,
  );
}

function nonce(position: number): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeBigUInt64LE(BigInt(position), 4);
  return bytes;
}

function associated(header: Buffer, mark: number): Buffer {
  const bytes = Buffer.allocUnsafe(HEADER_BYTES + 4);
  header.copy(bytes);
  bytes.writeUInt32LE(mark, HEADER_BYTES);
  return bytes;
}

function seal(key: KeyObject, position: number, header: Buffer, mark: number, content: Uint8Array): Buffer {
  const cipher = createCipheriv('aes-256-gcm', key, nonce(position), { authTagLength: TAG_BYTES });
  cipher.setAAD(associated(header, mark));
  return Buffer.concat([cipher.update(content), cipher.final(), cipher.getAuthTag()]);
}

function open(key: KeyObject, position: number, header: Buffer, mark: number, stored: Buffer): Buffer {
  const decipher = createDecipheriv('aes-256-gcm', key, nonce(position), { authTagLength: TAG_BYTES });
  decipher.setAAD(associated(header, mark));
  decipher.setAuthTag(stored.subarray(stored.length - TAG_BYTES));
  const content = decipher.update(stored.subarray(0, stored.length - TAG_BYTES));
  // Authenticates what was deciphered; a stream cipher has nothing left to give.
  decipher.final();
  return content;
}
