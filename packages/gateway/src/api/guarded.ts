/**
 * Routes of the admin surfaces, each with the right it needs. A route that got in any other way stops the start: what
 * nobody thought about must not be open (CVE-2026-33032 was a route that its router's authentication never saw).
 */
import type { Context, Hono } from 'hono';
import { type RightName, reachOf, type Whose } from '../access/rights.ts';
import { TollgateError } from '../core/errors.ts';
import type { Principal } from '../core/principal.ts';
import type { Identified } from '../protocol/call.ts';

export type Method = 'get' | 'post' | 'put' | 'delete';

/** Who asks, and how far the right goes: `own` means only what is theirs. */
export interface Asked {
  readonly principal: Principal;
  readonly reach: Whose;
}

type Handler = (c: Context, asked: Asked) => Response | Promise<Response>;

export interface GuardedRoute {
  readonly method: Method;
  /** Below the app's base path. */
  readonly path: string;
  readonly right: RightName;
}

export class GuardedRoutes {
  readonly #app: Hono;
  readonly #identify: (c: Context) => Identified | Promise<Identified>;
  readonly #handlers = new WeakSet<object>();
  readonly #routes: GuardedRoute[] = [];

  constructor(app: Hono, identify: (c: Context) => Identified | Promise<Identified>) {
    this.#app = app;
    this.#identify = identify;
  }

  get list(): readonly GuardedRoute[] {
    return this.#routes;
  }

  get(path: string, right: RightName, handler: Handler): void {
    this.#add('get', path, right, handler);
  }

  post(path: string, right: RightName, handler: Handler): void {
    this.#add('post', path, right, handler);
  }

  put(path: string, right: RightName, handler: Handler): void {
    this.#add('put', path, right, handler);
  }

  delete(path: string, right: RightName, handler: Handler): void {
    this.#add('delete', path, right, handler);
  }

  /** Call when all routes are there. Throws for one that names no right. Middleware is no route. */
  seal(): void {
    for (const { method, path, handler } of this.#app.routes) {
      if ((method === 'ALL' && path.endsWith('*')) || this.#handlers.has(handler)) continue;
      throw new Error(`${method} ${path} names no right (access/rights.ts): nobody would be asked who may use it`);
    }
  }

  #add(method: Method, path: string, right: RightName, handler: Handler): void {
    const guarded = async (c: Context): Promise<Response> => {
      const principal = await this.#identify(c);
      if (TollgateError.is(principal)) throw principal;
      // Before the handler: who has not the right learns nothing of what there is.
      return handler(c, { principal, reach: reachOf(principal, right) });
    };
    this.#handlers.add(guarded);
    this.#routes.push({ method, path, right });
    this.#app[method](path, guarded);
  }
}
