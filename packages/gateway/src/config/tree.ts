import {
  type Document,
  isAlias,
  isMap,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseAllDocuments,
  parseDocument,
} from 'yaml';
import { type Finding, type KeyPath, mistake, type Position } from './problems.ts';
import { describeYamlError } from './yaml-errors.ts';

/** Larger files are refused unread: a configuration of thousands of servers stays far below. */
export const MAX_CONFIG_BYTES = 1024 * 1024;
const MAX_DEPTH = 64;

interface Offsets {
  /** Where the key begins; the value for list items. */
  readonly key: number;
  readonly value: number;
}

/** A configuration as plain values, and where each stood in its file. */
export class SourceTree {
  readonly file: string | undefined;
  readonly value: unknown;
  readonly #places: ReadonlyMap<string, Offsets>;
  readonly #lines: LineCounter | undefined;

  constructor(
    file: string | undefined,
    value: unknown,
    places: ReadonlyMap<string, Offsets> = new Map(),
    lines: LineCounter | undefined = undefined,
  ) {
    this.file = file;
    this.value = value;
    this.#places = places;
    this.#lines = lines;
  }

  /** True when the key itself was written. */
  has(path: KeyPath): boolean {
    return this.#places.has(placeKey(path));
  }

  /** Where a key stands, or its nearest written ancestor; `value`: where its value does. */
  at(path: KeyPath, part: 'key' | 'value' = 'key'): Position | undefined {
    if (this.#lines === undefined) return undefined;
    for (let length = path.length; length >= 0; length--) {
      const place = this.#places.get(placeKey(path.slice(0, length)));
      if (place !== undefined) return this.#position(length === path.length ? place[part] : place.key);
    }
    return this.#position(0);
  }

  #position(offset: number): Position {
    const { line, col } = this.#lines!.linePos(offset);
    return { file: this.file, line, column: col };
  }

  /** The same file under other keys: `moves` tells where each new path came from. */
  moved(value: unknown, moves: ReadonlyMap<string, KeyPath>): SourceTree {
    const places = new Map<string, Offsets>();
    for (const [to, from] of moves) {
      const prefix = placeKey(from);
      for (const [key, place] of this.#places) {
        if (key === prefix || key.startsWith(`${prefix}\0`)) places.set(to + key.slice(prefix.length), place);
      }
    }
    return new SourceTree(this.file, value, places, this.#lines);
  }
}

/** The key under which a path is kept; list positions and map keys cannot meet at one place. */
export function placeKey(path: KeyPath): string {
  return path.map((key) => `\0${key}`).join('');
}

export interface ParsedText {
  readonly tree: SourceTree;
  readonly problems: readonly (Finding & { readonly position: Position })[];
}

/**
 * Reads YAML or JSON (comments and tabs of JSONC already blanked) into plain values with positions. Every
 * mistake of the text is reported at once; YAML's traps (alias, tag, merge, odd keys) are refused with a sentence.
 * `several`: the text may have several documents, and the tree is the list of them.
 */
export function parseText(text: string, file: string | undefined, several = false): ParsedText {
  const lines = new LineCounter();
  const options = {
    lineCounter: lines,
    prettyErrors: false,
    uniqueKeys: true,
    merge: false,
    version: '1.2',
    logLevel: 'error',
  } as const;
  const documents: readonly Document[] = several ? parseAllDocuments(text, options) : [parseDocument(text, options)];
  const problems: (Finding & { position: Position })[] = [];
  const places = new Map<string, Offsets>();
  const at = (offset: number): Position => {
    const { line, col } = lines.linePos(Math.max(0, Math.min(offset, text.length)));
    return { file, line, column: col };
  };
  const report = (offset: number, what: string, fix: string, path: KeyPath = []) => {
    problems.push({ ...mistake(path, what, fix), position: at(offset) });
  };
  const badLines = new Set<number>();
  for (const error of documents.flatMap(({ errors, warnings }) => [...errors, ...warnings])) {
    const said = describeYamlError(error, text);
    const line = lines.linePos(said.offset).line;
    // One slip makes the parser stumble several times; the first sentence of a line is the one that helps.
    if (badLines.has(line)) continue;
    badLines.add(line);
    report(said.offset, said.what, said.fix);
  }

  function read(node: Node | null | undefined, path: KeyPath, keyOffset: number): unknown {
    if (path.length > MAX_DEPTH) {
      report(keyOffset, `Nested deeper than ${MAX_DEPTH} levels.`, '', path);
      return undefined;
    }
    const start = node?.range?.[0] ?? keyOffset;
    places.set(placeKey(path), { key: keyOffset, value: start });
    if (node === null || node === undefined) return null;
    if (isAlias(node)) {
      if (!badLines.has(lines.linePos(start).line)) {
        const word = /^\*\S*/.exec(text.slice(start))?.[0].replace(/[,\]}]+$/, '') ?? `*${node.source}`;
        report(start, `In YAML a value that starts with * is an alias.`, `Put quotes round it: "${word}".`, path);
      }
      return undefined;
    }
    if ((isMap(node) || isSeq(node) || isScalar(node)) && node.anchor !== undefined) {
      report(
        start,
        `In YAML a value that starts with & is an anchor, which is not used here.`,
        `Put quotes round it, or write the value twice.`,
        path,
      );
    }
    if (isMap(node)) {
      const out: Record<string, unknown> = {};
      for (const pair of node.items) {
        if (!isPair(pair)) continue;
        const keyNode = pair.key as Node | null;
        const offset = keyNode?.range?.[0] ?? start;
        const key = keyText(keyNode, text);
        if (key === undefined) {
          report(
            offset,
            keyNode !== null && isAlias(keyNode)
              ? 'In YAML a key that starts with * is an alias.'
              : 'A key must be text.',
            'Put quotes round it.',
            path,
          );
          continue;
        }
        if (key === '<<' && keyNode !== null && isScalar(keyNode) && keyNode.type === 'PLAIN') {
          report(offset, 'YAML merge keys are not used here.', 'Write the keys out.', path);
          continue;
        }
        if (key === '__proto__' || key === 'constructor' || key === 'prototype') {
          report(offset, `"${key}" cannot be used as a name.`, 'Choose another.', [...path, key]);
          continue;
        }
        out[key] = read(pair.value as Node | null, [...path, key], offset);
      }
      return out;
    }
    if (isSeq(node)) {
      return node.items.map((item, i) => {
        const entry = item as Node | null;
        return read(entry, [...path, i], entry?.range?.[0] ?? start);
      });
    }
    if (!isScalar(node)) return undefined;
    if (typeof node.value === 'number' && node.type === 'PLAIN' && /^[-+]?0\d+$/.test(node.source ?? '')) {
      report(
        start,
        `YAML reads ${node.source} as the number ${node.value}.`,
        'Put quotes round it, or write it without the zero.',
        path,
      );
    }
    return node.value;
  }

  const content = ({ contents }: Document, path: KeyPath) =>
    read(contents as Node | null, path, (contents as Node | null)?.range?.[0] ?? 0);
  const value = several ? documents.map((document, i) => content(document, [i])) : content(documents[0]!, []);
  return { tree: new SourceTree(file, value, places, lines), problems };
}

/** Keys keep the text in which they were written: `1.0` stays `1.0`, `on` stays `on`. */
function keyText(node: Node | null, text: string): string | undefined {
  if (node === null || !isScalar(node)) return undefined;
  if (typeof node.value === 'string') return node.value;
  return node.range === undefined || node.range === null ? undefined : text.slice(node.range[0], node.range[1]);
}
