/**
 * Accounts of callers at servers: the page to which a call without an account leads, and the way to the authorization
 * server and back. A link is bound to the caller, the way there and back to one browser; the tokens go into the vault
 * under the caller. The one who opens the page must be the one who called (MCP, URL mode elicitation, phishing): where the
 * caller's identity provider can be asked they sign in there first, else a code stands in their own client.
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
import {
  type AccountsDeps,
  CLIENT_DOCUMENT,
  callbackPath,
  PROOF_PATH,
  PROOF_STATE,
  type SignInAnswer,
} from './contract.ts';
import { Cookies } from './cookies.ts';
import { keyFor, LINK_LIFE, Links, type OpenedLink, type ShownLink } from './links.ts';
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

/** A browser on its way to the identity provider and back, to prove that it is the caller's. */
interface SealedProof {
  readonly link: string;
  readonly linkExpires: number;
  readonly server: string;
  readonly principal: string;
  readonly state: string;
  readonly expires: number;
}

const PROOF = /^proof\.([0-9a-f]{12})\.[\w-]{43}$/;
const NOT_BEGUN = 'This browser has not begun a sign-in here, or it took longer than ten minutes.';
const FINISHED = 'This sign-in was finished already.';
const LINK_OVER = 'This link is not valid any more.';
const SOMEBODY_ELSE =
  'This link was made for somebody else than you. If somebody sent it to you, they were after the use of your account.';

