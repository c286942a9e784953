import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Field } from '../message.ts';
import { parseLossless } from './lossless.ts';
import { DEFAULT_SCAN_CAPS, scan } from './scan.ts';
import {
  addMembers,
  encode,
  errorBytes,
  notificationBytes,
  replaceFields,
  requestBytes,
  responseBytes,
  resultBytes,
} from './splice.ts';

const read = (text: string) => scan(Buffer.from(text), DEFAULT_SCAN_CAPS);

describe('replaceFields', () => {
  const text =
    '{ "params" : {"_meta":{"progressToken":"old","x":12345678901234567890},"name":"a__t","arguments":{"n":1.0}} ,"method":"tools/call","id":"client","jsonrpc":"2.0"}';

  it('replaces several fields at once, in any order, and leaves every other byte', () => {
    const changed = replaceFields(read(text), [
      [Field.id, '7'],
      [Field.name, '"größe"'],
      [Field.metaProgressToken, '99'],
    ]);
    expect(changed.toString()).toBe(text.replace('"client"', '7').replace('"a__t"', '"größe"').replace('"old"', '99'));
  });

  it('gives back the same bytes for no edits', () => {
    const message = read(text);
    expect(replaceFields(message, [])).toBe(message.bytes);
  });

  it('throws for absent, repeated and nested fields instead of making a broken message', () => {
    const message = read(text);
    expect(() => replaceFields(message, [[Field.uri, '1']])).toThrow(RangeError);
    expect(() =>
      replaceFields(message, [
        [Field.id, '1'],
        [Field.id, '2'],
      ]),
    ).toThrow(RangeError);
    expect(() =>
      replaceFields(message, [
        [Field.name, '"x"'],
        [Field.params, '{}'],
      ]),
    ).toThrow(RangeError);
  });

  it('means the same as changing the object', () => {
    const meta = fc.record({
      progressToken: fc.oneof(fc.string(), fc.integer()),
      other: fc.jsonValue().filter((value) => !JSON.stringify(value).includes('__proto__')),
    });
    fc.assert(
      fc.property(
        fc.oneof(fc.string({ unit: 'grapheme' }), fc.integer()),
        fc.string({ unit: 'grapheme', maxLength: 200 }),
        meta,
        fc.oneof(fc.integer(), fc.string({ unit: 'grapheme' })),
        fc.string({ unit: 'grapheme', maxLength: 200 }),
        (id, name, _meta, newId, newName) => {
          const object = { jsonrpc: '2.0', id, method: 'tools/call', params: { name, _meta } };
          const message = encode(object);
          const bytes = replaceFields(message, [
            [Field.id, JSON.stringify(newId)],
            [Field.name, JSON.stringify(newName)],
            [Field.metaProgressToken, '5'],
          ]);
          const expected = { ...object, id: newId, params: { name: newName, _meta: { ..._meta, progressToken: 5 } } };
          expect(bytes.toString()).toBe(JSON.stringify(expected));
        },
      ),
      { numRuns: 200 },
    );
  });
});

describe('responseBytes', () => {
  it('puts the id of the caller into small and large responses', () => {
    for (const size of [0, 10, 100_000]) {
      const text = `{"result":{"t":"${'é'.repeat(size)}"},"id":123456,"jsonrpc":"2.0"}`;
      expect(responseBytes(read(text), '"client-ö"').toString()).toBe(text.replace('123456', '"client-ö"'));
    }
  });

  it('replaces a null id and adds a missing one', () => {
    expect(responseBytes(read('{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"m"}}'), '1').toString()).toBe(
      '{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m"}}',
    );
    expect(responseBytes(read(' {"jsonrpc":"2.0","error":{"code":1,"message":"m"}}'), '1').toString()).toBe(
      ' {"id":1,"jsonrpc":"2.0","error":{"code":1,"message":"m"}}',
    );
  });
});

describe('addMembers', () => {
  it('adds in front of the members there are', () => {
    const message = read('{"jsonrpc":"2.0","id":1,"result":{ "a":1}}');
    expect(addMembers(message, Field.result, '"resultType":"complete"').toString()).toBe(
      '{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete", "a":1}}',
    );
  });

  it('fills an empty object', () => {
    const message = read('{"jsonrpc":"2.0","id":1,"result":{ }}');
    expect(addMembers(message, Field.result, '"a":1').toString()).toBe('{"jsonrpc":"2.0","id":1,"result":{"a":1 }}');
  });

  it('throws when the field is absent or no object', () => {
    const message = read('{"jsonrpc":"2.0","id":1,"result":{}}');
    expect(() => addMembers(message, Field.params, '"a":1')).toThrow(RangeError);
    expect(() => addMembers(message, Field.id, '"a":1')).toThrow(RangeError);
  });
});

describe('builders', () => {
  it('encode keeps numbers that came through parseLossless', () => {
    const params = parseLossless('{"n":12345678901234567890,"m":1.0}', true);
    const message = encode({ jsonrpc: '2.0', id: 1, method: 'tools/call', params, none: undefined });
    expect(message.bytes.toString()).toBe(
      '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"n":12345678901234567890,"m":1.0}}',
    );
    expect(message.exactNumbers).toBe(true);
    expect(message.method).toBe('tools/call');
  });

  it('encode writes text that a server cut in the middle of a character', () => {
    const message = encode({ jsonrpc: '2.0', id: 1, result: { text: 'a\ud83d\u0000' } });
    expect(message.object()).toEqual({ jsonrpc: '2.0', id: 1, result: { text: 'a\ud83d\u0000' } });
  });

  it('write messages that the scanner accepts', () => {
    const all = [
      requestBytes('"a"', 'tools/list', '{"cursor":"x"}'),
      requestBytes('1', 'ping', undefined),
      notificationBytes('notifications/cancelled', '{"requestId":1}'),
      notificationBytes('notifications/initialized', undefined),
      resultBytes('1', '{}'),
      errorBytes('1', -32601, 'No "such" method'),
      errorBytes(undefined, -32700, 'x', { byte: 3 }),
    ];
    expect(all.map((bytes) => bytes.toString())).toEqual([
      '{"jsonrpc":"2.0","id":"a","method":"tools/list","params":{"cursor":"x"}}',
      '{"jsonrpc":"2.0","id":1,"method":"ping"}',
      '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}',
      '{"jsonrpc":"2.0","method":"notifications/initialized"}',
      '{"jsonrpc":"2.0","id":1,"result":{}}',
      '{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"No \\"such\\" method"}}',
      '{"jsonrpc":"2.0","error":{"code":-32700,"message":"x","data":{"byte":3}}}',
    ]);
    expect(all.map((bytes) => scan(bytes, DEFAULT_SCAN_CAPS).kind)).toEqual([
      'request',
      'request',
      'notification',
      'notification',
      'result',
      'error',
      'error',
    ]);
  });
});
