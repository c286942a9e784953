import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TollgateError } from '../../core/errors.ts';
import { Field, type Message } from '../message.ts';
import { MAX_BODY } from './caps.ts';
import { failedId, SCAN_RULES, type ScanRule } from './rules.ts';
import { DEFAULT_SCAN_CAPS, type ScanCaps, scan } from './scan.ts';

function read(text: string | Buffer, caps: Partial<ScanCaps> = {}): Message {
  return scan(typeof text === 'string' ? Buffer.from(text) : text, { ...DEFAULT_SCAN_CAPS, ...caps });
}

function refusal(text: string | Buffer, caps: Partial<ScanCaps> = {}): TollgateError {
  try {
    read(text, caps);
  } catch (error) {
    if (TollgateError.is(error)) return error;
    throw error;
  }
  throw new Error(`accepted: ${text.toString()}`);
}

function refusedBy(rule: ScanRule, text: string | Buffer, caps: Partial<ScanCaps> = {}): void {
  expect(refusal(text, caps).message).toMatch(/^Byte \d+: /);
  expect(refusal(text, caps).message.replace(/^Byte \d+: /, '')).toBe(SCAN_RULES[rule]);
}

const call = (params: string) => `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":${params}}`;

describe('what is located', () => {
  it('finds every field of a modern call', () => {
    const message = read(
      ` {"jsonrpc":"2.0", "id" : "a\\u0062" ,"method":"tools/call","params":{"name":"t","uri":"u","arguments":{"name":"no"},` +
        `"cursor":"c","requestState":"s","inputResponses":{},"progressToken":1,"requestId":2,"taskId":"k","_meta":{` +
        `"progressToken":"p","io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{},` +
        `"io.modelcontextprotocol/clientCapabilities":{"a":{}},"io.modelcontextprotocol/logLevel":"info",` +
        `"io.modelcontextprotocol/subscriptionId":9}}}\n`,
    );
    expect(message.kind).toBe('request');
    expect(message.method).toBe('tools/call');
    expect(message.raw(Field.id)).toBe('"a\\u0062"');
    expect(message.string(Field.id)).toBe('ab');
    expect(message.string(Field.name)).toBe('t');
    expect(message.string(Field.uri)).toBe('u');
    expect(message.raw(Field.arguments)).toBe('{"name":"no"}');
    expect(message.raw(Field.cursor)).toBe('"c"');
    expect(message.raw(Field.requestState)).toBe('"s"');
    expect(message.raw(Field.inputResponses)).toBe('{}');
    expect(message.raw(Field.progressToken)).toBe('1');
    expect(message.raw(Field.requestId)).toBe('2');
    expect(message.raw(Field.taskId)).toBe('"k"');
    expect(message.raw(Field.metaProgressToken)).toBe('"p"');
    expect(message.string(Field.protocolVersion)).toBe('2026-07-28');
    expect(message.raw(Field.clientInfo)).toBe('{}');
    expect(message.raw(Field.clientCapabilities)).toBe('{"a":{}}');
    expect(message.raw(Field.logLevel)).toBe('"info"');
    expect(message.raw(Field.subscriptionId)).toBe('9');
    expect(message.has(Field.result)).toBe(false);
    expect(message.raw(Field.result)).toBeUndefined();
    expect(JSON.parse(message.raw(Field.meta)!)).toHaveProperty('progressToken', 'p');
  });

  it('finds the fields of results and errors', () => {
    const result = read(
      '{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","isError":true,"_meta":{"io.modelcontextprotocol/subscriptionId":"x"}}}',
    );
    expect(result.kind).toBe('result');
    expect(result.method).toBe('');
    expect(result.string(Field.resultType)).toBe('complete');
    expect(result.raw(Field.isError)).toBe('true');
    expect(result.raw(Field.subscriptionId)).toBe('"x"');
    const error = read('{"jsonrpc":"2.0","id":null,"error":{"code":-32601,"message":"no"}}');
    expect(error.kind).toBe('error');
    expect(error.raw(Field.errorCode)).toBe('-32601');
    expect(error.raw(Field.id)).toBe('null');
    expect(read('{"jsonrpc":"2.0","error":{"code":1,"message":"no"}}').has(Field.id)).toBe(false);
  });

  it('does not take nested names for fields', () => {
    const message = read(call('{"arguments":{"_meta":{"progressToken":1},"params":{"name":"x"}},"ref":{"name":"y"}}'));
    expect(message.has(Field.name)).toBe(false);
    expect(message.has(Field.metaProgressToken)).toBe(false);
    expect(message.has(Field.meta)).toBe(false);
  });

  it('reads methods that it does not know, and escaped ones', () => {
    expect(read('{"jsonrpc":"2.0","method":"acme/do","id":1}').method).toBe('acme/do');
    expect(read('{"jsonrpc":"2.0","method":"tools\\/call","id":1}').method).toBe('tools/call');
    expect(read('{"jsonrpc":"2\\u002e0","method":"größe","id":1}').method).toBe('größe');
    expect(read('{"jsonrpc":"2.0","method":"notifications/progress"}').kind).toBe('notification');
  });

  it('takes keys that are written with escapes for what they stand for', () => {
    expect(read(call('{"n\\u0061me":"t"}')).string(Field.name)).toBe('t');
  });
});

