/**
 * The control API: what the command line (and later the console) reads and triggers. Lives on the `admin` address;
 * every route names the roles it takes, and a route without roles cannot be registered.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { getRequestListener } from '@hono/node-server';
import { type Context, Hono } from 'hono';
import { streamSSE } from 'hono/streaming';
import { TollgateError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { Principal } from '../core/principal.ts';
import type { StatusReport } from '../pipeline/status-report.ts';
import type { Identified } from '../protocol/call.ts';
import type { FinishedCall } from '../telemetry/calls.ts';
import { type AdministrationPort, addAdministration } from './administration.ts';
import { addDecisions, type DecisionPort } from './decisions.ts';
import { addKeys, type KeysPort } from './keys.ts';
import { addTrust, type TrustPort } from './trust.ts';

export type Role = 'user' | 'operator' | 'auditor' | 'admin';

export interface ControlPort {
  status(): StatusReport;
  /** Calls listener for every call that ends; returns the way to stop. */
  watchCalls(listener: (call: FinishedCall) => void): () => void;
  /** Applies the configuration file. Rejects with `config_invalid` and keeps the old one. */
  reload(): Promise<{ readonly changes: readonly string[] }>;
  /** Records of decisions; absent: none are kept. */
  readonly decisions?: DecisionPort | undefined;
  readonly administration: AdministrationPort;
  /** API keys; absent: this gateway issues none. */
  readonly keys?: KeysPort | undefined;
  /** Definitions of servers and their approval; absent: there is no such resource. */
  readonly trust?: TrustPort | undefined;
}

export interface ControlDeps {
  readonly port: ControlPort;
  /** The caller behind an Authorization header, or why not. The admin token is one of the credentials. */
  readonly identify: (authorization: string | undefined) => Identified | Promise<Identified>;
  readonly log: Log;
}

/** Records waiting for a slow reader of the call stream; beyond that they are dropped and counted. */
const MAX_WAITING = 1000;

export type ControlHandler = (request: IncomingMessage, response: ServerResponse) => void;

/** The request listener for paths below `/api/v1`. Answers 401 and 403 as JSON with the error's code and message. */
export function createControlApi(deps: ControlDeps): ControlHandler {
  const app = new Hono().basePath('/api/v1');
  const callers = new WeakMap<Request, Identified>();
  app.use(async (c, next) => {
    callers.set(c.req.raw, await deps.identify(c.req.header('authorization')));
    await next();
  });
  const guard = (c: Context, ...roles: readonly Role[]): Principal => {
    const principal = callers.get(c.req.raw);
    if (principal === undefined) throw new TollgateError('unauthorized', 'A credential is required');
    if (TollgateError.is(principal)) throw principal;
    if (!roles.some((role) => principal.roles.includes(role))) {
      throw new TollgateError('access_denied', `This needs one of the roles ${roles.join(', ')}`, { http: 403 });
    }
    return principal;
  };
  app.onError((thrown, c) => {
    const error = TollgateError.from(thrown);
    if (error.code === 'internal') deps.log.error({ err: error.cause }, 'control request failed');
    c.status(error.http as 400);
    if (error.http === 401) c.header('WWW-Authenticate', 'Bearer');
    return c.json({ error: { code: error.code, message: error.message, data: error.data } });
  });
  app.notFound((c) => c.json({ error: { code: 'not_found', message: 'No such resource of the control API' } }, 404));

  app.get('/status', (c) => {
    guard(c, 'operator', 'auditor', 'admin');
    return c.json(deps.port.status());
  });

  app.post('/reload', async (c) => {
    guard(c, 'operator', 'admin');
    return c.json(await deps.port.reload());
  });

  addAdministration(app, deps.port.administration, guard);
  if (deps.port.keys !== undefined) addKeys(app, deps.port.keys, guard);
  if (deps.port.trust !== undefined) addTrust(app, deps.port.trust, guard);

  app.get('/calls', (c) => {
    guard(c, 'operator', 'auditor', 'admin');
    const refusedOnly = c.req.query('refused') === 'true';
    return streamSSE(c, (stream) => {
      const waiting: FinishedCall[] = [];
      let dropped = 0;
      let wake: (() => void) | undefined;
      const stop = deps.port.watchCalls((call) => {
        if (refusedOnly && call.outcome !== 'refused') return;
        if (waiting.length >= MAX_WAITING) dropped++;
        else waiting.push(call);
        wake?.();
      });
      stream.onAbort(() => {
        stop();
        wake?.();
      });
      return (async () => {
        await stream.write(': watching\n\n');
        while (!stream.aborted) {
          const call = waiting.shift();
          if (call !== undefined) {
            await stream.writeSSE({ event: 'call', data: JSON.stringify(call) });
          } else if (dropped > 0) {
            await stream.writeSSE({ event: 'dropped', data: String(dropped) });
            dropped = 0;
          } else {
            await new Promise<void>((resolve) => {
              wake = resolve;
            });
          }
        }
      })();
    });
  });

  const { decisions } = deps.port;
  if (decisions !== undefined) addDecisions(app, decisions, (c) => guard(c, 'user', 'operator', 'auditor', 'admin'));

  return getRequestListener(app.fetch, { overrideGlobalObjects: false });
}
