/**
 * What ToolHive's admission refuses about limits, and its server at start-up, word for word; both kinds of file get
 * both sentences, so that what `validate` says is what `serve` says.
 */
import type { Cursor } from './cursor.ts';
import type { IncomingAuth } from './model.ts';
import { perUserPaths } from './rate-limiting.ts';

const MAX_DATABASE = 65_535;
/** The operator fills it from the Secret of `passwordRef`. */
export const PASSWORD_VARIABLE = 'THV_SESSION_REDIS_PASSWORD';

/** `sessionStorage`: its own rules, whether limits need it or not. */
export function checkStorage(cursor: Cursor, generated: boolean): void {
  if (!cursor.present) return;
  const secret = cursor.at('password');
  if (secret.present) secret.refuse('A password does not stand in the file.', `Set ${PASSWORD_VARIABLE}.`);
  cursor.strict({
    used: ['provider', 'address', 'db', 'password', ...(generated ? [] : ['passwordRef'])],
    // As in ToolHive it is no part of the keys of limits.
    idle: ['keyPrefix'],
  });
  const provider = cursor.at('provider').choice(['memory', 'redis'], 'memory');
  cursor.at('db').whole(0, MAX_DATABASE);
  if (provider === 'redis' && cursor.at('address').text() === undefined) {
    const [what, more] = ['address is required', 'rate limiting requires Redis session storage address'];
    refuseTwice(cursor, what, more, generated, 'Write address: redis.example:6379.');
  }
}

const REDIS_FIX = 'Write sessionStorage: { provider: redis, address: redis.example:6379 }.';

/** What admission says of a manifest, and what the server says at start-up of a generated file: first the one that fits. */
function refuseTwice(at: Cursor, admission: string, startUp: string, generated: boolean, fix: string): void {
  at.refuse(generated ? startUp : admission, `(${generated ? admission : startUp}) ${fix}`);
}

function hasRedis(storage: Cursor): boolean {
  return storage.at('provider').value === 'redis';
}

/** The rules of a VirtualMCPServer and of the file that is generated from it. */
export function checkVirtualLimits(
  block: Cursor,
  storage: Cursor,
  auth: IncomingAuth | undefined,
  generated: boolean,
): void {
  if (!block.present) return;
  if (!hasRedis(storage)) {
    const [what, more] = [
      "config.rateLimiting requires sessionStorage with provider 'redis'",
      'rate limiting requires Redis session storage',
    ];
    refuseTwice(block, what, more, generated, REDIS_FIX);
  }
  if (auth === 'oidc') return;
  const { server, tool } = perUserPaths(block);
  server?.refuse('config.rateLimiting.perUser requires incomingAuth.type oidc');
  tool?.refuse('per-tool perUser rate limiting requires incomingAuth.type oidc');
}

/** The rules of a MCPServer. */
export function checkServerLimits(block: Cursor, storage: Cursor, spec: Cursor): void {
  if (!block.present) return;
  if (!hasRedis(storage)) {
    block.refuse("rateLimiting requires sessionStorage with provider 'redis'", REDIS_FIX);
  }
  if (spec.at('oidcConfigRef').present || spec.at('externalAuthConfigRef').present) return;
  const { server, tool } = perUserPaths(block);
  const rest = 'requires authentication (oidcConfigRef or externalAuthConfigRef)';
  server?.refuse(`rateLimiting.perUser ${rest}`);
  tool?.refuse(`per-tool perUser rate limiting ${rest}`);
}