describe('envelope', () => {
  it.each<[ScanRule, string]>([
    ['batch', '[{"jsonrpc":"2.0","id":1,"method":"ping"}]'],
    ['batch', '[]'],
    ['object', '"text"'],
    ['object', '12'],
    ['object', 'null'],
    ['version', '{"id":1,"method":"ping"}'],
    ['version', '{"jsonrpc":"1.0","id":1,"method":"ping"}'],
    ['version', '{"jsonrpc":2.0,"id":1,"method":"ping"}'],
    ['method', '{"jsonrpc":"2.0","id":1,"method":7}'],
    ['method', '{"jsonrpc":"2.0","id":1,"method":""}'],
    ['id', '{"jsonrpc":"2.0","id":null,"method":"ping"}'],
    ['id', '{"jsonrpc":"2.0","id":1.0,"method":"ping"}'],
    ['id', '{"jsonrpc":"2.0","id":1e3,"method":"ping"}'],
    ['id', '{"jsonrpc":"2.0","id":{},"method":"ping"}'],
    ['id', '{"jsonrpc":"2.0","id":true,"result":{}}'],
    ['params', '{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}'],
    ['params', '{"jsonrpc":"2.0","id":1,"method":"ping","params":null}'],
    ['result', '{"jsonrpc":"2.0","id":1,"result":[]}'],
    ['error', '{"jsonrpc":"2.0","id":1,"error":"x"}'],
    ['error', '{"jsonrpc":"2.0","id":1,"error":{"code":1.5,"message":"x"}}'],
    ['error', '{"jsonrpc":"2.0","id":1,"error":{"code":1}}'],
    ['envelope', '{"jsonrpc":"2.0","id":1}'],
    ['envelope', '{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}'],
    ['envelope', '{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":"x"}}'],
    ['envelope', '{"jsonrpc":"2.0","id":1,"result":{},"params":{}}'],
    ['envelope', '{"jsonrpc":"2.0","result":{}}'],
  ])('refuses by rule %s: %s', (rule, text) => {
    refusedBy(rule, text);
    expect(refusal(text).code).toBe('invalid_request');
  });
});

describe('duplicate keys (one parser reads the first, another the last)', () => {
  it.each([
    '{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call"}',
    call('{"name":"a","name":"b"}'),
    call('{"name":"a","n\\u0061me":"b"}'),
    call('{"arguments":{"a":{"b":[{"x":1,"x":2}]}}}'),
    call('{"arguments":{"é":1,"\\u00e9":2}}'),
    call('{"arguments":{"":1,"":2}}'),
    call('{"_meta":{"progressToken":1,"progressToken":2}}'),
    // Keys that the protocol does not know, where it knows others.
    '{"jsonrpc":"2.0","id":1,"method":"ping","x":1,"x":2}',
    call('{"name":"a","x":1,"x":2}'),
    call('{"_meta":{"vendor/x":1,"vendor/x":2}}'),
  ])('refuses %s', (text) => {
    refusedBy('duplicate', text);
  });

  it('finds them among many keys', () => {
    const many = Array.from({ length: 500 }, (_, i) => `"key${i}":${i}`);
    expect(read(call(`{"arguments":{${many.join()}}}`)).kind).toBe('request');
    for (const again of ['"key0":1', '"key23":1', '"key24":1', '"key499":1', '"k\\u0065y7":1']) {
      refusedBy('duplicate', call(`{"arguments":{${[...many, again].join()}}}`));
    }
  });

  it('accepts the same key in different objects', () => {
    expect(read(call('{"arguments":{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]}}')).kind).toBe('request');
  });
});

