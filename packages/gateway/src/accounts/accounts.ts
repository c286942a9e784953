/**
 * Accounts of callers at servers: the page to which a call without an account leads, and the way to the authorization
 * server and back. A link is bound to the caller, its code to the caller's own client, the way there and back to one
 * browser; the tokens go into the vault under the caller (MCP, URL mode elicitation: the one who opens the page must be
 * the one who called).
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { getRequestListener } from '@hono/node-server';
import { type Context, Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { TollgateError } from '../core/errors.ts';
import type { Lifetime } from '../core/lifetime.ts';
import { leavingPage, pageHeaders } from '../core/page.ts';
import { StateSeal } from '../protocol/bridge/seal.ts';
import { type AccountsDeps, CLIENT_DOCUMENT, callbackPath } from './contract.ts';
import { keyFor, LINK_LIFE, type Link, Links } from './links.ts';
import { consentPage, donePage, problemPage } from './pages.ts';

const MAX_FORM = 16 * 1024;
const MAX_COOKIE = 3_800;
/** Sign-ins that begin or end at a time: each fetches documents of strangers. */
const MAX_AT_WORK = 32;
const MAX_WAITING = 256;
const POLL_MS = 1_000;

/** The form of a page, good with the browser that was shown it. */
interface SealedForm {
  readonly link: string;
  readonly browser: string;
  readonly expires: number;
}

/** A browser on its way to the authorization server and back. */
interface SealedFlow {
  readonly server: string;
  readonly principal: string;
  readonly state: string;
  readonly pending: string;
  readonly expires: number;
}

const LINK_OVER = 'This link is not valid any more.';

export class Accounts {
  readonly #deps: AccountsDeps;
  readonly #links: Links;
  readonly #forms: StateSeal<SealedForm>;
  readonly #flows: StateSeal<SealedFlow>;
  readonly #listener: (request: IncomingMessage, response: ServerResponse) => unknown;
  readonly #waiting = new Map<string, Set<() => void>>();
  readonly #finished = new Map<string, number>();
  #waits = 0;
  #atWork = 0;

  constructor(deps: AccountsDeps) {
    this.#deps = deps;
    this.#links = new Links(deps.clock, deps.base, deps.key);
    this.#forms = new StateSeal({ prefix: 'tgf1.', maxLength: 8192, key: keyFor('form', deps.key) });
    this.#flows = new StateSeal({ prefix: 'tgw1.', maxLength: 8192, key: keyFor('flow', deps.key) });
    this.#listener = getRequestListener(this.#app().fetch, { overrideGlobalObjects: false });
  }

  /** Where this caller connects an account, and the code that only its client is shown. */
  link(principal: string, server: string): Link {
    return this.#links.for(principal, server);
  }

  /** Takes a request for one of its paths; false: not its path. It answers exactly once. */
  handle(request: IncomingMessage, response: ServerResponse, path: string): boolean {
    if (!path.startsWith('/connect/')) return false;
    this.#listener(request, response);
    return true;
  }

  /** True as soon as the caller has connected an account after `since`; false after `ms`, or when the call is over. */
  async connected(principal: string, server: string, since: number, ms: number, lifetime: Lifetime): Promise<boolean> {
    const { signIns, clock } = this.#deps;
    const until = clock.monotonic() + ms;
    const done = async (): Promise<boolean> => ((await signIns.connectedAt(server, principal)) ?? 0) >= since;
    if (await done()) return true;
    if (this.#waits >= MAX_WAITING) return false;
    this.#waits++;
    try {
      while (clock.monotonic() < until && !lifetime.over) {
        await this.#moment(`${principal}\n${server}`, Math.min(POLL_MS, until - clock.monotonic()), lifetime);
        if (await done()) return true;
      }
      return false;
    } finally {
      this.#waits--;
    }
  }

  /** Ends when somebody has finished here, when the call ends, or after `ms`: then another gateway may have. */
  #moment(place: string, ms: number, lifetime: Lifetime): Promise<void> {
    return new Promise((resolve) => {
      const waiting = this.#waiting.get(place) ?? new Set();
      this.#waiting.set(place, waiting);
      const end = (): void => {
        clearTimeout(timer);
        stop();
        waiting.delete(end);
        if (waiting.size === 0) this.#waiting.delete(place);
        resolve();
      };
      const timer = setTimeout(end, Math.max(1, ms));
      const stop = lifetime.onEnd(end);
      waiting.add(end);
    });
  }

