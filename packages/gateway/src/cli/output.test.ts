import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { expect, it } from 'vitest';
import { TollgateError } from '../core/errors.ts';
import { failureText } from './output.ts';
import { adminToken } from './running.ts';

const failureOf = async (promise: Promise<unknown>): Promise<string> =>
  failureText(
    await promise.then(
      () => expect.unreachable('it should fail'),
      (error: unknown) => TollgateError.from(error),
    ),
  );

it('a place that cannot be written to is a sentence with its way out, and no stack trace', async () => {
  await using folder = await temporaryDirectory('output');
  await writeFile(join(folder.path, 'file'), '');
  const text = await failureOf(adminToken(join(folder.path, 'file', 'data')));
  expect(text).toMatch(/^The system says: ENOTDIR: .*\. Choose another place, for example with `dataDir`\.$/);
  for (const [code, way] of Object.entries({
    ENOSPC: 'Make room on the disk',
    EFBIG: 'ulimit -f',
    EACCES: 'Give this user',
  })) {
    const full = Object.assign(new Error(`${code}: what the system says, write`), { code, syscall: 'write' });
    const said = failureText(TollgateError.from(full));
    expect([said.split('\n').length, said.includes(way)], code).toEqual([1, true]);
  }
});

it('what nobody expected shows where it came from', async () => {
  expect(await failureOf(Promise.reject(new TypeError('x is not a function')))).toMatch(/report this[\s\S]*\n +at /);
  // A code of its own is not one of the system.
  const own = Object.assign(new Error('mine'), { code: 'EACCES' });
  expect(failureText(TollgateError.from(own))).toContain('failed unexpectedly');
});
