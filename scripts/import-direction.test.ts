import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { verifies } from '@tollgate/testkit/verifies';
import { expect, it } from 'vitest';
import { breaches, SOURCES } from './import-direction.ts';

it('the rooms are separate: imports point downwards, and no room imports another', () => {
  verifies('R1-52');
  expect(breaches(SOURCES)).toEqual([]);
});

it('finds imports that point upwards, sideways, and folders that are no rooms', async () => {
  await using folder = await temporaryDirectory('rooms');
  const write = (file: string, text: string): void => {
    mkdirSync(join(folder.path, file, '..'), { recursive: true });
    writeFileSync(join(folder.path, file), text);
  };
  write('core/up.ts', "import { x } from '../pipeline/x.ts';");
  write('catalog/side.ts', "export type { Y } from '../routing/y.ts';");
  write('routing/lazy.ts', "const z = await import('../cli/z.ts');");
  write('strange/a.ts', '');
  write('pipeline/fine.ts', "import { a } from '../core/a.ts';");
  expect(breaches(folder.path).sort()).toEqual([
    'catalog/side.ts imports routing/y.ts: catalog may not use routing',
    'core/up.ts imports pipeline/x.ts: core may not use pipeline',
    'routing/lazy.ts imports cli/z.ts: routing may not use cli',
    'strange/a.ts: strange is not a room of docs/architecture.md',
  ]);
});
