/**
 * The user API on the client-facing address: keys of providers, tools over plain JSON, one's own activity. Every request
 * needs a credential; anonymous callers have nothing here. See `docs/user-api.md`.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { getRequestListener, type HttpBindings } from '@hono/node-server';
import { type Context, Hono } from 'hono';
import { TollgateError } from '../../core/errors.ts';
import type { Log } from '../../core/log.ts';
import type { Principal } from '../../core/principal.ts';
import type { Secrets } from '../../core/secrets.ts';
import type { Identified } from '../../protocol/call.ts';
import { type GuardedRoute, GuardedRoutes } from '../guarded.ts';
import { addAccounts } from './accounts.ts';
import { type ActivityDeps, addActivity } from './activity.ts';
import { addProviderKeys } from './provider-keys.ts';
import { addTools, type ToolsDeps } from './tools.ts';

export interface UserPort {
  /** The caller behind an Authorization header, or why there is none. */
  identify(authorization: string | undefined, address: string | undefined): Identified | Promise<Identified>;
  /** Counts the request of a caller before its body is read; undefined: it may go on. */
  guard(principal: Principal): TollgateError | undefined;
  readonly calls: ToolsDeps['calls'];
  readonly secrets: Secrets;
  readonly activity: ActivityDeps['activity'];
  /** Bytes of the body of a call. */
  maxBody(): number;
  /** Wall milliseconds. */
  now(): number;
}

const PATHS = /^\/(?:api-keys(?:\/|$)|mcp\/tools\/|mcp\/accounts(?:\/|$)|mcp\/activity$)/;

/** True for paths that `createUserApi` answers. */
export function isUserPath(path: string): boolean {
  return PATHS.test(path);
}

/** `address`: of the client, as configured proxies tell it. */
type UserHandler = (request: IncomingMessage, response: ServerResponse, address: string | undefined) => void;

/** The request listener. Errors are `{ success: false, error, reason }` under their own status. */
export function createUserApi(port: UserPort, log: Log): UserHandler {
  const addresses = new WeakMap<IncomingMessage, string>();
  const listener = getRequestListener(userApp(port, log, addresses).app.fetch, { overrideGlobalObjects: false });
  return (request, response, from) => {
    if (from !== undefined) addresses.set(request, from);
    void listener(request, response);
  };
}

/** The same before it is attached to a server, with the list of its routes. */
export function userApp(
  port: UserPort,
  log: Log,
  addresses: WeakMap<IncomingMessage, string>,
): { readonly app: Hono; readonly routes: readonly GuardedRoute[] } {
  const app = new Hono();
  const address = (c: Context): string | undefined => addresses.get((c.env as HttpBindings).incoming);
  const callers = new WeakMap<Request, Principal>();
  const caller = (c: Context): Principal => {
    const principal = callers.get(c.req.raw);
    if (principal === undefined) throw missing();
    return principal;
  };

  app.onError((thrown, c) => {
    const error = TollgateError.from(thrown);
    // What was not read of its body cannot be told from the next request.
    if (error.code === 'payload_too_large' || error.code === 'unsupported_media_type') c.header('Connection', 'close');
    if (error.code === 'internal') log.error({ err: error.cause }, 'a request of the user API failed');
    if (error.http === 401) c.header('WWW-Authenticate', 'Bearer');
    if (error.retryAfterSeconds !== undefined) {
      c.header('Retry-After', String(Math.max(1, Math.ceil(error.retryAfterSeconds))));
    }
    c.status(statusOf(error) as 400);
    const reason = error.code === 'user_mismatch' ? 'USER_MISMATCH' : error.code;
    return c.json({ success: false, error: error.message, reason });
  });
  app.notFound((c) => c.json({ success: false, error: 'No such resource of the user API', reason: 'not_found' }, 404));

  // What is said here is about one caller; nobody between may keep it.
  app.use(async (c, next) => {
    await next();
    c.res.headers.set('Cache-Control', 'no-store');
  });
  app.use(async (c, next) => {
    const who = await port.identify(c.req.header('authorization'), address(c));
    if (TollgateError.is(who)) throw who;
    if (who.entry === 'anonymous') throw missing();
    const refused = port.guard(who);
    if (refused !== undefined) throw refused;
    callers.set(c.req.raw, who);
    await next();
  });
  const { secrets, calls, activity } = port;
  const now = (): number => port.now();
  const routes = new GuardedRoutes(app, caller);
  addProviderKeys(routes, { secrets, caller, now });
  addTools(routes, { calls, secrets, caller, address, maxBody: () => port.maxBody() });
  addAccounts(routes, { secrets, caller });
  addActivity(routes, { activity, caller, now });
  routes.seal();
  return { app, routes: routes.list };
}

function missing(): TollgateError {
  return new TollgateError('unauthorized', 'A credential is required: send `Authorization: Bearer <token>`.');
}

/** REST has real statuses where MCP answers 200. */
function statusOf({ code, http, rpc }: TollgateError): number {
  if (http >= 400) return http;
  if (code === 'unknown_name' || code === 'no_route') return 404;
  return rpc >= 400 && rpc < 600 ? rpc : 400;
}
