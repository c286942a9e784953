/** Where the vault's master key is. */

import { UnitError } from '../units.ts';
import { either, parsed, section, text } from './kit.ts';

const VARIABLE = 'TOLLGATE_MASTER_KEY';

const keysText = parsed('a key provider', 'file', (value) => {
  if (value === 'file' || value === 'env') return value;
  throw new UnitError('This is no key provider.', 'Write file, env, or a map.');
});

const keysMap = section({
  file: text('a file', './master.key')
    .optional()
    .describe(
      'A file that only its owner reads (0600), made with the first secret. Default `master.key` in `dataDir`.',
    ),
  env: parsed('the name of a variable', VARIABLE, (value) => {
    if (/^[A-Za-z_][A-Za-z0-9_]*$/.test(value)) return value;
    throw new UnitError('This is no name of a variable.', `For example ${VARIABLE}.`);
  })
    .optional()
    .describe(
      'A variable with 32 bytes in base64; several between commas, the newest first. `env` alone: `TOLLGATE_MASTER_KEY`.',
    ),
});

export const vault = section({
  keys: either(keysText, keysMap, 'Must be file, env, or a map')
    .prefault('file')
    .describe('Who holds the master key: `file`, `env`, or a map with one of the keys below.'),
});
