import { readFileSync } from 'node:fs';

/** Version of this package, from its manifest: one place, both in a checkout and installed. */
export const VERSION: string = (
  JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }
).version;

/** How the gateway names itself to clients and servers. */
export const IMPLEMENTATION = { name: 'tollgate', version: VERSION } as const;
