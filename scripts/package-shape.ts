/**
 * Checks what is published, on the published form: publint, a built command line that starts, a limiter without Node
 * imports, and a run-time closure of at most 40 packages, none with install scripts, each direct one in DEPENDENCIES.md.
 */
import { execFileSync } from 'node:child_process';
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import { stage } from './pack.ts';

const ROOT = resolve(import.meta.dirname, '..');
const MAX_CLOSURE = 40;
const problems: string[] = [];

interface Locked {
  dependencies?: Record<string, string>;
  hasInstallScript?: boolean;
  link?: boolean;
  resolved?: string;
}

const folder = mkdtempSync(join(tmpdir(), 'tollgate-shape-'));
try {
  for (const name of ['limiter', 'gateway']) {
    const target = join(folder, name);
    const manifest = stage(name, target);
    const { messages } = await publint({ pkgDir: target, level: 'warning', pack: false });
    for (const message of messages) problems.push(`${manifest.name}: ${formatMessage(message, manifest as never)}`);
  }
  for (const file of globSync('**/*.js', { cwd: join(folder, 'limiter/dist') })) {
    // Only the Redis entry hashes, and so needs Node; no entry needs a package.
    const foreign = file.startsWith('redis/') ? /from '(?!node:)[^.]/ : /from '[^.]/;
    if (foreign.test(readFileSync(join(folder, 'limiter/dist', file), 'utf8'))) {
      problems.push(`@tollgate/limiter: ${file} imports something outside the package`);
    }
  }
  // The build runs where it was put, with the same dependencies and the built limiter.
  const modules = join(folder, 'gateway/node_modules');
  mkdirSync(join(modules, '@tollgate'), { recursive: true });
  for (const name of Object.keys(direct())) {
    if (name === '@tollgate/limiter') continue;
    mkdirSync(join(modules, name, '..'), { recursive: true });
    symlinkSync(join(ROOT, 'node_modules', name), join(modules, name));
  }
  symlinkSync(join(folder, 'limiter'), join(modules, '@tollgate/limiter'));
  const version = execFileSync(process.execPath, [join(folder, 'gateway/bin/tollgate.js'), '--version'], {
    encoding: 'utf8',
  });
  if (!/^\d+\.\d+\.\d+/.test(version))
    problems.push(`the built command line prints ${JSON.stringify(version)} as its version`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

const lock = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')) as { packages: Record<string, Locked> };
const closure = new Set<string>();
visit(Object.keys(direct()));
if (closure.size > MAX_CLOSURE)
  problems.push(`the run-time closure has ${closure.size} packages, at most ${MAX_CLOSURE} are allowed`);
for (const name of closure) {
  if (lock.packages[`node_modules/${name}`]?.hasInstallScript === true) problems.push(`${name} has an install script`);
}
const listed = readFileSync(join(ROOT, 'DEPENDENCIES.md'), 'utf8');
for (const name of Object.keys(direct())) {
  if (!listed.includes(`| \`${name}\` |`)) problems.push(`${name} has no line in DEPENDENCIES.md`);
}
for (const problem of problems) console.error(problem);
if (problems.length > 0) process.exitCode = 1;
else console.log(`Package shape: fine. Run-time closure: ${closure.size} packages, no install scripts.`);

function direct(): Record<string, string> {
  const manifest = JSON.parse(readFileSync(join(ROOT, 'packages/gateway/package.json'), 'utf8')) as Locked;
  return manifest.dependencies ?? {};
}

function visit(names: readonly string[]): void {
  for (const name of names) {
    if (closure.has(name)) continue;
    closure.add(name);
    const locked = lock.packages[`node_modules/${name}`];
    const target = locked?.link === true ? lock.packages[locked.resolved ?? ''] : locked;
    visit(Object.keys(target?.dependencies ?? {}));
  }
}
