import { expect, it } from 'vitest';
import { programName, shellWord } from './next-command.ts';

it.each([
  ['from a shell', {}, '/work', 'tollgate'],
  [
    'npm start in a checkout',
    { npm_command: 'start', npm_config_local_prefix: '/src/tollgate' },
    '/src/tollgate',
    'npx tollgate',
  ],
  ['npx in a folder of it', { npm_command: 'exec', npm_config_local_prefix: '/work' }, '/work/deep', 'npx tollgate'],
  [
    'npx --prefix',
    { npm_command: 'exec', npm_config_local_prefix: '/src/tollgate' },
    '/work',
    'npx --prefix /src/tollgate tollgate',
  ],
  [
    'a neighbour of the same beginning',
    { npm_command: 'exec', npm_config_local_prefix: '/src/a' },
    '/src/ab',
    'npx --prefix /src/a tollgate',
  ],
  [
    'a folder with a space',
    { npm_command: 'exec', npm_config_local_prefix: '/my src' },
    '/work',
    "npx --prefix '/my src' tollgate",
  ],
  ['an npm that does not say', { npm_command: 'exec' }, '/work', 'npx tollgate'],
])('%s', (_, env, cwd, program) => {
  expect(programName(env, cwd)).toBe(program);
});

it('a word that a shell would read otherwise is quoted', () => {
  expect(['tollgate.yaml', 'search/*', "it's", ''].map(shellWord)).toEqual([
    'tollgate.yaml',
    "'search/*'",
    "'it'\\''s'",
    "''",
  ]);
});
