/** One level of the encodings in which payloads hide. What is decoded is bounded by what was sent. */
import type { Encoding } from './corpus.ts';

export interface Decoded {
  readonly encoding: Encoding;
  readonly decoded: string;
}

/** Base64 runs of one text that are looked into. */
const MAX_RUNS = 200;
const BASE64_RUN = /[A-Za-z0-9+/_-]{20,}/g;
const ENTITIES: Readonly<Record<string, string>> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" };

/** What a text says when one encoding is undone; empty for most texts. */
export function decodings(text: string): readonly Decoded[] {
  if (text.length < 6) return [];
  const found: Decoded[] = [];
  if (text.includes('%')) {
    const decoded = percent(percent(text));
    if (decoded !== text) found.push({ encoding: 'percent', decoded });
  }
  if (text.includes('\\')) {
    const decoded = text.replace(/\\(?:u\{([0-9a-f]{1,6})\}|u([0-9a-f]{4})|x([0-9a-f]{2}))/gi, (whole, a, b, c) => {
      const code = Number.parseInt((a ?? b ?? c) as string, 16);
      return code < 0x110000 ? String.fromCodePoint(code) : (whole as string);
    });
    if (decoded !== text) found.push({ encoding: 'unicode escapes', decoded });
  }
  if (text.includes('&')) {
    const decoded = text.replace(/&(?:#(\d{1,7})|#x([0-9a-f]{1,6})|(lt|gt|amp|quot|apos));/gi, (whole, a, b, c) => {
      if (c !== undefined) return ENTITIES[(c as string).toLowerCase()] ?? (whole as string);
      const code = a === undefined ? Number.parseInt(b as string, 16) : Number(a);
      return code < 0x110000 ? String.fromCodePoint(code) : (whole as string);
    });
    if (decoded !== text) found.push({ encoding: 'entities', decoded });
  }
  if (text.length >= 20) {
    const decoded = base64(text);
    if (decoded !== '') found.push({ encoding: 'base64', decoded });
  }
  return found;
}

/** Twice, because `%252e` is how traversal gets past the first decoder. */
function percent(text: string): string {
  return text.replace(/%([0-9a-f]{2})/gi, (_whole, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

/** The readable base64 runs of a text, one a line. */
function base64(text: string): string {
  const lines: string[] = [];
  let runs = 0;
  for (const [run] of text.matchAll(BASE64_RUN)) {
    if (++runs > MAX_RUNS) break;
    // A long hexadecimal number or a lower-case word is no text.
    if (!/[A-Z]/.test(run) || !/[a-z]/.test(run)) continue;
    const decoded = Buffer.from(run.replaceAll('-', '+').replaceAll('_', '/'), 'base64').toString('latin1');
    if (isReadable(decoded)) lines.push(decoded);
  }
  return lines.join('\n');
}

/** Nine of ten characters are printable: random bytes are not. */
function isReadable(text: string): boolean {
  let printable = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if ((code >= 0x20 && code < 0x7f) || code === 0x0a || code === 0x0d || code === 0x09) printable++;
  }
  return text.length >= 12 && printable >= text.length * 0.9;
}
