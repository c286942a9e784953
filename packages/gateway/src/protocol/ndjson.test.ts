import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NdjsonParser } from './ndjson.ts';

function parse(pieces: readonly (string | Buffer)[], max = 1000) {
  const lines: string[] = [];
  const parser = new NdjsonParser(max, {
    onLine: (line) => lines.push(line.toString()),
    onOversize: (cap) => lines.push(`over ${cap}`),
  });
  for (const piece of pieces) parser.push(typeof piece === 'string' ? Buffer.from(piece) : piece);
  return lines;
}

describe('NdjsonParser', () => {
  it('gives lines, tolerates CRLF and empty lines, and keeps an unfinished one back', () => {
    expect(parse(['{"a":1}\n{"b":2}\r\n\n\r\n{"c":', '3}\n{"d"'])).toEqual(['{"a":1}', '{"b":2}', '{"c":3}']);
  });

  it('reads the same lines wherever the stream is cut', () => {
    const bytes = Buffer.from('{"größe":"東京"}\r\n{"a":1}\n\n{"b":"\u{1f600}"}\n');
    const expected = parse([bytes]);
    expect(expected).toHaveLength(3);
    fc.assert(
      fc.property(fc.array(fc.nat(bytes.length), { maxLength: 20 }), (cuts) => {
        const places = [...new Set(cuts)].sort((a, b) => a - b);
        const pieces = [0, ...places].map((from, i) => bytes.subarray(from, places[i] ?? bytes.length));
        expect(parse(pieces)).toEqual(expected);
      }),
    );
  });

  it('reports a line over the cap once, at once, and goes on behind it', () => {
    expect(parse(['x'.repeat(12)], 10)).toEqual(['over 10']);
    expect(parse(['aa\n', 'x'.repeat(8), 'x'.repeat(8), 'x'.repeat(80), '\nbb\n'], 10)).toEqual([
      'aa',
      'over 10',
      'bb',
    ]);
    expect(parse([`${'x'.repeat(50)}\nbb\n`], 10)).toEqual(['over 10', 'bb']);
  });

  it('counts the line without its end', () => {
    expect(parse([`${'x'.repeat(10)}\r\n`, `${'y'.repeat(10)}\n`, `${'z'.repeat(11)}\n`], 10)).toEqual([
      'x'.repeat(10),
      'y'.repeat(10),
      'over 10',
    ]);
  });
});