  #app(): Hono {
    const app = new Hono();
    const { signIns, base, log } = this.#deps;
    const bound = bodyLimit({
      maxSize: MAX_FORM,
      onError: () => {
        throw new TollgateError('payload_too_large', 'The form is too large.');
      },
    });
    app.get(CLIENT_DOCUMENT, (c) => {
      const document = signIns.clientDocument(base());
      return document === undefined ? c.notFound() : c.json(document, 200, { 'cache-control': 'max-age=300' });
    });
    // Hono runs GET for HEAD, but HEAD is safe (RFC 9110 section 9.2.1): a scanner of links must not use up a sign-in.
    app.use('/connect/callback/*', (c, next) =>
      c.req.method === 'HEAD' ? Promise.resolve(c.body(null, 405, { allow: 'GET' })) : next(),
    );
    app.get('/connect/callback/:server', (c) => this.#return(c, c.req.param('server')));
    app.get('/connect/:server', (c) => this.#consent(c, c.req.param('server')));
    app.post('/connect/:server', bound, (c) => this.#leave(c, c.req.param('server')));
    app.notFound((c) => c.json({ error: 'Nothing is served at this path.' }, 404));
    app.onError((thrown, c) => {
      const error = TollgateError.from(thrown);
      if (error.code === 'internal') log.error({ err: error.cause }, 'a page of accounts failed');
      return this.#problem(c, error.message, error.code === 'internal' ? 500 : 400);
    });
    return app;
  }

  async #consent(c: Context, server: string, wrongCode = false): Promise<Response> {
    const handle = c.req.query('link') ?? '';
    const link = this.#links.open(handle, server);
    const host = this.#deps.signIns.host(server);
    if (link === undefined || host === undefined) return this.#problem(c, LINK_OVER);
    const browser = this.#cookieOf(c, 'connect') ?? randomBytes(32).toString('base64url');
    const form = this.#forms.seal({ link: handle, browser: digestOf(browser), expires: link.expires });
    const nonce = nonceOf();
    c.header('set-cookie', this.#cookie('connect', browser, LINK_LIFE), { append: true });
    const view = { nonce, server, host, principal: link.principal, form, wrongCode };
    return c.html(consentPage(view), wrongCode ? 400 : 200, pageHeaders(nonce));
  }

  async #leave(c: Context, server: string): Promise<Response> {
    const { signIns, clock, base } = this.#deps;
    // Browsers say where a form was (Fetch metadata); ours can only have been on our own page.
    const site = c.req.header('sec-fetch-site');
    const body = new URLSearchParams(await c.req.text());
    const form = this.#forms.open(body.get('form') ?? '', clock.wall());
    const browser = this.#cookieOf(c, 'connect');
    const ours =
      form !== undefined &&
      browser !== undefined &&
      same(digestOf(browser), form.browser) &&
      form.link === c.req.query('link') &&
      (site === undefined || site === 'same-origin');
    if (!ours) return this.#problem(c, 'This form was not shown to this browser.');
    const link = this.#links.open(form.link, server);
    if (link === undefined) return this.#problem(c, LINK_OVER);
    if (!this.#links.redeem(link, body.get('code') ?? '')) return this.#consent(c, server, true);
    const { principal } = link;
    const { page, state, pending } = await this.#work(() =>
      signIns.begin(server, principal, `${base()}${callbackPath(server)}`),
    );
    const flow = this.#flows.seal({ server, principal, state, pending, expires: clock.wall() + LINK_LIFE });
    // A browser drops a longer cookie without a word.
    if (flow.length > MAX_COOKIE) throw new TollgateError('server_login_required', `${server}: it asks for too much`);
    c.header('set-cookie', this.#cookie(flowOf(server), flow, LINK_LIFE), { append: true });
    const nonce = nonceOf();
    return c.html(leavingPage(nonce, page.href, page.host), 200, pageHeaders(nonce));
  }

  async #return(c: Context, server: string): Promise<Response> {
    const { signIns, clock, log } = this.#deps;
    const sealed = this.#cookieOf(c, flowOf(server));
    const flow = sealed === undefined ? undefined : this.#flows.open(sealed, clock.wall());
    // Another page may lead here with a code of somebody else; only this browser's own way back carries its state.
    if (flow === undefined || flow.server !== server || !same(c.req.query('state') ?? '', flow.state)) {
      return this.#problem(c, 'This browser has not begun a sign-in here, or it took longer than ten minutes.');
    }
    c.header('set-cookie', this.#cookie(flowOf(server), '', 0), { append: true });
    if (!this.#first(flow)) return this.#problem(c, 'This sign-in was finished already.');
    const { principal } = flow;
    await this.#work(() =>
      signIns.finish(server, principal, flow.pending, {
        code: c.req.query('code'),
        iss: c.req.query('iss'),
        error: c.req.query('error'),
        errorDescription: c.req.query('error_description'),
      }),
    );
    log.info({ server, principal }, 'an account was connected');
    for (const wake of [...(this.#waiting.get(`${principal}\n${server}`) ?? [])]) wake();
    const nonce = nonceOf();
    return c.html(donePage(nonce, server, principal), 200, pageHeaders(nonce));
  }

  /** A state is good once, whatever the browser keeps. */
  #first({ state, expires }: SealedFlow): boolean {
    const now = this.#deps.clock.wall();
    for (const [known, until] of this.#finished) if (until <= now) this.#finished.delete(known);
    if (this.#finished.has(state) || this.#finished.size >= 10_000) return false;
    this.#finished.set(state, expires);
    return true;
  }

  async #work<T>(run: () => Promise<T>): Promise<T> {
    if (this.#atWork >= MAX_AT_WORK) {
      throw new TollgateError('too_many_streams', 'Too many people sign in at this moment. Try again in a minute.');
    }
    this.#atWork++;
    try {
      return await run();
    } finally {
      this.#atWork--;
    }
  }

  async #problem(c: Context, why: string, status: 400 | 500 = 400): Promise<Response> {
    const nonce = nonceOf();
    return c.html(problemPage(nonce, why), status, pageHeaders(nonce));
  }

  #name(what: string): string {
    // `__Host-`: only this host can have set it, over https and for every path, no sub-domain and no plain page.
    return `${this.#deps.base().startsWith('https:') ? '__Host-' : ''}tollgate-${what}`;
  }

  #cookie(what: string, value: string, life: number): string {
    const secure = this.#deps.base().startsWith('https:') ? '; Secure' : '';
    // Lax: the person comes back from another site.
    return `${this.#name(what)}=${value}; Path=/; Max-Age=${life / 1000}; HttpOnly; SameSite=Lax${secure}`;
  }

  /** With several of a name the browser is confused, and then it is nobody. */
  #cookieOf(c: Context, what: string): string | undefined {
    const prefix = `${this.#name(what)}=`;
    const pairs = (c.req.header('cookie') ?? '').split(';').map((pair) => pair.trim());
    const values = pairs.filter((pair) => pair.startsWith(prefix)).map((pair) => pair.slice(prefix.length));
    return values.length === 1 && values[0] !== '' ? values[0] : undefined;
  }
}

/** One for each server, so that two sign-ins of one browser do not disturb each other. */
function flowOf(server: string): string {
  return `connect-${digestOf(server).slice(0, 12)}`;
}

function nonceOf(): string {
  return randomBytes(16).toString('base64');
}

function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

function same(a: string, b: string): boolean {
  return timingSafeEqual(createHash('sha256').update(a).digest(), createHash('sha256').update(b).digest());
}
