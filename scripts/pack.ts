/**
 * Makes the published form of a package in a folder: JavaScript and declarations in `dist`, and a manifest that
 * points there. The manifest in the repository points to the sources, so that nothing is built before testing.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const ROOT = resolve(import.meta.dirname, '..');

interface Manifest {
  name: string;
  version: string;
  exports: Record<string, string>;
  bin?: Record<string, string>;
  [key: string]: unknown;
}

/** Builds `packages/<folder>` into `target` and returns its manifest. */
export function stage(folder: string, target: string): Manifest {
  const source = join(ROOT, 'packages', folder);
  rmSync(target, { recursive: true, force: true });
  mkdirSync(target, { recursive: true });
  const config = join(ROOT, `.tsconfig.${folder}.json`);
  writeFileSync(
    config,
    JSON.stringify({
      extends: './tsconfig.json',
      compilerOptions: {
        noEmit: false,
        allowImportingTsExtensions: false,
        rewriteRelativeImportExtensions: true,
        declaration: true,
        rootDir: join(source, 'src'),
        outDir: join(target, 'dist'),
      },
      include: [join(source, 'src')],
      exclude: ['**/*.test.ts', '**/testing.ts', '**/fakes.ts', '**/behaviours.ts', '**/fixtures/**', '**/testing/**'],
    }),
  );
  try {
    execFileSync(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', config], { stdio: 'inherit' });
  } finally {
    rmSync(config);
  }
  const manifest = JSON.parse(readFileSync(join(source, 'package.json'), 'utf8')) as Manifest;
  delete manifest['devDependencies'];
  manifest['files'] = ['dist', ...(manifest.bin === undefined ? [] : ['bin'])];
  for (const [entry, file] of Object.entries(manifest.exports)) {
    const built = file.replace('./src/', './dist/').replace(/\.ts$/, '');
    (manifest.exports as Record<string, unknown>)[entry] = { types: `${built}.d.ts`, default: `${built}.js` };
  }
  writeFileSync(join(target, 'package.json'), `${JSON.stringify(manifest, undefined, 2)}\n`);
  if (manifest.bin !== undefined) cpSync(join(source, 'bin'), join(target, 'bin'), { recursive: true });
  for (const file of ['README.md', 'LICENSE']) {
    const own = join(source, file);
    cpSync(existsSync(own) ? own : join(ROOT, file), join(target, file));
  }
  return manifest;
}

if (process.argv[1] === import.meta.filename) {
  const target = resolve(process.argv[2] ?? join(ROOT, 'dist'));
  for (const folder of ['limiter', 'gateway']) {
    const manifest = stage(folder, join(target, folder));
    console.log(`${manifest.name} ${manifest.version} in ${join(target, folder)}`);
  }
}
