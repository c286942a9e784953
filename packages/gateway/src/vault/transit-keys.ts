/** The transit engine of HashiCorp Vault or OpenBao as key provider: the master key never leaves it. */
import { readFile } from 'node:fs/promises';
import { Agent, request } from 'undici';
import { TollgateError } from '../core/errors.ts';
import type { KeyProvider } from './key-provider.ts';
import { wrong } from './local-keys.ts';
import type { TransitOptions } from './options.ts';

const PATIENCE = 5_000;
const MAX_ANSWER = 256 * 1024;

interface KeyFacts {
  readonly latest_version: number;
  readonly min_decryption_version: number;
  readonly derived: boolean;
}

/**
 * The key must be derived (`derived=true`): the engine then makes a key of its own for every context, which binds a data
 * key to its record. A key is named `mount/name:vN`, after the engine's version of it.
 */
export function transitKeys(options: TransitOptions): KeyProvider {
  const { url, mount, key, namespace } = options;
  const where = `Vault transit at ${new URL(url).host}`;
  let agent: Agent | undefined;

  async function connection(): Promise<Agent> {
    if (agent !== undefined) return agent;
    const ca = options.ca === undefined ? undefined : await readText(options.ca);
    agent ??= new Agent({ connect: { timeout: PATIENCE, ...(ca === undefined ? {} : { ca }) }, connections: 8 });
    return agent;
  }

  async function readText(file: string): Promise<string> {
    return readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
      throw away(`needs ${file}, which cannot be read (${error.code ?? 'unknown'})`);
    });
  }

  function away(why: string, cause?: unknown): TollgateError {
    return new TollgateError('vault_unavailable', `${where} ${why}`, { cause, retryAfterSeconds: 5 });
  }

  async function call(method: 'GET' | 'POST', path: string, body?: object): Promise<Readonly<Record<string, unknown>>> {
    const token = (await readText(options.tokenFile)).trim();
    let status: number;
    let text: string;
    try {
      const response = await request(`${url}/v1/${mount}/${path}`, {
        method,
        dispatcher: await connection(),
        headers: {
          'x-vault-token': token,
          'x-vault-request': 'true',
          ...(namespace === undefined ? {} : { 'x-vault-namespace': namespace }),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        headersTimeout: PATIENCE,
        bodyTimeout: PATIENCE,
        signal: AbortSignal.timeout(2 * PATIENCE),
      });
      status = response.statusCode;
      text = await capped(response.body);
    } catch (error) {
      if (TollgateError.is(error)) throw error;
      throw away('does not answer', error);
    }
    if (status === 404)
      throw wrong(`${where} has no key ${mount}/${key}. Make it: vault write -f ${mount}/keys/${key} derived=true`);
    if (status === 403) throw away('refuses the token: it may lack a policy, or have ended');
    // What cannot be decrypted is 400; sealed, standby, busy and broken are none of the record's fault.
    if (status === 400) throw wrong(`${where} refuses: ${reasonOf(text)}`);
    if (status >= 300) throw away(`answers ${status}`);
    if (text === '') return {};
    try {
      return ((JSON.parse(text) as { data?: unknown }).data ?? {}) as Readonly<Record<string, unknown>>;
    } catch (error) {
      throw away('answers with something else', error);
    }
  }

  async function capped(body: AsyncIterable<Buffer>): Promise<string> {
    const chunks: Buffer[] = [];
    let length = 0;
    for await (const chunk of body) {
      length += chunk.length;
      if (length > MAX_ANSWER) throw away('answers too much');
      chunks.push(chunk);
    }
    return Buffer.concat(chunks).toString();
  }

  async function facts(): Promise<KeyFacts> {
    const found = (await call('GET', `keys/${key}`)) as unknown as Partial<KeyFacts>;
    if (!Number.isSafeInteger(found.latest_version) || !Number.isSafeInteger(found.min_decryption_version)) {
      throw away('answers with something else');
    }
    if (found.derived !== true) {
      throw wrong(
        `The key ${mount}/${key} of ${where} is not derived, so that a data key would not be bound to its record. Make another: vault write -f ${mount}/keys/NAME derived=true`,
      );
    }
    return found as KeyFacts;
  }

  const nameOf = (version: number): string => `${mount}/${key}:v${version}`;
  function versionOf(name: string): number {
    const prefix = `${mount}/${key}:v`;
    const version = name.startsWith(prefix) ? Number(name.slice(prefix.length)) : Number.NaN;
    if (!Number.isSafeInteger(version))
      throw wrong(`This vault was made with the key ${name}, not with ${mount}/${key} of ${where}`);
    return version;
  }

  return {
    kind: 'transit',
    remote: true,
    async keys() {
      const { latest_version: latest, min_decryption_version: oldest } = await facts();
      return Array.from({ length: latest - Math.max(1, oldest) + 1 }, (_, i) => nameOf(latest - i));
    },
    async create() {
      return nameOf((await facts()).latest_version);
    },
    async rotate() {
      await facts();
      await call('POST', `keys/${key}/rotate`, {});
      return nameOf((await facts()).latest_version);
    },
    async wrap(name, dataKey, context) {
      const { ciphertext } = await call('POST', `encrypt/${key}`, {
        plaintext: dataKey.toString('base64'),
        context: context.toString('base64'),
        key_version: versionOf(name),
      });
      if (typeof ciphertext !== 'string' || !ciphertext.startsWith(`vault:v${versionOf(name)}:`)) {
        throw away('wraps with something else');
      }
      return ciphertext;
    },
    async unwrap(name, wrapped, context) {
      if (!wrapped.startsWith(`vault:v${versionOf(name)}:`)) throw wrong('A wrapped data key of the vault was changed');
      const { plaintext } = await call('POST', `decrypt/${key}`, {
        ciphertext: wrapped,
        context: context.toString('base64'),
      });
      if (typeof plaintext !== 'string') throw away('unwraps to something else');
      return Buffer.from(plaintext, 'base64');
    },
    async destroy(name) {
      const next = versionOf(name) + 1;
      const { min_decryption_version: oldest } = await facts();
      if (oldest >= next) return;
      await call('POST', `keys/${key}/config`, { min_decryption_version: next, min_encryption_version: next });
      await call('POST', `keys/${key}/trim`, { min_available_version: next });
    },
    async close() {
      await agent?.destroy();
      agent = undefined;
    },
  };
}

/** The engine's own words: they name no secret, and are cut. */
function reasonOf(text: string): string {
  try {
    const { errors } = JSON.parse(text) as { errors?: unknown };
    return Array.isArray(errors) ? errors.join('; ').slice(0, 300) : 'no reason given';
  } catch {
    return 'no reason given';
  }
}