export class Accounts {
  readonly #deps: AccountsDeps;
  readonly #links: Links;
  readonly #forms: StateSeal<SealedForm>;
  readonly #flows: StateSeal<SealedFlow>;
  readonly #proofs: StateSeal<SealedProof>;
  readonly #cookies: Cookies;
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
    this.#proofs = new StateSeal({ prefix: 'tgp1.', maxLength: 8192, key: keyFor('proof', deps.key) });
    this.#cookies = new Cookies(deps.base);
    this.#listener = getRequestListener(this.#app().fetch, { overrideGlobalObjects: false });
  }

  /** Where this caller connects an account, and the code that only its client is shown, where one is needed. */
  link(principal: string, server: string): ShownLink {
    const link = this.#links.for(principal, server);
    return this.#deps.proofs.host(principal) === undefined ? link : { ...link, code: undefined };
  }

  /** Takes a request for one of its paths; false: not its path. It answers exactly once. */
  handle(request: IncomingMessage, response: ServerResponse, path: string): boolean {
    if (!path.startsWith('/connect/') && !isProof(path, request.url ?? '')) return false;
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
    for (const path of ['/connect/callback/*', `${PROOF_PATH}*`]) {
      app.use(path, (c, next) =>
        c.req.method === 'HEAD' ? Promise.resolve(c.body(null, 405, { allow: 'GET' })) : next(),
      );
    }
    app.get(`${PROOF_PATH}:entry`, (c) => this.#proved(c, c.req.param('entry')));
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
    const browser = this.#cookies.of(c.req.header('cookie'), 'connect') ?? randomBytes(32).toString('base64url');
    const form = this.#forms.seal({ link: handle, browser: digestOf(browser), expires: link.expires });
    const provider = this.#deps.proofs.host(link.principal);
    const nonce = nonceOf();
    c.header('set-cookie', this.#cookies.line('connect', browser, LINK_LIFE), { append: true });
    const view = { nonce, server, host, principal: link.principal, form, provider, wrongCode };
    return c.html(consentPage(view), wrongCode ? 400 : 200, pageHeaders(nonce));
  }

  async #leave(c: Context, server: string): Promise<Response> {
    const { clock, proofs } = this.#deps;
    // Browsers say where a form was (Fetch metadata); ours can only have been on our own page.
    const site = c.req.header('sec-fetch-site');
    const body = new URLSearchParams(await c.req.text());
    const form = this.#forms.open(body.get('form') ?? '', clock.wall());
    const browser = this.#cookies.of(c.req.header('cookie'), 'connect');
    const ours =
      form !== undefined &&
      browser !== undefined &&
      same(digestOf(browser), form.browser) &&
      form.link === c.req.query('link') &&
      (site === undefined || site === 'same-origin');
    if (!ours) return this.#problem(c, 'This form was not shown to this browser.');
    const link = this.#links.open(form.link, server);
    if (link === undefined) return this.#problem(c, LINK_OVER);
    if (proofs.host(link.principal) !== undefined) return this.#prove(c, link);
    if (!this.#links.redeem(link, body.get('code') ?? '')) return this.#consent(c, server, true);
    return this.#signIn(c, server, link.principal);
  }

  /** To the identity provider, to find out whether who is at this browser is the caller of the link. */
  async #prove(c: Context, link: OpenedLink): Promise<Response> {
    const { clock, proofs } = this.#deps;
    const { id, expires: linkExpires, server, principal } = link;
    if (!this.#links.leave(link)) return this.#problem(c, LINK_OVER);
    const state = `${PROOF_STATE}${shortOf(server)}.${randomBytes(32).toString('base64url')}`;
    const page = await this.#work(() => proofs.begin(principal, state));
    const expires = clock.wall() + LINK_LIFE;
    const proof = this.#proofs.seal({ link: id, linkExpires, server, principal, state, expires });
    return this.#go(c, page, proofOf(shortOf(server)), proof, server);
  }

  /** Back from the identity provider. Only the caller goes on; anybody else uses the link up and learns nothing. */
  async #proved(c: Context, entry: string): Promise<Response> {
    const { clock, log, proofs } = this.#deps;
    const state = c.req.query('state') ?? '';
    const cookie = proofOf(PROOF.exec(state)?.[1] ?? '');
    const sealed = this.#cookies.of(c.req.header('cookie'), cookie);
    const proof = sealed === undefined ? undefined : this.#proofs.open(sealed, clock.wall());
    // The page of the provider can be sent to somebody else, who would prove to be whoever the sender wants.
    if (proof === undefined || !same(state, proof.state)) return this.#problem(c, NOT_BEGUN);
    c.header('set-cookie', this.#cookies.line(cookie, '', 0), { append: true });
    if (!this.#first(proof)) return this.#problem(c, FINISHED);
    const { server, principal } = proof;
    const proved = await this.#work(() => proofs.prove(principal, state, entry, answerOf(c)));
    // Used up in both cases: it has reached somebody whom it was not made for, or it has done its work.
    const unused = this.#links.spend({ id: proof.link, expires: proof.linkExpires });
    if (!proved) {
      log.warn({ server, principal }, 'a link to connect an account was opened by somebody else than its caller');
      return this.#problem(c, SOMEBODY_ELSE, 403);
    }
    return unused ? this.#signIn(c, server, principal) : this.#problem(c, LINK_OVER);
  }

  async #signIn(c: Context, server: string, principal: string): Promise<Response> {
    const { signIns, clock, base } = this.#deps;
    const { page, state, pending } = await this.#work(() =>
      signIns.begin(server, principal, `${base()}${callbackPath(server)}`),
    );
    const flow = this.#flows.seal({ server, principal, state, pending, expires: clock.wall() + LINK_LIFE });
    return this.#go(c, page, flowOf(server), flow, server);
  }

  /** The browser leaves, with a cookie that it shows when it comes back. */
  async #go(c: Context, page: URL, cookie: string, sealed: string, server: string): Promise<Response> {
    // A browser drops a longer cookie without a word.
    if (sealed.length > MAX_COOKIE) throw new TollgateError('server_login_required', `${server}: it asks for too much`);
    c.header('set-cookie', this.#cookies.line(cookie, sealed, LINK_LIFE), { append: true });
    const nonce = nonceOf();
    return c.html(leavingPage(nonce, page.href, page.host), 200, pageHeaders(nonce));
  }

  async #return(c: Context, server: string): Promise<Response> {
    const { signIns, clock, log } = this.#deps;
    const sealed = this.#cookies.of(c.req.header('cookie'), flowOf(server));
    const flow = sealed === undefined ? undefined : this.#flows.open(sealed, clock.wall());
    // Another page may lead here with a code of somebody else; only this browser's own way back carries its state.
    if (flow === undefined || flow.server !== server || !same(c.req.query('state') ?? '', flow.state)) {
      return this.#problem(c, NOT_BEGUN);
    }
    c.header('set-cookie', this.#cookies.line(flowOf(server), '', 0), { append: true });
    if (!this.#first(flow)) return this.#problem(c, FINISHED);
    const { principal } = flow;
    await this.#work(() => signIns.finish(server, principal, flow.pending, answerOf(c)));
    log.info({ server, principal }, 'an account was connected');
    for (const wake of [...(this.#waiting.get(`${principal}\n${server}`) ?? [])]) wake();
    const nonce = nonceOf();
    return c.html(donePage(nonce, server, principal), 200, pageHeaders(nonce));
  }

  /** A state is good once, whatever the browser keeps. */
  #first({ state, expires }: Pick<SealedFlow, 'state' | 'expires'>): boolean {
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

  async #problem(c: Context, why: string, status: 400 | 403 | 500 = 400): Promise<Response> {
    const nonce = nonceOf();
    return c.html(problemPage(nonce, why), status, pageHeaders(nonce));
  }
}

/** One for each server, so that two sign-ins of one browser do not disturb each other. */
function flowOf(server: string): string {
  return `connect-${shortOf(server)}`;
}

/** The same of a proof, whose state names it. */
function proofOf(short: string): string {
  return `prove-${short}`;
}

function shortOf(server: string): string {
  return digestOf(server).slice(0, 12);
}

/** Whether a provider's answer is to a question of ours, and not to one of the bridge. */
function isProof(path: string, url: string): boolean {
  if (!path.startsWith(PROOF_PATH)) return false;
  const query = url.indexOf('?');
  return query >= 0 && new URLSearchParams(url.slice(query)).get('state')?.startsWith(PROOF_STATE) === true;
}

function answerOf(c: Context): SignInAnswer {
  return {
    code: c.req.query('code'),
    iss: c.req.query('iss'),
    error: c.req.query('error'),
    errorDescription: c.req.query('error_description'),
  };
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
