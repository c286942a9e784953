import { createFakeClock } from '@tollgate/testkit/fake-clock';
import { describe, expect, it } from 'vitest';
import { rememberingLog } from './fixtures/rig.ts';
import { plainText, StderrTail, tellingLine } from './stderr-tail.ts';

describe('what a child writes to stderr', () => {
  it('is logged a bounded number of times a second, and what was left out is counted', () => {
    const log = rememberingLog();
    const clock = createFakeClock();
    const tail = new StderrTail(log, clock, []);
    for (let i = 0; i < 1000; i++) tail.push(Buffer.from(`line ${i}\n`));
    expect(log.lines).toHaveLength(100);
    clock.advance(1000);
    tail.push(Buffer.from('later\n'));
    expect(log.lines.slice(-2)).toMatchObject([{ level: 'warn', fields: { lines: 900 } }, { message: 'later' }]);
    expect(tail.lines).toHaveLength(20);
    expect(tail.lines.at(-1)).toBe('later');
  });

  it('loses what drives a terminal or forges a log line', () => {
    expect(plainText('\u001b[31mred\u001b[0m\u001b]0;title\u0007 a\rb\u009bc\u0000\tend')).toBe('red abc\tend');
    expect(plainText('a\u2028b\u202ec\u2066d')).toBe('abcd');
    expect(plainText('x'.repeat(5000))).toHaveLength(1001);
  });

  it.each([
    [
      [
        '/app/x.js:1',
        'throw new Error("no key")',
        '^',
        '',
        'Error: no key',
        '    at Object.<anonymous> (/app/x.js:1:7)',
        '',
        'Node.js v24.21.0',
      ],
      'Error: no key',
    ],
    [
      [
        'TypeError [ERR_UNKNOWN_FILE_EXTENSION]: Unknown file extension ".ts" for /app/x.ts',
        '    at Object.getFileProtocolModuleFormat (node:internal/modules/esm/get_format:189:9) {',
        "  code: 'ERR_UNKNOWN_FILE_EXTENSION'",
        '}',
        'Node.js v20.20.2',
      ],
      'TypeError [ERR_UNKNOWN_FILE_EXTENSION]: Unknown file extension ".ts" for /app/x.ts',
    ],
    [['Traceback (most recent call last):', '  File "x.py", line 1', "KeyError: 'TOKEN'"], "KeyError: 'TOKEN'"],
    [
      ["npm error 404  'nope@*' is not in this registry.", 'npm error A complete log of this run can be found in: /x'],
      "npm error 404  'nope@*' is not in this registry.",
    ],
    [['listening', 'bye'], 'bye'],
    [['Node.js v24.21.0'], 'Node.js v24.21.0'],
    [[], undefined],
  ])('has one line that says why: %#', (lines, line) => {
    expect(tellingLine(lines)).toBe(line);
  });
});
