/**
 * A key provider in another process: a helper for a KMS, a PKCS#11 token or a service. It speaks lines of JSON, shaped as
 * the KMS plugins of Kubernetes: `status`, `wrap`, `unwrap`, and where it can `create`, `rotate`, `destroy`
 * (`docs/vault.md`). No native module of an HSM enters the gateway.
 */
import { TollgateError } from '../core/errors.ts';
import { type Channel, JsonLines } from './json-lines.ts';
import type { KeyProvider } from './key-provider.ts';

const MAX_KEYS = 1000;
const MAX_WRAPPED = 16 * 1024;

export function remoteKeys(kind: 'command' | 'socket', open: () => Channel, patience?: number): KeyProvider {
  const lines = new JsonLines(`The key provider (${kind})`, open, patience);

  function bad(what: string): TollgateError {
    return new TollgateError('vault_unavailable', `The key provider (${kind}) answers ${what} with something else`);
  }

  async function ask(method: string, params: object, member: string, most: number): Promise<string> {
    const result = (await lines.request(method, params)) as Readonly<Record<string, unknown>> | null;
    const value = result?.[member];
    if (typeof value !== 'string' || value === '' || value.length > most) throw bad(method);
    return value;
  }

  return {
    kind,
    remote: true,
    async keys() {
      const { keys } = ((await lines.request('status', {})) ?? {}) as { keys?: unknown };
      const fine =
        Array.isArray(keys) && keys.length <= MAX_KEYS && keys.every((key) => typeof key === 'string' && key !== '');
      if (!fine) throw bad('status');
      return keys as string[];
    },
    create: () => ask('create', {}, 'key', 300),
    rotate: () => ask('rotate', {}, 'key', 300),
    wrap: (key, dataKey, context) =>
      ask(
        'wrap',
        { key, plaintext: dataKey.toString('base64'), context: context.toString('base64') },
        'wrapped',
        MAX_WRAPPED,
      ),
    async unwrap(key, wrapped, context) {
      const text = await ask('unwrap', { key, wrapped, context: context.toString('base64') }, 'plaintext', 1024);
      return Buffer.from(text, 'base64');
    },
    async destroy(key) {
      await lines.request('destroy', { key });
    },
    async close() {
      lines.close();
    },
  };
}
