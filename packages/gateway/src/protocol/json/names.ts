/**
 * Recognising known names (reserved keys, methods) in bytes without making a string: a name is found by its length
 * and three of its bytes, then compared whole.
 */

export interface Name<T> {
  readonly text: string;
  readonly bytes: Uint8Array;
  readonly value: T;
  /** Next name in the same bucket. */
  next: Name<T> | undefined;
}

const BUCKETS = 256;

/** Length, first, middle and last byte without the ASCII case bit: equal for spellings that differ in case only. */
export function signature(bytes: Uint8Array, start: number, end: number): number {
  const length = end - start;
  if (length === 0) return 0;
  return (
    (length << 24) ^
    ((bytes[start]! | 0x20) << 16) ^
    ((bytes[start + (length >> 1)]! | 0x20) << 8) ^
    (bytes[end - 1]! | 0x20)
  );
}

function bucket(sign: number): number {
  return (sign ^ (sign >> 7) ^ (sign >> 15) ^ (sign >> 23)) & (BUCKETS - 1);
}

export class NameTable<T> {
  readonly #buckets: (Name<T> | undefined)[] = new Array<Name<T> | undefined>(BUCKETS).fill(undefined);
  readonly #byText = new Map<string, Name<T>>();
  readonly #folded: RegExp;

  constructor(names: readonly (readonly [string, T])[]) {
    for (const [text, value] of names) {
      const bytes = Buffer.from(text);
      const at = bucket(signature(bytes, 0, bytes.length));
      const name: Name<T> = { text, bytes, value, next: this.#buckets[at] };
      this.#buckets[at] = name;
      this.#byText.set(text, name);
    }
    const escaped = names.map(([text]) => text.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&'));
    // The flags `iu` compare by Unicode simple case folding: U+017F counts as s, U+212A as k.
    this.#folded = new RegExp(`^(?:${escaped.join('|')})$`, 'iu');
  }

  /** First candidate for a name with this signature; follow `next`. */
  candidates(sign: number): Name<T> | undefined {
    return this.#buckets[bucket(sign)];
  }

  byText(text: string): Name<T> | undefined {
    return this.#byText.get(text);
  }

  /** True when the text equals some name of the table but for upper and lower case. */
  isVariant(text: string): boolean {
    return !this.#byText.has(text) && this.#folded.test(text);
  }
}

/** 0: another name. 1: differs in ASCII case only. 2: equal. */
export function compareName(bytes: Uint8Array, start: number, end: number, name: Uint8Array): 0 | 1 | 2 {
  const length = name.length;
  if (end - start !== length) return 0;
  let at = 0;
  while (at < length && bytes[start + at] === name[at]) at++;
  if (at === length) return 2;
  for (; at < length; at++) {
    const a = bytes[start + at]!;
    const b = name[at]!;
    if (a === b) continue;
    const folded = a | 0x20;
    if (folded !== (b | 0x20) || folded < 0x61 || folded > 0x7a) return 0;
  }
  return 1;
}
