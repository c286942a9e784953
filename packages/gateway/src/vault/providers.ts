import { randomBytes } from 'node:crypto';
import { envKeys } from './env-keys.ts';
import { fileKeys } from './file-keys.ts';
import type { KeyProvider } from './key-provider.ts';
import type { KeyOptions } from './options.ts';

/** The key provider of a configuration. Opens nothing: what is wrong with it shows when a key is needed. */
export function createKeyProvider(keys: KeyOptions): KeyProvider {
  switch (keys.kind) {
    case 'file':
      return fileKeys(keys.file);
    case 'env':
      return envKeys(keys.name, keys.value);
  }
}

/** A key that ends with the process, for records that do too. */
export function ephemeralKeys(): KeyProvider {
  return envKeys('of this process', randomBytes(32).toString('base64'));
}
