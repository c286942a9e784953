import type { CompiledConfig } from '../config/compile.ts';
import { TollgateError } from '../core/errors.ts';
import { type SignInServer, signsIn } from '../pipeline/sign-ins.ts';

/** The server to sign in at. `usage` when there is none of that name, or it needs no sign-in. */
export function signInServer(config: CompiledConfig, name: string | undefined): SignInServer {
  const server = config.servers.find((candidate) => candidate.name === name);
  if (server !== undefined && signsIn(server)) return server;
  const known = config.servers.filter(signsIn).map((candidate) => candidate.name);
  const which = known.length === 0 ? 'No server has `auth: oauth`.' : `These do: ${known.join(', ')}.`;
  throw new TollgateError('usage', `"${name ?? ''}" is not a server that needs a sign-in. ${which}`);
}