describe('case variants of reserved keys (Envoy AI Gateway GHSA-4gph-2hhr-5mwg, Go SDK CVE-2026-27896)', () => {
  it.each([
    '{"jsonrpc":"2.0","id":1,"method":"tools/list","Method":"tools/call"}',
    '{"jsonrpc":"2.0","id":1,"method":"ping","PARAMS":{}}',
    '{"jsonrpc":"2.0","id":1,"method":"ping","param\u017f":{}}',
    '{"jsonrpc":"2.0","id":1,"method":"ping","param\\u017f":{}}',
    '{"jsonrpc":"2.0","iD":1,"method":"ping"}',
    call('{"name":"a","Name":"b"}'),
    call('{"name":"a","argument\u017f":{}}'),
    call('{"name":"a","ta\u017f\u212aId":"b"}'),
    call('{"name":"a","_META":{}}'),
    call('{"_meta":{"progressTo\u212aen":1}}'),
    call('{"_meta":{"io.modelcontextprotocol/ProtocolVersion":"x"}}'),
    call('{"_meta":{"TraceParent":"x"}}'),
  ])('refuses %s', (text) => {
    refusedBy('variant', text);
  });

  it('leaves arguments, results and longer words alone', () => {
    expect(read(call('{"arguments":{"Name":1,"name":2,"ID":3}}')).kind).toBe('request');
    expect(read(call('{"names":1,"nam":2,"mame":3,"näme":4}')).kind).toBe('request');
    expect(read('{"jsonrpc":"2.0","id":1,"result":{"ISERROR":1}}').kind).toBe('result');
  });
});

describe('number differentials', () => {
  it.each([
    '1e400',
    '-1e400',
    '1e309',
    `${'9'.repeat(400)}`,
  ])('refuses %s, which JSON.parse makes infinite', (number) => {
    refusedBy('infinite', call(`{"arguments":{"n":${number}}}`));
  });

  it.each([
    '9007199254740993',
    '-9223372036854775808',
    '1.0',
    '-0',
    '1E5',
    '1e2',
    '0.10',
    '123456789012345678',
  ])('keeps %s as written', (number) => {
    const message = read(call(`{"arguments":{"n":${number}}}`));
    expect(message.exactNumbers).toBe(true);
    expect(JSON.stringify(message.json(Field.arguments))).toBe(`{"n":${number}}`);
  });

  it.each([
    '0',
    '1',
    '-1',
    '123456789012345',
    '0.5',
    '-1.25',
    '9007199254740991',
    '1e+21',
  ])('does not mark %s, which JSON.parse keeps', (number) => {
    expect(read(call(`{"arguments":{"n":${number}}}`)).exactNumbers).toBe(false);
  });

  it('marks exactly the numbers that JSON.parse would write differently', () => {
    const digits = (max: number) =>
      fc.string({ unit: fc.constantFrom(...'00123456789'), minLength: 1, maxLength: max });
    const number = fc
      .tuple(fc.constantFrom('', '-'), digits(17), fc.option(digits(17)), fc.constantFrom('', '', '', 'e5', 'E-7'))
      .map(([sign, int, fraction, exponent]) => {
        return `${sign}${int.replace(/^0+(?=\d)/, '')}${fraction === null ? '' : `.${fraction}`}${exponent}`;
      });
    fc.assert(
      fc.property(number, (text) => {
        expect(read(call(`{"arguments":[${text}]}`)).exactNumbers).toBe(String(Number(text)) !== text);
      }),
      { numRuns: 2000 },
    );
  });

  it.each(['9223372036854775807', '"1"', '1', '-0', '-5', '""'])('keeps the id %s as written', (id) => {
    expect(read(`{"jsonrpc":"2.0","id":${id},"method":"ping"}`).raw(Field.id)).toBe(id);
  });

  it.each([
    '01',
    '+1',
    '.5',
    '1.',
    '1e',
    '1e+',
    '-',
    '0x1',
    'NaN',
    'Infinity',
    '-01',
    '1_000',
  ])('refuses %s', (number) => {
    expect(refusal(call(`{"arguments":{"n":${number}}}`)).code).toBe('parse_error');
  });
});

