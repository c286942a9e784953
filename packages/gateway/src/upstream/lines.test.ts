import { describe, expect, it } from 'vitest';
import { LineSplitter } from './lines.ts';

function split(max: number, chunks: readonly string[]): string[] {
  const seen: string[] = [];
  const splitter = new LineSplitter(max, {
    onLine: (line) => seen.push(line.toString()),
    onTooLong: (head, tail, length) =>
      seen.push(`long ${length} ${head.toString().slice(0, 4)}…${tail.toString().slice(-4)}`),
  });
  for (const chunk of chunks) splitter.push(Buffer.from(chunk));
  splitter.end();
  return seen;
}

describe('lines', () => {
  it('come out the same however the stream is cut', () => {
    const text = 'one\r\ntwo\n\n\nthree and more\nlast';
    const whole = split(100, [text]);
    expect(whole).toEqual(['one', 'two', 'three and more', 'last']);
    for (let size = 1; size < text.length; size++) {
      const chunks = Array.from({ length: Math.ceil(text.length / size) }, (_, i) =>
        text.slice(i * size, (i + 1) * size),
      );
      expect(split(100, chunks)).toEqual(whole);
    }
  });

  it('longer than the cap are dropped but for head and tail, and the next one is fine', () => {
    const long = `head${'x'.repeat(5000)}tail`;
    expect(split(1000, [long.slice(0, 900), long.slice(900, 2000), long.slice(2000), '\nnext\n'])).toEqual([
      'long 5008 head…tail',
      'next',
    ]);
    expect(split(1000, [long])).toEqual(['long 5008 head…tail']);
    expect(split(3, ['abc\nabcd\n'])).toEqual(['abc', 'long 4 abcd…abcd']);
  });

  it('that do not end are reported once', () => {
    const lengths: number[] = [];
    const splitter = new LineSplitter(10, {
      onLine: () => {},
      onTooLong: () => {},
      onEndless: (length) => lengths.push(length),
    });
    for (let i = 0; i < 40; i++) splitter.push(Buffer.alloc(64 * 1024, 0x78));
    expect(lengths).toHaveLength(1);
    expect(lengths[0]).toBeGreaterThan(1024 * 1024);
  });
});
