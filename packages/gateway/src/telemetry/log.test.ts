import { describe, expect, it } from 'vitest';
import { createLog, type LogOptions } from './log.ts';

function capture(options: LogOptions = {}) {
  const lines: string[] = [];
  return { lines, log: createLog({ ...options, write: (line) => lines.push(line) }) };
}

describe('the log', () => {
  it('writes one JSON line per event, from the level up', () => {
    const { lines, log } = capture();
    log.debug({}, 'not shown');
    log.child({ server: 'files' }).warn({ pending: 3 }, 'slow %s');
    expect(lines).toHaveLength(1);
    expect(lines[0]!.endsWith('\n')).toBe(true);
    expect(JSON.parse(lines[0]!)).toEqual({
      level: 'warn',
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      server: 'files',
      pending: 3,
      msg: 'slow %s',
    });
    capture({ level: 'silent' }).log.error({}, 'x');
  });

  it('writes no secret, wherever it stands', () => {
    const { lines, log } = capture();
    const error = new Error('POST https://user:hunter2@h/x?api_key=hunter2&n=1 failed', {
      cause: new Error('Authorization: Bearer hunter2hunter2'),
    });
    log.child({ token: 'hunter2' }).error(
      {
        err: error,
        headers: { Authorization: 'hunter2', 'x-api-key': 'hunter2', cookie: ['hunter2'] },
        deep: { oauth: { access_token: { value: 'hunter2' } } },
        url: new URL('https://hunter2@h/'),
        tokens: 12,
      },
      'sent Bearer hunter2hunter2',
    );
    expect(lines[0]).not.toContain('hunter2');
    expect(JSON.parse(lines[0]!)).toMatchObject({
      tokens: 12,
      msg: 'sent Bearer [secret]',
      err: {
        name: 'Error',
        message: 'POST https://[secret]@h/x?api_key=[secret]&n=1 failed',
        cause: { name: 'Error' },
      },
    });
  });

  it('keeps lines bounded and survives what cannot be written as JSON', () => {
    const { lines, log } = capture();
    const loop: Record<string, unknown> = { big: 10n, call() {}, text: 'x'.repeat(1e6), bytes: Buffer.alloc(1e6) };
    loop['self'] = loop;
    log.info(
      {
        loop,
        many: Array.from({ length: 1000 }, () => 1),
        keys: Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [i, i])),
      },
      'x',
    );
    expect(lines[0]!.length).toBeLessThan(40_000);
    expect(JSON.parse(lines[0]!).loop).toMatchObject({ big: '10', bytes: '[1000000 bytes]' });
  });

  it('is plain lines on a terminal, without anything that could steer it', () => {
    const { lines, log } = capture({ pretty: true });
    log.warn({ server: 'files', why: 'a b', err: new Error('\u001b[31mred\u009b') }, 'started\u0007\u001b]0;x');
    expect(lines[0]).toMatch(/^\d\d:\d\d:\d\d WARN started\]0;x {2}server=files {2}why="a b" {2}err=\{/);
    expect(lines[0]).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
    log.info({ name: 'a\n12:00:00 forged' }, 'one\n12:00:00 forged\u2028two\u202eturned');
    expect(lines[1]).toMatch(/^\d\d:\d\d:\d\d one\n {4}12:00:00 forgedtwoturned {2}name="a\\n12:00:00 forged"\n$/);
  });
});
