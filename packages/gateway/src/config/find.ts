import { access } from 'node:fs/promises';
import path from 'node:path';
import { TollgateError } from '../core/errors.ts';

export type ConfigKind = 'yaml' | 'mcp-json';

/** In this order; the first that exists is taken. */
const IMPLICIT_FILES = ['tollgate.yaml', '.mcp.json', path.join('.vscode', 'mcp.json')] as const;

/** The configuration of a folder. Throws `config_not_found` that names every place that was looked at. */
export async function findConfig(cwd: string): Promise<{ readonly file: string; readonly implicit: true }> {
  for (const name of IMPLICIT_FILES) {
    const file = path.resolve(cwd, name);
    try {
      await access(file);
      return { file, implicit: true };
    } catch {
      // Try the next place.
    }
  }
  throw new TollgateError(
    'config_not_found',
    `There is no ${IMPLICIT_FILES.slice(0, -1).join(', ')} or ${IMPLICIT_FILES.at(-1)} in ${cwd}.`,
  );
}

/** JSON files are the `mcpServers` files of MCP clients; everything else is `tollgate.yaml`. */
export function kindOfFile(file: string): ConfigKind {
  return /\.jsonc?$/i.test(file) ? 'mcp-json' : 'yaml';
}
