#!/usr/bin/env node
// Plain JavaScript on purpose: an older Node must get one sentence, not a syntax error or a stack trace.
import { existsSync } from 'node:fs';

const major = Number(process.versions.node.split('.')[0]);
if (major < 24) {
  process.stderr.write(
    `tollgate needs Node 24 or newer; this is Node ${process.versions.node}. Install it from https://nodejs.org and try again.\n`,
  );
  process.exit(2);
}
// Compiled code is kept between starts, in a folder that only this user can write: what lies there is run.
const { enableCodeCache } = await import('./code-cache.js');
enableCodeCache();
// A checkout runs from source, the published package from its build.
const source = new URL('../src/cli/main.ts', import.meta.url);
const { main } = await import(existsSync(source) ? source.href : new URL('../dist/cli/main.js', import.meta.url).href);
await main(process.argv);
