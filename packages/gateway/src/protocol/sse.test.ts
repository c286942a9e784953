import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeEvent, KEEP_ALIVE, type SseEvent, SseParser } from './sse.ts';

/** Events of a stream that comes in the given pieces, data as text. */
function parse(pieces: readonly (string | Buffer)[], max = 1_000_000) {
  const events: { event?: string; data: string; id?: string; retry?: number }[] = [];
  const parser = new SseParser(max, ({ event, data, id, retry }: SseEvent) => {
    events.push({
      data: data.toString(),
      ...(event === undefined ? {} : { event }),
      ...(id === undefined ? {} : { id }),
      ...(retry === undefined ? {} : { retry }),
    });
  });
  for (const piece of pieces) parser.push(typeof piece === 'string' ? Buffer.from(piece) : piece);
  return events;
}

describe('SseParser', () => {
  it('reads all fields', () => {
    expect(parse(['event: message\nid: 7\nretry: 1500\ndata: {"a":1}\n\n'])).toEqual([
      { event: 'message', id: '7', retry: 1500, data: '{"a":1}' },
    ]);
  });

  it('joins data lines and takes one blank off each', () => {
    expect(parse(['data: a\ndata:b\ndata:  c\ndata\n\n'])).toEqual([{ data: 'a\nb\n c\n' }]);
  });

  it('gives events that only move the id or the retry time, with empty data', () => {
    expect(parse(['id: a\ndata:\n\nretry: 5\n\nid\n\n'])).toEqual([
      { id: 'a', data: '' },
      { retry: 5, data: '' },
      { id: '', data: '' },
    ]);
  });

  it('ignores comments, unknown fields, bad retry times and ids with NUL', () => {
    expect(parse([': hello\n\n\nfoo: x\nDATA: y\nretry: 1e3\nid: a\0b\nevents: z\n\ndata: 1\n\n'])).toEqual([
      { data: '1' },
    ]);
  });

  it('does not give an event that the stream ends in', () => {
    expect(parse(['data: 1\n\ndata: 2\n'])).toEqual([{ data: '1' }]);
  });

  it('skips a byte order mark, only at the start', () => {
    expect(parse(['\ufeffdata: 1\n\n\ufeffdata: 2\n\n'])).toEqual([{ data: '1' }]);
  });

  it('hands on data that came in one piece without a copy', () => {
    // Not from the pool of small buffers, which a copy would be from, too.
    const text = 'event: message\ndata: {"x":1}\n\n';
    const chunk = Buffer.alloc(text.length, text);
    let data: Buffer | undefined;
    new SseParser(1000, (event) => {
      data = event.data;
    }).push(chunk);
    expect(data?.buffer).toBe(chunk.buffer);
  });

  it('reads the same events wherever the stream is cut and whatever ends the lines', () => {
    const text =
      '\ufeffevent: a\nid: é\ndata: größe 東京 \u{1f600}\ndata: 2\n\n: c\ndata: x\n\nretry: 12\ndata:\n\ndata: end\n\n';
    const expected = parse([text]);
    expect(expected).toHaveLength(4);
    fc.assert(
      fc.property(fc.constantFrom('\n', '\r', '\r\n'), fc.array(fc.nat(200), { maxLength: 40 }), (ending, cuts) => {
        const bytes = Buffer.from(text.replaceAll('\n', ending));
        const places = [...new Set(cuts.map((cut) => cut % bytes.length))].sort((a, b) => a - b);
        const pieces = [0, ...places].map((from, i) => bytes.subarray(from, places[i] ?? bytes.length));
        expect(parse(pieces)).toEqual(expected);
      }),
    );
    for (const ending of ['\n', '\r', '\r\n']) {
      expect(parse([...Buffer.from(text.replaceAll('\n', ending))].map((byte) => Buffer.from([byte])))).toEqual(
        expected,
      );
    }
  });

  it('refuses an event over the cap: one line, many lines, or a line that never ends', () => {
    const tooLarge = expect.objectContaining({ code: 'server_response_too_large' });
    expect(() => parse([`data: ${'x'.repeat(100)}\n\n`], 100)).toThrow(tooLarge);
    expect(() => parse(['data: x\n'.repeat(20)], 100)).toThrow(tooLarge);
    expect(() => parse(['data\n'.repeat(30)], 100)).toThrow(tooLarge);
    expect(() => parse(new Array<string>(20).fill('xxxxxxxxxx'), 100)).toThrow(tooLarge);
    expect(parse(['data: xxxxxxxxxx\n\n'.repeat(100)], 100)).toHaveLength(100);
  });
});

describe('encodeEvent', () => {
  it('writes one event', () => {
    expect(encodeEvent(Buffer.from('{"a":"é"}')).toString()).toBe('event: message\ndata: {"a":"é"}\n\n');
    expect(encodeEvent(Buffer.from('{}'), 'ö-1').toString()).toBe('id: ö-1\nevent: message\ndata: {}\n\n');
  });

  it('is read back as the same data; line breaks become LF', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('a', 'é', '\n', '\r', ' ', ':') }), (text) => {
        const written = encodeEvent(Buffer.from(text), '9');
        expect(parse([written])).toEqual([{ event: 'message', id: '9', data: text.replace(/\r\n|\r/g, '\n') }]);
      }),
    );
  });

  it('the keep-alive is no event', () => {
    expect(parse([KEEP_ALIVE])).toEqual([]);
  });
});
