import { join } from 'node:path';
import type { CompiledConfig } from '../config/compile.ts';
import { TollgateError } from '../core/errors.ts';
import type { TokenProvider } from '../upstream/http-client.ts';
import { tokenProvider } from '../upstream/oauth.ts';
import type { HttpTarget, ServerOptions } from '../upstream/options.ts';

type SignInServer = ServerOptions & { readonly target: HttpTarget };

/** Where the tokens of `tollgate login` are kept: 0600, in the data folder. */
export function tokenFile(dataDir: string): string {
  return join(dataDir, 'oauth.json');
}

/** The tokens of a server with `auth: oauth`; undefined for any other. */
export function tokensOf(config: CompiledConfig, name: string): TokenProvider | undefined {
  const server = config.servers.find((candidate) => candidate.name === name);
  return server !== undefined && signsIn(server) ? tokenProvider(server, tokenFile(config.dataDir)) : undefined;
}

/** The server to sign in at. `usage` when there is none of that name, or it needs no sign-in. */
export function signInServer(config: CompiledConfig, name: string | undefined): SignInServer {
  const server = config.servers.find((candidate) => candidate.name === name);
  if (server !== undefined && signsIn(server)) return server;
  const known = config.servers.filter(signsIn).map((candidate) => candidate.name);
  const which = known.length === 0 ? 'No server has `auth: oauth`.' : `These do: ${known.join(', ')}.`;
  throw new TollgateError('usage', `"${name ?? ''}" is not a server that needs a sign-in. ${which}`);
}

function signsIn(server: ServerOptions): server is SignInServer {
  return server.auth === 'oauth' && server.target.kind === 'http';
}
