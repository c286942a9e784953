import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { CONTROL, canary, canaryIn, sweep } from './canaries.ts';
import { temporaryDirectory } from './temporary-directory.ts';

const SPELLINGS: Readonly<Record<string, (text: string) => string>> = {
  'as it is': (text) => text,
  'in hexadecimal': (text) => Buffer.from(text).toString('hex'),
  'in Base64': (text) => Buffer.from(text).toString('base64'),
  'in Base64 after a byte': (text) => Buffer.from(`k${text}!`).toString('base64url'),
  'in Base64 after two bytes': (text) => Buffer.from(`kk${text}!`).toString('base64url'),
};

it.each(Object.keys(SPELLINGS))('a canary is found %s', (name) => {
  const spelled = SPELLINGS[name]!;
  expect(canaryIn(`before ${spelled(canary('x'))} after`)).toContain('before');
  expect(canaryIn(`before ${spelled('some-other-secret-0123456789abcdef')} after`)).toBeUndefined();
});

it('a sweep finds what stands across two pieces of a file, and says whether the control is there', async () => {
  await using folder = await temporaryDirectory('sweep');
  expect(await sweep(folder.path)).toEqual({ found: [], control: false });
  await writeFile(join(folder.path, 'log'), `${'a'.repeat(1024 * 1024 - 10)}${canary('cut')}${CONTROL}`);
  expect(await sweep(folder.path)).toMatchObject({ found: [expect.stringContaining('log: aaa')], control: true });
});
