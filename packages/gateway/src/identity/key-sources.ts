/** Where keys come from: a secret, a PEM, a JWK set in the file, in a file of its own, at a URL, or by discovery. */
import { createPublicKey, createSecretKey, type KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { CryptoKey } from 'jose';
import type { Egress } from '../core/egress.ts';
import { TollgateError } from '../core/errors.ts';
import { type KeyHeader, KeySet, type KeySetDeps, readKeySet } from './key-set.ts';
import type { MethodView } from './method.ts';
import type { TokenEntry } from './options.ts';

const MAX_BYTES = 256 * 1024;
const TIMEOUT = 5000;

export type VerificationKey = CryptoKey | KeyObject;

export interface KeySource {
  readonly revision: number;
  readonly view: MethodView | undefined;
  get(header: KeyHeader): VerificationKey | undefined | Promise<VerificationKey | 'unavailable' | undefined>;
  close(): void;
}

/** Makes the source of an entry's keys. Fetches begin at once, and nobody waits for them but who needs a key. */
export function keySourceOf(
  { name, keys, rules }: TokenEntry,
  deps: Omit<KeySetDeps, 'entry' | 'load'> & { readonly egress: Egress },
): KeySource {
  const { egress, clock, log } = deps;
  const set = (load: () => Promise<unknown>): KeySource => new KeySet({ entry: name, clock, log, load });
  switch (keys.kind) {
    case 'secret':
      return fixed(createSecretKey(keys.secret, 'utf8'));
    case 'publicKey':
      return fixed(createPublicKey(keys.pem));
    case 'inline':
      return set(async () => keys.jwks);
    case 'file':
      requireKeys(keys.path, name);
      return set(async () => parsed(await readFile(keys.path, 'utf8'), keys.path));
    case 'url':
      return set(() => fetchJson(egress, keys.url));
    case 'discovery':
      return set(() => discover(egress, rules.issuer));
  }
}

function fixed(key: VerificationKey): KeySource {
  return { revision: 0, view: undefined, get: () => key, close: () => {} };
}

/** An issuer may come later; a file that is not there is a mistake of the configuration. */
function requireKeys(path: string, entry: string): void {
  try {
    readKeySet(parsed(readFileSync(path, 'utf8'), path));
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : 'it cannot be read';
    throw new TollgateError('config_invalid', `The keys of the auth entry ${entry} cannot be used: ${why}`, { cause });
  }
}

/** OpenID Connect Discovery 1.0 section 4: whoever answers must call itself exactly what the configuration calls it. */
async function discover(egress: Egress, issuer: string): Promise<unknown> {
  const metadata = await fetchJson(egress, `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`);
  const { issuer: named, jwks_uri: uri } = metadata as { issuer?: unknown; jwks_uri?: unknown };
  if (named !== issuer) {
    const shown = typeof named === 'string' ? JSON.stringify(named.slice(0, 200)) : 'nothing';
    throw new Error(`the metadata at ${issuer} names another issuer: ${shown}`);
  }
  if (typeof uri !== 'string') throw new Error(`the metadata of ${issuer} names no jwks_uri`);
  return await fetchJson(egress, uri);
}

async function fetchJson(egress: Egress, url: string): Promise<unknown> {
  const response = await egress(url, {
    headers: { accept: 'application/json' },
    maxBytes: MAX_BYTES,
    timeout: TIMEOUT,
  });
  if (response.status !== 200) {
    throw new TollgateError('egress_failed', `${url} answered with HTTP ${response.status}`);
  }
  return parsed(await response.text(), url);
}

function parsed(text: string, where: string): unknown {
  const value = text.length > MAX_BYTES ? undefined : (JSON.parse(text) as unknown);
  if (typeof value !== 'object' || value === null)
    throw new Error(`${where} is no JSON object of at most ${MAX_BYTES} bytes`);
  return value;
}