describe('text differentials', () => {
  const inString = (...bytes: number[]) =>
    Buffer.concat([
      Buffer.from('{"jsonrpc":"2.0","id":1,"method":"ping","x":"'),
      Buffer.from(bytes),
      Buffer.from('"}'),
    ]);

  it.each([
    [[0x80]],
    [[0xc0, 0x80]],
    [[0xc1, 0xbf]],
    [[0xe2, 0x82]],
    [[0xed, 0xa0, 0x80]],
    [[0xf4, 0x90, 0x80, 0x80]],
    [[0xf8, 0x88, 0x80, 0x80, 0x80]],
    [[0xff]],
  ])('refuses the bytes %j, which are not UTF-8', (bytes) => {
    refusedBy('utf8', inString(...bytes));
    expect(refusal(inString(...bytes)).message).toContain('Byte 45:');
    const long = inString(...new Array<number>(300).fill(0x61), ...Buffer.from('é'.repeat(50)), ...bytes);
    refusedBy('utf8', long);
    expect(refusal(long).message).toContain('Byte 445:');
  });

  it.each<[ScanRule, string]>([
    ['surrogate', '\\ud800'],
    ['surrogate', '\\udc00'],
    ['surrogate', '\\ud83dx'],
    ['surrogate', '\\ud83d\\ud83d'],
    ['nul', '\\u0000'],
    ['escape', '\\x41'],
    ['escape', '\\u12g4'],
    ['escape', '\\U0041'],
    ['escape', '\\ud83d\\u00'],
    ['control', '\t'],
    ['control', '\0'],
    ['control', '\n'],
  ])('refuses by rule %s: %j', (rule, text) => {
    refusedBy(rule, call(`{"arguments":{"t":"${text}"}}`));
    refusedBy(rule, call(`{"arguments":{"t":"${'a'.repeat(1000)}${text}"}}`));
    refusedBy(rule, call(`{"arguments":{"${text}":1}}`));
  });

  it('accepts surrogate pairs, U+0001 to U+001F as escapes, and DEL', () => {
    expect(read(call('{"arguments":{"t":"\\ud83d\\ude00\\u001f\u007f\u{1f600}"}}')).kind).toBe('request');
  });

  it('with looseText accepts unpaired surrogates and U+0000 in values, not in keys', () => {
    expect(read(call('{"arguments":{"t":"\\ud83d \\u0000"}}'), { looseText: true }).kind).toBe('request');
    refusedBy('surrogate', call('{"arguments":{"\\ud83d":1}}'), { looseText: true });
    refusedBy('nul', call('{"arguments":{"\\u0000":1}}'), { looseText: true });
  });

  it('refuses a byte order mark', () => {
    refusedBy('bom', '\ufeff{"jsonrpc":"2.0","id":1,"method":"ping"}');
  });
});

