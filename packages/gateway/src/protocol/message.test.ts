import { describe, expect, it } from 'vitest';
import { checkMirroredHeaders } from './headers.ts';
import { DEFAULT_SCAN_CAPS, scan } from './json/scan.ts';
import { replaceFields, responseBytes, responseSlices } from './json/splice.ts';
import { Field, type Message } from './message.ts';
import { checkModernRequest } from './modern/request.ts';

const text =
  '{"jsonrpc":"2.0","id":41,"result":{"resultType":"complete","isError":true,"content":[{"type":"text","text":"größe \\u00df 🙂"}]}}';
/** In memory of its own: what is copied into the pool of small buffers is not taken for a piece of it. */
const body = Buffer.alloc(Buffer.byteLength(text), text);

/** The body cut at every place into two, and into pieces of every size: also in the middle of characters and fields. */
const cuts: Buffer[][] = [];
for (let at = 0; at <= body.length; at++) cuts.push([body.subarray(0, at), body.subarray(at)]);
for (let size = 1; size <= body.length; size++) {
  const pieces: Buffer[] = [];
  for (let at = 0; at < body.length; at += size) pieces.push(body.subarray(at, at + size));
  cuts.push(pieces);
}

function read(message: Message): unknown {
  return [
    message.kind,
    message.length,
    message.raw(Field.id),
    message.raw(Field.result),
    message.string(Field.resultType),
    message.string(Field.id),
    message.json(Field.isError),
    message.spells(Field.id, '41'),
    message.spells(Field.id, '42'),
    message.spells(Field.id, '4'),
    message.spells(Field.name, '41'),
    message.at(0),
    message.at(body.length - 1),
    message.at(body.length),
    Buffer.concat(message.slices(3, 90)).toString('hex'),
    Buffer.concat(message.slices(5, 5)).length,
  ];
}

describe('a message in pieces', () => {
  const whole = scan(body, DEFAULT_SCAN_CAPS);

  it('reads as the same message in one piece, wherever it is cut', () => {
    const expected = read(whole);
    for (const pieces of cuts) {
      const message = scan(pieces, DEFAULT_SCAN_CAPS);
      expect(read(message)).toEqual(expected);
      expect(message.object()).toEqual(whole.object());
      expect(message.bytes.equals(body)).toBe(true);
      // Again, now that it has been joined.
      expect(read(message)).toEqual(expected);
    }
  });

  it.each([['7'], ['"größe"'], ['12345678901']])('goes out under the id %s without a copy of its pieces', (id) => {
    const expected = responseBytes(whole, id).toString();
    for (const pieces of cuts) {
      const slices = responseSlices(scan(pieces, DEFAULT_SCAN_CAPS), id);
      expect(Buffer.concat(slices).toString()).toBe(expected);
      expect(slices.filter((slice) => slice.buffer === body.buffer).length).toBe(slices.length - 1);
    }
  });

  it('is checked, changed and sent as the same request in one piece', () => {
    const request = Buffer.from(
      '{"jsonrpc":"2.0","id":"é","method":"tools/call","params":{"name":"größe","arguments":{"a":[1]},"_meta":{"progressToken":7,"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}',
    );
    const whole = scan(request, DEFAULT_SCAN_CAPS);
    const edits = [
      [Field.id, '1'],
      [Field.metaProgressToken, '1'],
      [Field.name, '"größer"'],
    ] as const;
    const headers = { protocolVersion: '2026-07-28', mcpMethod: 'tools/call', mcpName: '=?base64?Z3LDtsOfZQ==?=' };
    for (let at = 1; at < request.length; at++) {
      const message = scan([request.subarray(0, at), request.subarray(at)], DEFAULT_SCAN_CAPS);
      expect(checkModernRequest(message)).toBeUndefined();
      expect(checkMirroredHeaders(message, headers)).toBeUndefined();
      expect(checkMirroredHeaders(message, { ...headers, mcpName: 'other' })).toMatchObject({
        code: 'header_mismatch',
      });
      expect(replaceFields(message, edits).toString()).toBe(replaceFields(whole, edits).toString());
      expect(message.inPieces).toBe(true);
      expect(replaceFields(message, [])).toEqual(request);
    }
  });

  it('gets an id when it is an error without one', () => {
    const error = scan(Buffer.from('{"jsonrpc":"2.0","error":{"code":1,"message":"m"}}'), DEFAULT_SCAN_CAPS);
    expect(Buffer.concat(responseSlices(error, '7')).toString()).toBe(responseBytes(error, '7').toString());
  });

  it('is refused for what is wrong at the place where it is', () => {
    const broken = Buffer.from(body);
    broken[body.indexOf('ö')] = 0xff;
    let expected: unknown;
    try {
      scan(broken, DEFAULT_SCAN_CAPS);
    } catch (error) {
      expected = error;
    }
    expect(expected).toBeInstanceOf(Error);
    for (const size of [1, 7, 64]) {
      const pieces: Buffer[] = [];
      for (let at = 0; at < broken.length; at += size) pieces.push(broken.subarray(at, at + size));
      expect(() => scan(pieces, DEFAULT_SCAN_CAPS)).toThrow((expected as Error).message);
    }
  });
});
