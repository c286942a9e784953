/**
 * The shape of a call without its values: keys, types, sizes, and digests under a key that never leaves the
 * installation. Two calls with the same text have the same digest, so that loops can be seen; nobody without the key
 * can find the text by trying likely ones.
 */
import { hash } from 'node:crypto';
import { parseLossless } from '../../protocol/json/lossless.ts';

export type Skeleton =
  | { readonly type: 'null' | 'boolean' }
  /** `size`: characters of the number as it was written. */
  | { readonly type: 'integer' | 'number'; readonly size: number; readonly digest: string }
  /** `size`: bytes of UTF-8. */
  | { readonly type: 'string'; readonly size: number; readonly digest: string }
  /** `items`: the first ones only. */
  | { readonly type: 'array'; readonly size: number; readonly items: readonly Skeleton[] }
  /** `keys`: the first ones only; a key that may be data itself stands as `#digest`. */
  | { readonly type: 'object'; readonly size: number; readonly keys: Readonly<Record<string, Skeleton>> }
  /** Beyond the caps of depth or number of values. */
  | { readonly type: 'more' };

/** What is kept of the arguments of one call. */
export interface ArgumentsSkeleton {
  /** Bytes as they came. */
  readonly size: number;
  /** Of the canonical form (keys sorted), whole: equal arguments have equal digests. */
  readonly digest: string;
  readonly shape: Skeleton;
}

const MAX_VALUES = 200;
const MAX_DEPTH = 8;
const MAX_ITEMS = 10;
/** A longer text is digested to here; its size tells the rest apart. */
const MAX_DIGESTED = 64 * 1024;
/** Names of parameters look like this; what does not may be a file name or an address. */
const PLAIN_KEY = /^[A-Za-z_$][A-Za-z0-9_.$-]{0,63}$/;
/** Keys that mean something to JavaScript objects are digested as well. */
const SPECIAL_KEYS = new Set(['__proto__', 'constructor', 'prototype']);

interface RawNumber {
  readonly rawJSON: string;
}

/**
 * Skeletons under one key of 32 bytes. Deterministic: the same arguments give the same skeleton in every process of
 * the installation.
 */
export class Skeletons {
  readonly #inner: Buffer;
  readonly #outer: Buffer;

  constructor(key: Buffer) {
    if (key.length !== 32) throw new RangeError('the key of skeletons needs 32 bytes');
    this.#inner = padded(key, 0x36);
    this.#outer = padded(key, 0x5c);
  }

  /**
   * Undefined where the text is not JSON, which the scanner does not let through. `exactNumbers`: some number would
   * lose digits or form in a double (`Message.exactNumbers`).
   */
  of(argumentsText: string, exactNumbers = true): ArgumentsSkeleton | undefined {
    let value: unknown;
    try {
      value = parseLossless(argumentsText, exactNumbers);
    } catch {
      return undefined;
    }
    return {
      size: Buffer.byteLength(argumentsText),
      digest: this.#hmac('arguments', canonical(value)),
      shape: this.#shape(value, 0, { values: MAX_VALUES }),
    };
  }

  /** Digest of an id that is not shown, such as a session's. `kind` keeps ids of different kinds apart. */
  digest(kind: string, text: string): string {
    return this.#hmac(kind, text.length > MAX_DIGESTED ? text.slice(0, MAX_DIGESTED) : text);
  }

  #shape(value: unknown, depth: number, left: { values: number }): Skeleton {
    if (--left.values < 0) return { type: 'more' };
    switch (typeof value) {
      case 'string':
        return { type: 'string', size: Buffer.byteLength(value), digest: this.digest('string', value) };
      case 'number':
        return this.#number(String(value));
      case 'boolean':
        return { type: 'boolean' };
      default:
    }
    if (value === null || value === undefined) return { type: 'null' };
    if (isRawNumber(value)) return this.#number(value.rawJSON);
    if (depth >= MAX_DEPTH) return { type: 'more' };
    if (Array.isArray(value)) {
      const items = value.slice(0, MAX_ITEMS).map((item) => this.#shape(item, depth + 1, left));
      return { type: 'array', size: value.length, items };
    }
    const entries = Object.entries(value as object);
    const keys: Record<string, Skeleton> = {};
    for (const [key, member] of entries) {
      if (left.values <= 0) break;
      keys[this.#keyName(key)] = this.#shape(member, depth + 1, left);
    }
    return { type: 'object', size: entries.length, keys };
  }

  #keyName(key: string): string {
    return PLAIN_KEY.test(key) && !SPECIAL_KEYS.has(key) ? key : `#${this.digest('key', key)}`;
  }

  #number(text: string): Skeleton {
    return {
      type: /^-?[0-9]+$/.test(text) ? 'integer' : 'number',
      size: text.length,
      digest: this.digest('number', text),
    };
  }

  /**
   * HMAC-SHA256 (RFC 2104), cut to 64 bits: enough to tell texts of one installation apart, too few to be of use
   * anywhere else. Written out over the one-shot hash, which costs a fifth of an Hmac object.
   */
  #hmac(kind: string, text: string): string {
    const inner = hash('sha256', Buffer.concat([this.#inner, Buffer.from(`${kind}\0${text}`)]), 'buffer');
    return hash('sha256', Buffer.concat([this.#outer, inner]), 'hex').slice(0, 16);
  }
}

const BLOCK = 64;

function padded(key: Buffer, byte: number): Buffer {
  const block = Buffer.alloc(BLOCK, byte);
  for (let i = 0; i < key.length; i++) block[i] = key[i]! ^ byte;
  return block;
}

function isRawNumber(value: unknown): value is RawNumber {
  return (JSON as unknown as { isRawJSON(value: unknown): boolean }).isRawJSON(value);
}

/** JSON with sorted keys; numbers as they were written. */
function canonical(value: unknown): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  if (isRawNumber(value)) return value.rawJSON;
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  const members = Object.keys(value)
    .sort()
    .map((key) => `${JSON.stringify(key)}:${canonical((value as Record<string, unknown>)[key])}`);
  return `{${members.join(',')}}`;
}
