/** Joins the pages of accounts with the sign-ins of the upstream room, the vault, and the providers of the bridge. */

import { Accounts } from '../accounts/accounts.ts';
import { AccountQuestions } from '../accounts/asking.ts';
import { CLIENT_DOCUMENT, callbackPath, type Proofs, type SignInPort } from '../accounts/contract.ts';
import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import { readPrincipalId } from '../core/principal.ts';
import type { Secrets } from '../core/secrets.ts';
import type { Proof } from '../oauth-bridge/proof.ts';
import { Grants, principalOwner } from '../upstream/auth/grants.ts';
import { clientMetadata } from '../upstream/auth/registration.ts';
import { beginSignIn, finishSignIn, type PendingSignIn } from '../upstream/auth/sign-in.ts';
import type { ServerOptions } from '../upstream/options.ts';
import type { SignInServer } from './sign-ins.ts';

const SIGN_IN_TIME = 20_000;

export interface UserAccountsDeps {
  readonly secrets: Secrets;
  readonly clock: Clock;
  readonly log: Log;
  /** Of the configuration in force. */
  readonly servers: () => readonly ServerOptions[];
  readonly base: () => string;
  readonly key: Buffer | undefined;
  readonly proof: () => Proof;
}

export interface UserAccounts {
  readonly accounts: Accounts;
  readonly questions: AccountQuestions;
}

export function createUserAccounts({ secrets, clock, log, servers, base, key, proof }: UserAccountsDeps): UserAccounts {
  const signIns = signInPort(new Grants(secrets), clock, servers, base);
  const accounts = new Accounts({ log, clock, base, signIns, proofs: proofsOf(proof), key });
  return { accounts, questions: new AccountQuestions(accounts, clock, key) };
}

/** Names of owners say everything that is compared: entry, tenant and subject. */
function proofsOf(proof: () => Proof): Proofs {
  return {
    host: (principal) => proof().host(entryOf(principal)),
    begin: (principal, state) => proof().begin(entryOf(principal), state),
    prove: async (principal, state, entry, answer) => {
      if (entry !== entryOf(principal))
        throw new TollgateError('oauth_refused', 'This is the address of another entry.');
      return (await proof().finish(entry, state, answer))?.principal === principal;
    },
  };
}

function entryOf(principal: string): string {
  return readPrincipalId(principal).person.split('/', 1)[0]!;
}

/** Servers at which callers sign in with a browser. */
function connects(server: ServerOptions): server is SignInServer {
  return server.auth?.kind === 'oauth' && server.auth.mode === 'user' && server.target.kind === 'http';
}

function signInPort(
  grants: Grants,
  clock: Clock,
  servers: () => readonly ServerOptions[],
  base: () => string,
): SignInPort {
  const find = (name: string): SignInServer | undefined =>
    servers()
      .filter(connects)
      .find((one) => one.name === name);
  const known = (name: string): SignInServer => {
    const server = find(name);
    if (server === undefined) throw new TollgateError('not_found', `${name}: accounts are not connected here any more`);
    return server;
  };
  const flow = () => ({
    grants,
    clock,
    clientMetadataUrl: base().startsWith('https:') ? base() + CLIENT_DOCUMENT : undefined,
    signal: AbortSignal.timeout(SIGN_IN_TIME),
  });
  return {
    host: (name) => find(name)?.target.url.host,
    begin: async (name, principal, redirectUrl) => {
      const { page, pending } = await beginSignIn(known(name), principalOwner(principal), redirectUrl, flow());
      return { page, state: pending.state, pending: JSON.stringify(pending) };
    },
    finish: async (name, principal, pending, answer) => {
      const grant = await finishSignIn(known(name), JSON.parse(pending) as PendingSignIn, answer, flow());
      await grants.write(name, principalOwner(principal), grant, principal);
    },
    connectedAt: (name, principal) => grants.signedInAt(name, principalOwner(principal)),
    clientDocument: (place) => {
      if (!place.startsWith('https:')) return undefined;
      const redirects = servers()
        .filter(connects)
        .map(({ name }) => place + callbackPath(name));
      const metadata = clientMetadata(redirects);
      return { client_id: place + CLIENT_DOCUMENT, ...metadata, token_endpoint_auth_method: 'none' };
    },
  };
}
