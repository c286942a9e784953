import { createRequire } from 'node:module';
import { join } from 'node:path';

const { resolve } = createRequire(import.meta.url);

function program(name: string): string {
  return join(resolve(`@modelcontextprotocol/${name}/package.json`), '../dist/index.js');
}

/** Entries for `servers` in a configuration: unmodified servers from npm over stdio. */
export function everythingServer() {
  return { command: process.execPath, args: [program('server-everything'), 'stdio'] };
}

/** May read and write only below `folder`. */
export function filesystemServer(folder: string) {
  return { command: process.execPath, args: [program('server-filesystem'), folder] };
}

/** Keeps its graph in `file`. */
export function memoryServer(file: string) {
  return { command: process.execPath, args: [program('server-memory')], env: { MEMORY_FILE_PATH: file } };
}
