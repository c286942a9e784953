/** Secrets written out in a file of MCP clients, and the same file with references in their place. */
import { isScalar, type Pair, parseDocument, visit } from 'yaml';
import { blankComments, servedNames } from './mcp-json.ts';
import { invalidConfig } from './problems.ts';
import { isPlainSecret } from './secrets.ts';
import { parseText } from './tree.ts';

export interface PlainSecret {
  readonly server: string;
  /** Under which name the gateway serves that server. */
  readonly served: string;
  /** Variable or header. */
  readonly key: string;
  readonly value: string;
  /** Under which it is kept. */
  readonly name: string;
}

const SCHEME = /^(?:(?:Bearer|Basic|Token)\s+)/i;

/** Only `env` and `headers` of servers are looked at; every other byte of the text stays as it is. */
export function findPlainSecrets(
  text: string,
  file: string,
): { readonly secrets: readonly PlainSecret[]; readonly replaced: string } {
  const blanked = blankComments(text);
  const parsed = parseText(blanked, file);
  // The parser's own words quote the text, and with it what is to be hidden.
  if (parsed.problems.length > 0) throw invalidConfig(file, parsed.problems, process.cwd());
  const names = servedNames(parsed.tree.value);
  const document = parseDocument(blanked, { keepSourceTokens: true, prettyErrors: false });
  const secrets: PlainSecret[] = [];
  const edits: { readonly from: number; readonly to: number; readonly text: string }[] = [];
  visit(document, {
    Pair(_, pair, ancestors) {
      const path = [...ancestors.filter((one): one is Pair => 'key' in one && 'value' in one), pair].map(keyOf);
      const key = path.at(-1);
      const section = path.at(-2);
      const server = path.at(-3);
      const home = path.slice(0, -3).join('.');
      if (!['mcpServers', 'servers', 'mcp.servers'].includes(home)) return;
      if (key === undefined || server === undefined || (section !== 'env' && section !== 'headers')) return;
      const node = pair.value;
      if (!isScalar(node) || typeof node.value !== 'string' || !node.range) return;
      if (node.value.includes('${') || !isPlainSecret(key, node.value)) return;
      const scheme = SCHEME.exec(node.value)?.[0] ?? '';
      const name = freeName(server, key, secrets);
      secrets.push({ server, served: names.get(server) ?? server, key, value: node.value.slice(scheme.length), name });
      edits.push({ from: node.range[0], to: node.range[1], text: JSON.stringify(`${scheme}\${vault:${name}}`) });
    },
  });
  let replaced = text;
  for (const { from, to, text: reference } of edits.toReversed()) {
    replaced = replaced.slice(0, from) + reference + replaced.slice(to);
  }
  return { secrets, replaced };
}

function keyOf({ key }: Pair): string {
  return isScalar(key) ? String(key.value) : '';
}

function freeName(server: string, key: string, taken: readonly PlainSecret[]): string {
  const base = `${server}.${key}`
    .replaceAll(/[^A-Za-z0-9._-]+/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
    .slice(0, 90);
  for (let i = 1; ; i++) {
    const name = i === 1 ? base : `${base}-${i}`;
    if (!taken.some((secret) => secret.name === name)) return name;
  }
}
