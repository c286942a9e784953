/**
 * Checks that imports in the gateway point downwards and that rooms do not import each other (docs/architecture.md).
 * Prints every breach and exits 1.
 */
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';

const ROOT = resolve(import.meta.dirname, '../packages/gateway/src');
const ROOMS = [
  'inbound',
  'identity',
  'access',
  'catalog',
  'routing',
  'admission',
  'transform',
  'upstream',
  'telemetry',
] as const;

/** What a folder may import besides itself. */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  core: [],
  protocol: ['core'],
  ...Object.fromEntries(ROOMS.map((room) => [room, ['core', 'protocol']])),
  config: ['core', 'protocol', ...ROOMS],
  pipeline: ['core', 'protocol', ...ROOMS, 'config'],
  api: ['core', 'protocol', ...ROOMS, 'config', 'pipeline'],
  cli: ['core', 'protocol', ...ROOMS, 'config', 'pipeline', 'api', 'index.ts'],
  'index.ts': ['core', 'protocol', ...ROOMS, 'config', 'pipeline', 'api'],
};

const IMPORT = /(?:from|import)\s*\(?\s*'(\.[^']+)'/g;

const breaches: string[] = [];
for (const file of globSync('**/*.ts', { cwd: ROOT }).filter((name) => !name.includes('fixtures/'))) {
  if (file.endsWith('.test.ts')) continue;
  const room = file.split('/')[0]!;
  const allowed = ALLOWED[room];
  if (allowed === undefined) {
    breaches.push(`${file}: ${room} is not a room of docs/architecture.md`);
    continue;
  }
  for (const [, target] of readFileSync(join(ROOT, file), 'utf8').matchAll(IMPORT)) {
    const path = relative(ROOT, resolve(ROOT, dirname(file), target!));
    const to = path.split('/')[0]!;
    if (to !== room && to !== '..' && !allowed.includes(to))
      breaches.push(`${file} imports ${path}: ${room} may not use ${to}`);
  }
}
for (const breach of breaches) console.error(breach);
if (breaches.length > 0) process.exitCode = 1;
