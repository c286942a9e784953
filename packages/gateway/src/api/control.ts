/**
 * The control API: what the command line (and later the console) reads and triggers. Lives on the `admin` address;
 * every route names the right it needs, and one without cannot be registered.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { getRequestListener } from '@hono/node-server';
import { Hono } from 'hono';
import type { AppliedChanges } from '../config/diff.ts';
import { TollgateError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { StatusReport } from '../pipeline/status-report.ts';
import type { VaultPort } from '../pipeline/vault-administration.ts';
import type { Identified } from '../protocol/call.ts';
import { type AdministrationPort, addAdministration } from './administration.ts';
import { streamCalls, type WatchPort } from './call-stream.ts';
import { addDecisions, type DecisionPort } from './decisions.ts';
import { type GuardedRoute, GuardedRoutes } from './guarded.ts';
import { addKeys, type KeysPort } from './keys.ts';
import { addSignIns, type SignInsPort } from './sign-ins.ts';
import { addTrust, type TrustPort } from './trust.ts';
import { addVault } from './vault.ts';

export interface ControlPort extends WatchPort {
  status(): StatusReport;
  /** Applies the configuration file. Rejects with `config_invalid` and keeps the old one. */
  reload(): Promise<AppliedChanges>;
  /** Records of decisions; absent: none are kept. */
  readonly decisions?: DecisionPort | undefined;
  readonly administration: AdministrationPort;
  /** API keys; absent: this gateway issues none. */
  readonly keys?: KeysPort | undefined;
  /** Definitions of servers and their approval; absent: there is no such resource. */
  readonly trust?: TrustPort | undefined;
  /** Sign-ins at the OAuth bridge; absent: there is no such resource. */
  readonly signIns?: SignInsPort | undefined;
  /** Absent: there is no vault to administer. */
  readonly vault?: VaultPort | undefined;
}

export interface ControlDeps {
  readonly port: ControlPort;
  /** The caller behind an Authorization header, or why not. The admin token is one of the credentials. */
  readonly identify: (authorization: string | undefined) => Identified | Promise<Identified>;
  readonly log: Log;
}

export type ControlHandler = (request: IncomingMessage, response: ServerResponse) => void;

/** The request listener for paths below `/api/v1`. Answers 401 and 403 as JSON with the error's code and message. */
export function createControlApi(deps: ControlDeps): ControlHandler {
  return getRequestListener(controlApp(deps).app.fetch, { overrideGlobalObjects: false });
}

/** The same before it is attached to a server, with the list of its routes. */
export function controlApp(deps: ControlDeps): { readonly app: Hono; readonly routes: readonly GuardedRoute[] } {
  const app = new Hono().basePath('/api/v1');
  const routes = new GuardedRoutes(app, (c) => deps.identify(c.req.header('authorization')));
  app.onError((thrown, c) => {
    const error = TollgateError.from(thrown);
    if (error.code === 'internal') deps.log.error({ err: error.cause }, 'control request failed');
    c.status(error.http as 400);
    // What was not read of the body cannot be told from the next request.
    if (error.code === 'payload_too_large') c.header('Connection', 'close');
    if (error.http === 401) c.header('WWW-Authenticate', 'Bearer');
    return c.json({ error: { code: error.code, message: error.message, data: error.data } });
  });
  app.notFound((c) => c.json({ error: { code: 'not_found', message: 'No such resource of the control API' } }, 404));

  routes.get('/status', 'status.read', (c) => c.json(deps.port.status()));
  routes.post('/reload', 'configuration.reload', async (c) => c.json(await deps.port.reload()));
  addAdministration(routes, deps.port.administration);

  if (deps.port.keys !== undefined) addKeys(routes, deps.port.keys);
  if (deps.port.signIns !== undefined) addSignIns(routes, deps.port.signIns);
  if (deps.port.trust !== undefined) addTrust(routes, deps.port.trust);

  if (deps.port.vault !== undefined) addVault(routes, deps.port.vault);

  routes.get('/calls', 'traffic.watch', (c, { principal }) => streamCalls(c, principal, deps.port));

  const { decisions } = deps.port;
  if (decisions !== undefined) addDecisions(routes, decisions);
  routes.seal();

  return { app, routes: routes.list };
}
