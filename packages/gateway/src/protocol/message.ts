/**
 * A JSON-RPC message as the bytes that came and the places of the members that somebody needs.
 * Nothing is parsed beyond what is asked for, and what is forwarded are the original bytes with
 * only the spans that must change replaced: so what was authorised is what is sent.
 */
import { parseLossless } from './json/lossless.ts';

export type MessageKind = 'request' | 'notification' | 'result' | 'error';

/** Members the scanner locates, by level. The number is the index of the pair (start, end) in `spans`. */
export const Field = {
  // envelope
  id: 0,
  method: 1,
  params: 2,
  result: 3,
  error: 4,
  // params.*
  name: 5,
  uri: 6,
  arguments: 7,
  meta: 8,
  cursor: 9,
  requestState: 10,
  inputResponses: 11,
  /** `params.progressToken` of notifications/progress. */
  progressToken: 12,
  /** `params.requestId` of notifications/cancelled. */
  requestId: 13,
  taskId: 14,
  // params._meta.*
  metaProgressToken: 15,
  protocolVersion: 16,
  clientInfo: 17,
  clientCapabilities: 18,
  logLevel: 19,
  /** In `params._meta`, on responses in `result._meta`. */
  subscriptionId: 20,
  // result.*
  resultType: 21,
  resultMeta: 22,
  isError: 23,
  // error.*
  errorCode: 24,
} as const;

export type FieldId = (typeof Field)[keyof typeof Field];

export class Message {
  #bytes: Buffer | undefined;
  /** As they came from the network, in order, while nobody needed them in one. */
  readonly #pieces: readonly Buffer[] | undefined;
  /** Number of bytes. */
  readonly length: number;
  readonly kind: MessageKind;
  /** Empty on responses. */
  readonly method: string;
  /** `spans[2f]` and `spans[2f+1]`: first byte and byte after the last of field f's value; -1 when absent. */
  readonly spans: readonly number[];
  /** True when some number would lose digits or form in `JSON.parse`; `json()` then keeps its source text. */
  readonly exactNumbers: boolean;

  constructor(
    bytes: Buffer | readonly Buffer[],
    kind: MessageKind,
    method: string,
    spans: readonly number[],
    exactNumbers: boolean,
  ) {
    if (bytes instanceof Uint8Array) {
      this.#bytes = bytes;
      this.#pieces = undefined;
      this.length = bytes.length;
    } else {
      this.#bytes = undefined;
      this.#pieces = bytes;
      this.length = sizeOfPieces(bytes);
    }
    this.kind = kind;
    this.method = method;
    this.spans = spans;
    this.exactNumbers = exactNumbers;
  }

  /** All of it. A message that came in pieces is joined for this, at the price of a copy. */
  get bytes(): Buffer {
    this.#bytes ??= Buffer.concat(this.#pieces!, this.length);
    return this.#bytes;
  }

  /** True while asking for `bytes` would copy. */
  get inPieces(): boolean {
    return this.#bytes === undefined;
  }

  /** The bytes from `start` to `end` without a copy, in as many Buffers as they lie in. */
  slices(start: number, end: number): Buffer[] {
    if (this.#bytes !== undefined) return start < end ? [this.#bytes.subarray(start, end)] : [];
    const found: Buffer[] = [];
    let from = 0;
    for (const piece of this.#pieces!) {
      const to = from + piece.length;
      if (from < end && to > start)
        found.push(piece.subarray(Math.max(0, start - from), Math.min(piece.length, end - from)));
      from = to;
    }
    return found;
  }

  /** The byte at a place. */
  at(place: number): number | undefined {
    if (this.#bytes !== undefined) return this.#bytes[place];
    let rest = place;
    for (const piece of this.#pieces!) {
      if (rest < piece.length) return piece[rest];
      rest -= piece.length;
    }
    return undefined;
  }

  /** True when the field is written as this ASCII text; without making a string, which would cost as much as a scan. */
  spells(field: FieldId, text: string): boolean {
    const start = this.spans[2 * field]!;
    if (start < 0 || this.spans[2 * field + 1]! - start !== text.length) return false;
    for (let i = 0; i < text.length; i++) if (this.at(start + i) !== text.charCodeAt(i)) return false;
    return true;
  }

  has(field: FieldId): boolean {
    return this.spans[2 * field]! >= 0;
  }

  /** The JSON text of a field as it stands in the bytes, or undefined. */
  raw(field: FieldId): string | undefined {
    const start = this.spans[2 * field]!;
    return start < 0 ? undefined : this.#text(start, this.spans[2 * field + 1]!);
  }

  /** A field whose value is a JSON string, decoded; undefined when absent or not a string. */
  string(field: FieldId): string | undefined {
    const start = this.spans[2 * field]!;
    if (start < 0 || this.at(start) !== 0x22) return undefined;
    const end = this.spans[2 * field + 1]!;
    const text = this.#text(start + 1, end - 1);
    return text.includes('\\') ? (JSON.parse(`"${text}"`) as string) : text;
  }

  /** A field parsed; numbers that JavaScript cannot hold keep their source text. Undefined when absent. */
  json(field: FieldId): unknown {
    const text = this.raw(field);
    return text === undefined ? undefined : parseLossless(text, this.exactNumbers);
  }

  /** The whole message parsed, for the bridge and for locally answered methods. */
  object(): Record<string, unknown> {
    return parseLossless(this.bytes.toString('utf8'), this.exactNumbers) as Record<string, unknown>;
  }

  #text(start: number, end: number): string {
    if (this.#bytes !== undefined) return this.#bytes.toString('utf8', start, end);
    // A character may lie in two pieces.
    const slices = this.slices(start, end);
    return (slices.length === 1 ? slices[0]! : Buffer.concat(slices)).toString('utf8');
  }
}

export function sizeOfPieces(pieces: readonly Buffer[]): number {
  let size = 0;
  for (const piece of pieces) size += piece.length;
  return size;
}
