import type { LoadedConfig } from './assemble.ts';
import type { ConfigKind } from './find.ts';
import { processText } from './load.ts';

/** Loads a text as if it stood in `/project`; for tests. */
export function loadText(text: string, env: Record<string, string> = {}, kind: ConfigKind = 'yaml'): LoadedConfig {
  const name = kind === 'yaml' ? 'tollgate.yaml' : '.mcp.json';
  return processText(Buffer.from(text), { file: `/project/${name}`, kind, env, name, cwd: '/project' });
}
