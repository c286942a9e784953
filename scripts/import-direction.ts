/**
 * Checks that imports in the gateway point downwards and that rooms do not import each other (docs/architecture.md).
 * Prints every breach and exits 1.
 */
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';

export const SOURCES: string = resolve(import.meta.dirname, '../packages/gateway/src');
const ROOMS = [
  'inbound',
  'identity',
  'oauth-bridge',
  'access',
  'catalog',
  'routing',
  'admission',
  'transform',
  'upstream',
  'telemetry',
  'store',
  'vault',
  'accounts',
  'trust',
] as const;

/** What a folder may import besides itself. */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  core: [],
  protocol: ['core'],
  // Beneath the rooms and not one of them: nobody may be handed another way out.
  egress: ['core'],
  ...Object.fromEntries(ROOMS.map((room) => [room, ['core', 'protocol', 'egress']])),
  config: ['core', 'protocol', ...ROOMS],
  pipeline: ['core', 'protocol', 'egress', ...ROOMS, 'config'],
  api: ['core', 'protocol', 'egress', ...ROOMS, 'config', 'pipeline'],
  cli: ['core', 'protocol', 'egress', ...ROOMS, 'config', 'pipeline', 'api', 'index.ts'],
  // A package of its own in all but name: an application that only asks a remote gateway loads no gateway.
  middleware: ['core'],
  'index.ts': ['core', 'protocol', ...ROOMS, 'config', 'pipeline', 'api'],
};

const IMPORT = /(?:from|import)\s*\(?\s*'(\.[^']+)'/g;

/** Every import below `root` that points upwards or into another room, as a sentence. */
export function breaches(root: string): string[] {
  const found: string[] = [];
  for (const file of globSync('**/*.ts', { cwd: root })) {
    if (file.endsWith('.test.ts') || file.includes('fixtures/')) continue;
    const room = file.split('/')[0]!;
    const allowed = ALLOWED[room];
    if (allowed === undefined) {
      found.push(`${file}: ${room} is not a room of docs/architecture.md`);
      continue;
    }
    for (const [, target] of readFileSync(join(root, file), 'utf8').matchAll(IMPORT)) {
      const path = relative(root, resolve(root, dirname(file), target!));
      const to = path.split('/')[0]!;
      if (to !== room && to !== '..' && !allowed.includes(to)) {
        found.push(`${file} imports ${path}: ${room} may not use ${to}`);
      }
    }
  }
  return found;
}

if (process.argv[1] === import.meta.filename) {
  const found = breaches(SOURCES);
  for (const breach of found) console.error(breach);
  if (found.length > 0) process.exitCode = 1;
}
