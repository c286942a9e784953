import { describe, expect, it } from 'vitest';
import { oneLine, plainJson, withoutControls } from './plain-text.ts';

const STEERING = [...Array.from({ length: 0xa0 }, (_, code) => code), 0x61c, 0x200e, 0x200f, 0x2028, 0x2029]
  .concat([0x202a, 0x202e, 0x2066, 0x2069])
  .filter((code) => (code < 0x20 || code > 0x7e) && code !== 9 && code !== 10)
  .map((code) => String.fromCharCode(code));

describe('text for terminals and logs', () => {
  it('loses every control but tab and line feed', () => {
    for (const character of STEERING) expect(withoutControls(`a${character}b\t\nc`)).toBe('ab\t\nc');
    expect(withoutControls('größe 世界 👍')).toBe('größe 世界 👍');
  });

  it('is one line when it must be, whatever somebody takes for a line break', () => {
    for (const lineBreak of ['\n', '\r', '\r\n', '\u000b', '\u000c', '\u0085', '\u2028', '\u2029']) {
      expect(oneLine(`a${lineBreak}b`)).toBe('a b');
    }
    for (const character of STEERING) expect(oneLine(`a${character}b`)).toMatch(/^a ?b$/);
  });

  it('is the same value as JSON, with every control escaped', () => {
    const value = { [STEERING.join('')]: STEERING };
    const text = plainJson(value);
    expect(JSON.parse(text)).toEqual(value);
    expect(withoutControls(text)).toBe(text);
    expect(text).not.toContain('\n');
  });
});
