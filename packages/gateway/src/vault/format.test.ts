/**
 * A second implementation of the sealed form, written from the words of docs/vault.md and over WebCrypto: it shares no code
 * with the vault but the bytes. Each opens what the other sealed.
 */
import { createSecretKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { verifies } from '@tollgate/testkit';
import { expect, it } from 'vitest';
import { open, type Place, seal } from './envelope.ts';
import { keyName, unwrapLocally, wrapLocally } from './local-keys.ts';

type Bytes = Uint8Array<ArrayBuffer>;
const { subtle } = crypto;
const NONE = new Uint8Array(0);
const ALGORITHM = 'AES-256-GCM+HKDF-SHA256-commit';

const utf8 = (text: string): Bytes => new TextEncoder().encode(text);
const base64url = (bytes: Bytes): string => Buffer.from(bytes).toString('base64url');
const decoded = (text: string): Bytes => new Uint8Array(Buffer.from(text, 'base64url'));

function number(value: number): Bytes {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, false);
  return bytes;
}

function joined(...parts: readonly Bytes[]): Bytes {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

const behindLengths = (...parts: readonly string[]): Bytes =>
  joined(...parts.map(utf8).flatMap((part) => [number(part.length), part]));

async function hkdf(secret: Bytes, salt: Bytes, info: Bytes): Promise<Bytes> {
  const key = await subtle.importKey('raw', secret, 'HKDF', false, ['deriveBits']);
  return new Uint8Array(await subtle.deriveBits({ name: 'HKDF', hash: 'SHA-256', salt, info }, key, 256));
}

async function nameOf(master: Bytes): Promise<string> {
  const key = await subtle.importKey('raw', master, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']);
  const mac = new Uint8Array(await subtle.sign('HMAC', key, utf8('tollgate master key name')));
  return `local-${Buffer.from(mac).toString('hex').slice(0, 16)}`;
}

const partsOf = ({ ownerKind, owner, record, purpose, name, version }: Place): string[] => {
  return [ownerKind, owner, record, purpose, name, String(version)];
};
const contextOf = (place: Place): Bytes => behindLengths('tgv1', ALGORITHM, ...partsOf(place));

async function wrappingKey(master: Bytes, salt: Bytes, place: Place, name: string, version: string) {
  const context = behindLengths('tgv1-wrap', ALGORITHM, ...partsOf(place), name, version);
  const derived = await hkdf(master, salt, joined(utf8('tollgate wrap '), context));
  return subtle.importKey('raw', derived, 'AES-KW', false, ['wrapKey', 'unwrapKey']);
}

const gcmKey = async (dataKey: Bytes) =>
  subtle.importKey('raw', await hkdf(dataKey, NONE, utf8('tgv1 encrypt')), 'AES-GCM', false, ['encrypt', 'decrypt']);
const commitmentOf = (dataKey: Bytes, place: Place): Promise<Bytes> =>
  hkdf(dataKey, NONE, joined(utf8('tgv1 commit '), contextOf(place)));

async function opened(text: string, master: Bytes, place: Place): Promise<string> {
  const [format, version, ...rest] = text.split('.');
  expect(format).toBe('tgv1');
  const [name, wrapped, nonce, ciphertext, tag, commitment] = rest.map(decoded);
  expect(new TextDecoder().decode(name)).toBe(await nameOf(master));
  const salted = decoded(new TextDecoder().decode(wrapped));
  const wrapping = await wrappingKey(master, salted.slice(0, 16), place, await nameOf(master), version!);
  const any = { name: 'HMAC', hash: 'SHA-256' };
  const unwrapped = await subtle.unwrapKey('raw', salted.slice(16), wrapping, 'AES-KW', any, true, ['sign']);
  const dataKey = new Uint8Array(await subtle.exportKey('raw', unwrapped));
  expect(commitment).toEqual(await commitmentOf(dataKey, place));
  const gcm = { name: 'AES-GCM', iv: nonce!, additionalData: contextOf(place), tagLength: 128 };
  const padded = new Uint8Array(await subtle.decrypt(gcm, await gcmKey(dataKey), joined(ciphertext!, tag!)));
  expect(padded.length % 64).toBe(0);
  const length = new DataView(padded.buffer).getUint32(0, false);
  expect(padded.subarray(4 + length).every((byte) => byte === 0)).toBe(true);
  return new TextDecoder().decode(padded.subarray(4, 4 + length));
}

async function sealed(value: string, master: Bytes, place: Place): Promise<string> {
  const dataKey = crypto.getRandomValues(new Uint8Array(32));
  const [nonce, salt] = [12, 16].map((length) => crypto.getRandomValues(new Uint8Array(length)));
  const plain = utf8(value);
  const padded = new Uint8Array(Math.ceil((plain.length + 4) / 64) * 64);
  padded.set(joined(number(plain.length), plain));
  const gcm = { name: 'AES-GCM', iv: nonce!, additionalData: contextOf(place), tagLength: 128 };
  const encrypted = new Uint8Array(await subtle.encrypt(gcm, await gcmKey(dataKey), padded));
  const name = await nameOf(master);
  const wrapping = await wrappingKey(master, salt!, place, name, '1');
  const any = { name: 'HMAC', hash: 'SHA-256', length: 256 };
  const carried = await subtle.importKey('raw', dataKey, any, true, ['sign']);
  const wrapped = new Uint8Array(await subtle.wrapKey('raw', carried, wrapping, 'AES-KW'));
  const parts = [
    utf8(name),
    utf8(base64url(joined(salt!, wrapped))),
    nonce!,
    encrypted.slice(0, -16),
    encrypted.slice(-16),
    await commitmentOf(dataKey, place),
  ];
  return ['tgv1', '1', ...parts.map(base64url)].join('.');
}

const page = readFileSync(new URL('../../../../docs/vault.md', import.meta.url), 'utf8');
const vector = JSON.parse(/```json\n(\{\n {2}"masterKey"[^`]+)```/.exec(page)![1]!) as Place & {
  readonly masterKey: string;
  readonly value: string;
  readonly sealed: string;
};
const master = decoded(vector.masterKey);
const key = createSecretKey(master);
const kek = {
  version: 1,
  key: keyName(Buffer.from(master)),
  wrap: async (dataKey: Buffer, context: Buffer) => wrapLocally(key, dataKey, context),
  unwrap: async (wrapped: string, context: Buffer) => unwrapLocally(key, wrapped, context),
};

it('the vector of the documentation opens, by its words and by the vault', async () => {
  verifies('R2-12');
  expect(await opened(vector.sealed, master, vector)).toBe(vector.value);
  expect((await open(vector.sealed, vector, kek)).toString()).toBe(vector.value);
});

it.each([
  '',
  'x',
  'ä'.repeat(30),
  'y'.repeat(60),
  'z'.repeat(61),
  'long '.repeat(5000),
])('each opens what the other sealed (%.9s)', async (value) => {
  const place: Place = { ...vector, owner: 'zoë\u0000acme', name: 'a.b', version: 17 };
  expect(await opened(await seal(Buffer.from(value), place, kek), master, place)).toBe(value);
  expect((await open(await sealed(value, master, place), place, kek)).toString()).toBe(value);
});
