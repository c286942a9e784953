import { describe, expect, it } from 'vitest';
import { parseLossless } from '../protocol/json/lossless.ts';
import { canonicalJson } from './canonical-json.ts';

const canonical = (text: string) => canonicalJson(parseLossless(text, true));

describe('canonical JSON', () => {
  it('is that of RFC 8785, section 3.2', () => {
    const input = `{ "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
      "string": "\\u20ac$\\u000F\\u000aA'\\u0042\\u0022\\u005c\\\\\\"\\/", "literals": [null, true, false] }`;
    expect(canonical(input)).toBe(
      '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}',
    );
  });

  it('orders members by UTF-16 code units, and arrays not at all', () => {
    expect(canonical('{"\\u20ac":1,"\\r":2,"\\ufb33":3,"1":4,"\\ud83d\\ude00":5,"\\u0080":6,"\\u00f6":7}')).toBe(
      '{"\\r":2,"1":4,"\u0080":6,"ö":7,"€":1,"😀":5,"\ufb33":3}',
    );
    expect(canonical('{"b":[2,1],"a":{"d":1,"c":2}}')).toBe('{"a":{"c":2,"d":1},"b":[2,1]}');
  });

  it.each([
    ['1.0', '1'],
    ['1e2', '100'],
    ['100', '100'],
    ['-0', '0'],
    ['0.10', '0.1'],
    ['1E-7', '1e-7'],
  ])('writes the number %s as ECMAScript does', (text, expected) => {
    expect(canonical(text)).toBe(expected);
  });

  it('keeps numbers apart that a double would make one', () => {
    expect(canonical('9007199254740993')).not.toBe(canonical('9007199254740992'));
    expect(canonical('9007199254740993')).toBe(canonical('9007199254740993.0'));
    expect(canonical('1e400')).not.toBe(canonical('1e401'));
  });

  it('takes a member __proto__ like any other', () => {
    expect(canonical('{"__proto__":{"x":1}}')).toBe('{"__proto__":{"x":1}}');
  });
});
