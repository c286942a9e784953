import type { KeyObject } from 'node:crypto';
import { TollgateError } from '../core/errors.ts';
import type { KeyProvider } from './key-provider.ts';
import { parseKeys, unwrapLocally, wrapLocally, wrong } from './local-keys.ts';

/**
 * Keys in an environment variable: base64 of 32 bytes, several between commas, the first for new data keys. There is no
 * default and no passphrase: a key that people can think of, attackers can too.
 */
export function envKeys(name: string, value: string | undefined): KeyProvider {
  let parsed: Map<string, KeyObject> | undefined;

  function keys(): Map<string, KeyObject> {
    if (value === undefined || value.trim() === '') {
      throw wrong(`The environment variable ${name} is not set. Make a key with: openssl rand -base64 32`);
    }
    parsed ??= parseKeys(value, `The environment variable ${name}`);
    return parsed;
  }

  function keyOf(key: string): KeyObject {
    const found = keys().get(key);
    if (found === undefined) {
      throw wrong(`The environment variable ${name} does not hold the master key ${key} of this vault`);
    }
    return found;
  }

  return {
    kind: 'env',
    remote: false,
    keys: async () => [...keys().keys()],
    create: async () => [...keys().keys()][0]!,
    rotate: async () => [...keys().keys()][0]!,
    wrap: async (key, dataKey, context) => wrapLocally(keyOf(key), dataKey, context),
    unwrap: async (key, wrapped, context) => unwrapLocally(keyOf(key), wrapped, context),
    destroy: async (key) => {
      if (!keys().has(key)) return;
      throw new TollgateError('usage', `Take the key ${key} out of the environment variable ${name}; then repeat this`);
    },
    close: async () => {
      parsed = undefined;
    },
  };
}
