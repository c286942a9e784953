import type { ConfigSource } from './assemble.ts';
import { formatLeaf, type Leaf, leavesOf } from './leaves.ts';
import type { KeyPath } from './problems.ts';
import type { Config } from './schema.ts';
import { isSecretName, looksSecret } from './secrets.ts';
import { placeKey } from './tree.ts';

const MASK = '[redacted]';

/**
 * A configuration that may be shown, logged or sent: secrets, as the schema marks them, are masked; a value that
 * came from a variable or file is shown as it was written. Values have the form in which they are written.
 */
export function redactConfig(config: Config, source?: ConfigSource): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const leaf of leavesOf(config)) put(out, leaf.path, showLeaf(leaf, source));
  return out;
}

/** One value as text or list that may be shown. */
export function showLeaf(leaf: Leaf, source?: ConfigSource): unknown {
  if (Array.isArray(leaf.value)) {
    const items = leaf.value as unknown[];
    return items.map(
      (item, i) => maskFollowing(items, i) ?? showOne({ ...leaf, value: item, path: [...leaf.path, i] }, source),
    );
  }
  return showOne(leaf, source);
}

function showOne(leaf: Leaf, source: ConfigSource | undefined): unknown {
  const written = source?.originals.get(placeKey(leaf.path));
  if (leaf.secret) return written !== undefined && isBareExpression(written) ? written : MASK;
  const value = written ?? leaf.value;
  if (leaf.unit === 'url') return maskUrl(String(value));
  if (leaf.unit !== undefined && written === undefined) return formatLeaf(leaf);
  if (typeof value !== 'string') return value;
  return leaf.path.at(-1) === 'url' ? maskUrl(value) : maskText(value);
}

/** Nothing but a reference: there is no literal part, and no default, that could be the secret. */
function isBareExpression(written: string): boolean {
  return /^(?:(?:Bearer|Basic|Token) )?\$\{(?:(?:env|file|input|vault):)?[^}:]+\}$/.test(written);
}

/** The credentials of a URL, in its user part or in parameters that usually hold one. */
export function maskUrl(text: string): string {
  const url = URL.parse(text);
  if (url === null) return text.replace(/(:\/\/)[^/]*@/, '$1redacted@');
  if (url.username === '' && url.password === '' && url.search === '') return text;
  if (url.username !== '' || url.password !== '') {
    url.username = url.username === '' ? '' : 'redacted';
    url.password = url.password === '' ? '' : 'redacted';
  }
  for (const [name, value] of url.searchParams) {
    if (value.startsWith('${')) continue;
    if (isSecretName(name) || looksSecret(value)) url.searchParams.set(name, 'redacted');
  }
  return url.href;
}

/** An argument such as `--api-key=abc`, or a text with the shape of a token. */
function maskText(text: string): string {
  const option = /^(--?[A-Za-z][\w-]*)=(.+)$/s.exec(text);
  if (option !== null && isSecretName(option[1]!.replace(/^-+/, ''))) return `${option[1]}=${MASK}`;
  return looksSecret(text) ? MASK : text;
}

/** The argument after `--token`. */
function maskFollowing(items: readonly unknown[], i: number): string | undefined {
  const before = items[i - 1];
  const value = items[i];
  if (typeof before !== 'string' || typeof value !== 'string' || value.startsWith('-')) return undefined;
  return /^--?[A-Za-z][\w-]*$/.test(before) && isSecretName(before.replace(/^-+/, '')) ? MASK : undefined;
}

/** Names come from checked maps, where `__proto__` and its like cannot stand. */
function put(out: Record<string, unknown>, path: KeyPath, value: unknown): void {
  let at: Record<string | number, unknown> = out;
  path.forEach((key, i) => {
    if (i === path.length - 1) at[key] = value;
    else {
      at[key] ??= typeof path[i + 1] === 'number' ? [] : {};
      at = at[key] as Record<string | number, unknown>;
    }
  });
}
