/** Tokens that `tollgate login` got, for servers with `auth: oauth`. */
import { join } from 'node:path';
import type { CompiledConfig } from '../config/compile.ts';
import type { TokenProvider } from '../upstream/http-client.ts';
import { tokenProvider } from '../upstream/oauth.ts';
import type { HttpTarget, ServerOptions } from '../upstream/options.ts';

export type SignInServer = ServerOptions & { readonly target: HttpTarget };

/** Where the tokens of `tollgate login` are kept: 0600, in the data folder. */
export function tokenFile(dataDir: string): string {
  return join(dataDir, 'oauth.json');
}

/** The tokens of a server with `auth: oauth`; undefined for any other. */
export function tokensOf(config: CompiledConfig, name: string): TokenProvider | undefined {
  const server = config.servers.find((candidate) => candidate.name === name);
  return server !== undefined && signsIn(server) ? tokenProvider(server, tokenFile(config.dataDir)) : undefined;
}

export function signsIn(server: ServerOptions): server is SignInServer {
  return server.auth === 'oauth' && server.target.kind === 'http';
}
