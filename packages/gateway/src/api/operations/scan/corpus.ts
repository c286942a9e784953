/**
 * The texts of a JSON value, prepared so that one pass of a pattern sees all of them: as they are, and as a model or a
 * program would read them (compatibility forms folded, invisible characters removed, one level of encoding undone).
 */
import { decodings } from './decode.ts';

export type Encoding = 'base64' | 'percent' | 'unicode escapes' | 'entities';

/** Between texts. No pattern crosses it: `.` stops at the line feed, `\s` at the control. */
const SEPARATOR = '\n\u0001\n';
/** Nodes of one value; boundedCopy allows fewer in 100 KB. */
const MAX_NODES = 200_000;

const INVISIBLE =
  /\u034f|[\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\u{e0000}-\u{e01ef}]|[\ufe00-\ufe0f]|[\u180b-\u180d]/gu;

/** One place in the value; paths are written only for findings. */
interface Node {
  readonly parent: number;
  readonly key: string | number;
}

/** One string or key at a place. */
export interface Segment {
  readonly text: string;
  readonly node: number;
  /** How it was hidden; undefined: it was not. */
  readonly encoding: Encoding | undefined;
}

/** Many texts as one. */
export class Joined {
  readonly text: string;
  readonly segments: readonly Segment[];
  readonly #starts: Float64Array;

  constructor(segments: readonly Segment[]) {
    this.segments = segments;
    this.#starts = new Float64Array(segments.length);
    let at = 0;
    segments.forEach((segment, i) => {
      this.#starts[i] = at;
      at += segment.text.length + SEPARATOR.length;
    });
    this.text = segments.map(({ text }) => text).join(SEPARATOR);
  }

  /** The segment that holds a position of the text. */
  at(position: number): Segment {
    let low = 0;
    let high = this.segments.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#starts[middle]! <= position) low = middle;
      else high = middle - 1;
    }
    return this.segments[low]!;
  }
}

export class Corpus {
  /** Every string and key as it came. */
  readonly raw: Joined;
  /** Lower case, folded, decoded. */
  readonly plain: Joined;
  readonly #nodes: Node[] = [{ parent: -1, key: '$' }];

  constructor(value: unknown) {
    const raw: Segment[] = [];
    this.#collect(value, raw);
    this.raw = new Joined(raw);
    const plain: Segment[] = [];
    for (const { text, node } of raw) {
      plain.push({ text: fold(text), node, encoding: undefined });
      for (const { encoding, decoded } of decodings(text)) plain.push({ text: fold(decoded), node, encoding });
    }
    this.plain = new Joined(plain);
  }

  /** JSON path of a node, for people: `$.tools[0].description`. */
  path(node: number): string {
    const parts: string[] = [];
    for (let at = node; at > 0 && parts.length < 70; at = this.#nodes[at]!.parent) {
      const { key } = this.#nodes[at]!;
      parts.push(
        typeof key === 'number' ? `[${key}]` : /^[A-Za-z_$][\w$]{0,60}$/.test(key) ? `.${key}` : `[${quoted(key)}]`,
      );
    }
    return `$${parts.reverse().join('')}`;
  }

  /** In the order of the value. Not recursive: the depth is the caller's. */
  #collect(root: unknown, raw: Segment[]): void {
    const waiting: [value: unknown, node: number][] = [[root, 0]];
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      const [value, node] = next;
      if (typeof value === 'string') raw.push({ text: value, node, encoding: undefined });
      if (typeof value !== 'object' || value === null) continue;
      const members: [key: string | number, value: unknown][] = Array.isArray(value)
        ? value.map((item, i) => [i, item])
        : Object.entries(value);
      for (let i = members.length - 1; i >= 0; i--) {
        if (this.#nodes.length >= MAX_NODES) return;
        const [key, member] = members[i]!;
        this.#nodes.push({ parent: node, key });
        waiting.push([member, this.#nodes.length - 1]);
      }
      for (const [key] of members) {
        // Names are read by models too.
        if (typeof key === 'string' && key.length > 2) raw.push({ text: key, node, encoding: undefined });
      }
    }
  }
}

/** A text as its reader takes it. */
function fold(text: string): string {
  // Plain ASCII is most of it.
  if (!/[^\u0000-\u007f]/.test(text)) return text.toLowerCase().replaceAll('\u0001', ' ');
  return text.normalize('NFKC').replace(INVISIBLE, '').toLowerCase().replaceAll('\u0001', ' ');
}

function quoted(key: string): string {
  const plain = key.replace(/[^\x20-\x7e]/g, '?');
  return JSON.stringify(plain.length > 60 ? `${plain.slice(0, 57)}...` : plain);
}