describe('grammar', () => {
  it.each([
    '',
    ' ',
    '{',
    '{"a',
    '{"a"',
    '{"a":',
    '{"a":1',
    '{"a":1,',
    '{"a":1,}',
    '{,}',
    '{a:1}',
    "{'a':1}",
    '{"a" 1}',
    '{"a":1 "b":2}',
    '{"a":tru}',
    '{"a":nul',
    '{"a":falsy}',
    '{"a":[1,]}',
    '{"a":[1 2]}',
    '{"a":[',
    '{"a":[1',
    '{"a":"\\',
    '{"a":"\\u00',
    '{"a":undefined}',
    '{"a":/*c*/1}',
    '{"a":1}//',
    '{"jsonrpc":"2.0","id":1,"method":"ping"}{}',
    '{"jsonrpc":"2.0","id":1,"method":"ping"}\0',
    '{"jsonrpc":"2.0",\u00a0"id":1,"method":"ping"}',
    '{"jsonrpc":"2.0",\v"id":1,"method":"ping"}',
  ])('refuses %j', (text) => {
    expect(refusal(text).code).toBe('parse_error');
  });

  it('refuses every proper prefix of a message', () => {
    const whole = call('{"name":"t","arguments":{"a":[1,-2.5e3,true,false,null,"x\\u00e9\\ud83d\\ude00é"]}}');
    const bytes = Buffer.from(whole);
    for (let end = 0; end < bytes.length; end++) {
      // After the whole one: what a scan leaves behind must not complete the next body.
      expect(read(bytes).kind).toBe('request');
      expect(refusal(bytes.subarray(0, end)).code).toBe('parse_error');
    }
  });

  it('accepts white space everywhere', () => {
    const text =
      '\r\n{ "jsonrpc" : "2.0" ,\t"id" : 1 , "method" : "ping" , "params" : { "a" : [ 1 , { } , [ ] ] } } \n';
    expect(read(text).raw(Field.params)).toBe('{ "a" : [ 1 , { } , [ ] ] }');
  });
});

describe('prototype pollution', () => {
  it.each([
    '{"jsonrpc":"2.0","id":1,"method":"ping","__proto__":{}}',
    call('{"__proto__":{}}'),
    call('{"arguments":{"a":[{"__proto__":1}]}}'),
    call('{"arguments":{"__pr\\u006fto__":1}}'),
    call(`{"arguments":{${Array.from({ length: 60 }, (_, i) => `"k${i}":1`).join()},"__proto__":1}}`),
  ])('refuses the key __proto__ in %s', (text) => {
    refusedBy('proto', text);
  });
});

describe('depth, size and breadth', () => {
  it('counts the nesting of objects and arrays', () => {
    const nested = (levels: number) => call(`{"arguments":${'['.repeat(levels)}${']'.repeat(levels)}}`);
    expect(read(nested(62)).kind).toBe('request');
    refusedBy('depth', nested(63));
    refusedBy('depth', `{"a":${'{"a":'.repeat(20_000)}1${'}'.repeat(20_000)}}`);
    refusedBy('depth', `{"a":${'['.repeat(20_000)}`, { depth: 1e9 });
  });

  it('refuses a body that is larger than any cap may be', () => {
    refusedBy('size', Buffer.alloc(MAX_BODY + 1));
    expect(refusal(Buffer.alloc(MAX_BODY)).code).toBe('parse_error');
  });

  it('counts keys over the whole body', () => {
    const body = call('{"arguments":{"a":{"b":1,"c":2}}}');
    expect(read(body, { keys: 8 }).kind).toBe('request');
    refusedBy('keys', body, { keys: 7 });
  });

  it('CVE-2026-21717 (Node): a flood of names made to collide is over the cap of keys, refused before an object is made of it', () => {
    // Names that are array indexes: those whose hashes V8 let anybody choose.
    const flood = Array.from({ length: 20_000 }, (_, i) => `"${(i * 524_288) % 4_294_967_291}":0`).join(',');
    refusedBy('keys', call(`{"arguments":{${flood}}}`));
  });

  it('measures strings, short and long, with and without escapes', () => {
    for (const text of ['a'.repeat(20), 'a'.repeat(2000), 'é'.repeat(10), '\\n'.repeat(10), `${'b'.repeat(500)}\\n`]) {
      const size = Buffer.byteLength(text);
      expect(read(call(`{"arguments":{"t":"${text}"}}`), { string: Math.max(size, 10) }).kind).toBe('request');
      refusedBy('string', call(`{"arguments":{"t":"${text}"}}`), { string: size - 1 });
    }
  });
});

