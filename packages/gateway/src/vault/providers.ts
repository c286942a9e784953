import { randomBytes } from 'node:crypto';
import { envKeys } from './env-keys.ts';
import { fileKeys } from './file-keys.ts';
import { processChannel, socketChannel } from './json-lines.ts';
import type { KeyProvider } from './key-provider.ts';
import type { KeyOptions } from './options.ts';
import { remoteKeys } from './remote-keys.ts';
import { transitKeys } from './transit-keys.ts';

/** The key provider of a configuration. Opens nothing: what is wrong with it shows when a key is needed. */
export function createKeyProvider(keys: KeyOptions): KeyProvider {
  switch (keys.kind) {
    case 'file':
      return fileKeys(keys.file);
    case 'env':
      return envKeys(keys.name, keys.value);
    case 'command':
      return remoteKeys('command', () => processChannel(keys.command, keys.cwd));
    case 'socket':
      return remoteKeys('socket', () => socketChannel(keys.path));
    case 'transit':
      return transitKeys(keys);
  }
}

/** A key that ends with the process, for records that do too. */
export function ephemeralKeys(): KeyProvider {
  return envKeys('of this process', randomBytes(32).toString('base64'));
}