describe('the id to echo', () => {
  it('is known when it came before the failure', () => {
    expect(failedId(refusal('{"jsonrpc":"2.0","id":"x","method":"a","method":"b"}'))).toBe('"x"');
    expect(failedId(refusal('{"jsonrpc":"2.0","id":17,"method":'))).toBe('17');
  });

  it('is unknown when it comes later, is none, or is ambiguous', () => {
    expect(failedId(refusal('{"jsonrpc":"2.0","method":"a","method":"b","id":1}'))).toBeUndefined();
    expect(failedId(refusal('{"jsonrpc":"2.0","id":{},"method":"a"}'))).toBeUndefined();
    expect(failedId(refusal('{"jsonrpc":"2.0","id":1,"id":2,"method":"a"}'))).toBeUndefined();
    expect(failedId(refusal('{"jsonrpc":"2.0","id":1,"i\\u0064":2,"method":"a"}'))).toBeUndefined();
    expect(failedId(new Error('x'))).toBeUndefined();
  });
});

describe('against JSON.parse', () => {
  const GRAMMAR: readonly ScanRule[] = ['syntax', 'end', 'trailing', 'control', 'escape', 'number'];
  const isOurs = (error: unknown) =>
    TollgateError.is(error) &&
    (error.code === 'parse_error' || error.code === 'invalid_request') &&
    Object.values<string>(SCAN_RULES).includes(error.message.replace(/^Byte \d+: /, ''));

  /** Accepted means: valid JSON, and the arguments mean the same. Refused means: for a documented reason. */
  function agrees(body: Buffer): boolean {
    let message: Message;
    try {
      message = read(body);
    } catch (error) {
      expect(isOurs(error), String(error)).toBe(true);
      // What is refused as bad grammar is bad grammar to the other parser too.
      if (GRAMMAR.some((rule) => (error as Error).message.endsWith(SCAN_RULES[rule]))) {
        expect(() => JSON.parse(body.toString('utf8')), body.toString()).toThrow(SyntaxError);
      }
      return false;
    }
    const parsed = JSON.parse(body.toString('utf8')) as { params?: { arguments?: unknown } };
    expect(Buffer.from(body.toString('utf8')).equals(body)).toBe(true);
    expect(message.has(Field.arguments)).toBe(parsed.params?.arguments !== undefined);
    if (message.has(Field.arguments)) {
      expect(JSON.parse(message.raw(Field.arguments)!)).toEqual(parsed.params?.arguments);
    }
    return true;
  }

  const json = fc.jsonValue({ maxDepth: 6, stringUnit: 'grapheme' });

  it('accepts what JSON.stringify writes, unless a documented rule refuses it', () => {
    fc.assert(
      fc.property(json, fc.constantFrom(0, 1, 7), (value, indent) => {
        const text = JSON.stringify(
          { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 't', arguments: value } },
          undefined,
          indent,
        );
        const accepted = agrees(Buffer.from(text));
        if (!accepted) expect(text).toMatch(/__proto__|\\u0000|\\ud/);
      }),
      { numRuns: 300 },
    );
  });

  it('agrees on mutated bodies', () => {
    const piece = fc.constantFrom(
      ...['"', '\\', '{', '}', '[', ']', ',', ':', '0', '1', '-', '.', 'e', 'E', '+', ' ', '\t', '\n', '\u0000'],
      ...[
        'true',
        'null',
        '\\u0000',
        '\\ud800',
        '\\u00e9',
        'é',
        '\u{1f600}',
        '"a":1',
        '__proto__',
        '"id":2',
        '1e999',
        '//',
      ],
    );
    const mutation = fc.record({
      at: fc.nat(),
      cut: fc.nat(4),
      put: fc.oneof(
        piece.map((p) => Buffer.from(p)),
        fc.uint8Array({ maxLength: 2 }).map((b) => Buffer.from(b)),
      ),
    });
    let accepted = 0;
    fc.assert(
      fc.property(json, fc.array(mutation, { minLength: 1, maxLength: 3 }), (value, mutations) => {
        let body = Buffer.from(call(`{"name":"t","arguments":${JSON.stringify(value)}}`));
        for (const { at, cut, put } of mutations) {
          const place = at % (body.length + 1);
          body = Buffer.concat([body.subarray(0, place), put, body.subarray(place + cut)]);
        }
        if (agrees(body)) accepted++;
      }),
      { numRuns: 2000 },
    );
    expect(accepted).toBeGreaterThan(10);
  });
});
