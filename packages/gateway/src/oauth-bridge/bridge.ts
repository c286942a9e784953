/**
 * The OAuth bridge: towards MCP clients an authorization server that anybody may register at, towards the identity
 * provider one confidential client that its operator registered. This file is its HTTP side.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { getRequestListener, type HttpBindings } from '@hono/node-server';
import { type Context, Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import type { BridgeFamily } from '../core/bridge-records.ts';
import { TollgateError } from '../core/errors.ts';
import { leavingPage, pageHeaders } from '../core/page.ts';
import { createEgress } from '../egress/egress.ts';
import { Authorization, type Step } from './authorize.ts';
import { Clients } from './clients.ts';
import type { BridgeDeps, BridgeParts } from './contract.ts';
import { oauthCodeOf, refusal, tooOften } from './errors.ts';
import { metadataAt } from './metadata.ts';
import type { BridgeEntry } from './options.ts';
import { consentPage, errorPage } from './pages.ts';
import { Proof } from './proof.ts';
import { Provider } from './provider.ts';
import { Rates } from './rates.ts';
import { type OpenedToken, TokenEndpoint } from './token-endpoint.ts';
import { isMinted, randomText } from './tokens.ts';

const MAX_FORM = 64 * 1024;
const MAX_REGISTRATION = 16 * 1024;
const MINUTE = 60_000;
const PRUNE_EVERY = 10 * MINUTE;
/** What is over is kept so long, to notice when it is used again. */
const REMEMBER_USED = 60 * MINUTE;
/** Of deletions in a row. */
const MAX_ROUNDS = 100;

type Served = Context<{ Bindings: HttpBindings }>;

export interface Bridge {
  /** Takes a request for one of its paths; false: not its path. It answers exactly once. `address`: of the client. */
  handle(request: IncomingMessage, response: ServerResponse, path: string, address: string | undefined): boolean;
  /** Whether a text could be an access token of ours; costs no look into the records. */
  recognises(text: string): boolean;
  /** What an access token of ours stands for; undefined: none of ours, over or revoked. */
  open(token: string): Promise<OpenedToken | undefined>;
  /** Whether a sign-in is known to be over: ended here, or by another gateway and noticed by `follow`. */
  ended(family: string): boolean;
  /** Asks the providers who is at a browser. */
  readonly proof: Proof;
  /** Sign-ins that are not over, the newest 1000, of a principal or of all. */
  signIns(principal: string | undefined): Promise<readonly BridgeFamily[]>;
  /** Ends all of a principal; returns how many there were. */
  endSignIns(principal: string): Promise<number>;
  /** Learns what other gateways of the same records ended. Rejects with `storage_unavailable`. */
  follow(): Promise<boolean>;
  /** Grows when a token that was good is not any more. */
  readonly revision: number;
  close(): void;
}

export function createBridge(deps: BridgeDeps): Bridge {
  return new HttpBridge(deps);
}

class HttpBridge implements Bridge {
  readonly proof: Proof;
  readonly #parts: BridgeParts;
  readonly #authorization: Authorization;
  readonly #tokens: TokenEndpoint;
  readonly #providers = new Map<string, Provider>();
  /** Of clients behind a trusted proxy too, which the socket does not tell. */
  readonly #addresses = new WeakMap<IncomingMessage, string>();
  readonly #listener: (request: IncomingMessage, response: ServerResponse) => unknown;
  readonly #prune: NodeJS.Timeout;
  readonly #registrations = new Rates(MINUTE, 300, 30);
  // Three requests a sign-in, and a whole office may have one address.
  readonly #signIns = new Rates(MINUTE, 6000, 600);
  readonly #redemptions = new Rates(MINUTE, 6000, 600);

  constructor(deps: BridgeDeps) {
    const { egress, records, clock } = deps;
    this.#parts = {
      ...deps,
      clients: new Clients({ egress, records, clock }),
      provider: (entry) => this.#providerOf(entry),
    };
    this.#authorization = new Authorization(this.#parts);
    this.#tokens = new TokenEndpoint(this.#parts);
    this.proof = new Proof(this.#parts);
    this.#listener = getRequestListener(this.#app().fetch, { overrideGlobalObjects: false });
    this.#prune = setInterval(() => void this.#forget(), PRUNE_EVERY).unref();
  }

  get revision(): number {
    return this.#tokens.revision;
  }

  handle(request: IncomingMessage, response: ServerResponse, path: string, address: string | undefined): boolean {
    const view = this.#parts.view();
    if (view.entries.size === 0) return false;
    if (!path.startsWith('/oauth/') && metadataAt(view, path) === undefined) return false;
    if (address !== undefined) this.#addresses.set(request, address);
    this.#listener(request, response);
    return true;
  }

  recognises(text: string): boolean {
    return isMinted('access', text);
  }

  open(token: string): Promise<OpenedToken | undefined> {
    return this.#tokens.open(token);
  }

  ended(family: string): boolean {
    return this.#tokens.ended(family);
  }

  signIns(principal: string | undefined): Promise<readonly BridgeFamily[]> {
    return this.#tokens.signIns(principal);
  }

  endSignIns(principal: string): Promise<number> {
    return this.#tokens.endSignIns(principal);
  }

  follow(): Promise<boolean> {
    return this.#tokens.follow();
  }

  close(): void {
    clearInterval(this.#prune);
  }

  #app(): Hono<{ Bindings: HttpBindings }> {
    const app = new Hono<{ Bindings: HttpBindings }>();
    const { view, clients } = this.#parts;
    app.use('/oauth/register', this.#limit(MAX_REGISTRATION));
    app.use('/oauth/*', this.#limit(MAX_FORM));

    // Hono runs GET for HEAD, but HEAD is safe (RFC 9110 section 9.2.1): a scanner of links must not use up a state.
    for (const path of ['/oauth/authorize/*', '/oauth/callback/*']) {
      app.use(path, (c, next) =>
        c.req.method === 'HEAD' ? Promise.resolve(c.body(null, 405, { allow: 'GET' })) : next(),
      );
    }
    // With what comes after it the path of an endpoint; the pattern takes the bare one too.
    app.get('/oauth/authorize/*', (c) => this.#begin(c, c.req.path.slice('/oauth/authorize'.length) || undefined));
    app.post('/oauth/consent', async (c) => {
      this.#count(c, this.#signIns);
      requireForm(c);
      // Browsers say where a form was (Fetch metadata); ours can only have been on our own page.
      const site = c.req.header('sec-fetch-site');
      if (site !== undefined && site !== 'same-origin') throw refusal('access_denied', 'This form was not ours.');
      return this.#show(c, await this.#authorization.decide(await c.req.text(), c.req.header('cookie')));
    });
    app.get('/oauth/callback/:entry', async (c) => {
      this.#count(c, this.#signIns);
      const entry = c.req.param('entry');
      return this.#show(c, await this.#authorization.finish(entry, queryOf(c), c.req.header('cookie')));
    });
    app.post('/oauth/token', async (c) => {
      this.#count(c, this.#redemptions);
      requireForm(c);
      return c.json(await this.#tokens.answer(await c.req.text()), 200, UNKEPT);
    });
    app.post('/oauth/revoke', async (c) => {
      this.#count(c, this.#redemptions);
      requireForm(c);
      await this.#tokens.revoke(await c.req.text());
      return c.body(null, 200, UNKEPT);
    });
    app.post('/oauth/register', async (c) => {
      this.#count(c, this.#registrations);
      let metadata: unknown;
      try {
        metadata = JSON.parse(await c.req.text());
      } catch {
        throw refusal('invalid_client_metadata', 'The body is not JSON.');
      }
      return c.json(await clients.register(metadata), 201, UNKEPT);
    });
    app.get('*', (c) => {
      const metadata = metadataAt(view(), c.req.path);
      return metadata === undefined ? c.notFound() : c.json(metadata, 200, { 'cache-control': 'max-age=60' });
    });
    app.notFound((c) => c.json({ error: 'not_found', error_description: 'Nothing is served at this path.' }, 404));
    app.onError((thrown, c) => this.#refuse(c, TollgateError.from(thrown)));
    return app;
  }

  async #begin(c: Served, path: string | undefined): Promise<Response> {
    this.#count(c, this.#signIns);
    return this.#show(c, await this.#authorization.begin(queryOf(c), path, c.req.header('cookie')));
  }

  async #show(c: Served, step: Step): Promise<Response> {
    const nonce = randomText();
    if (step.kind === 'redirect') {
      return c.body(null, 302, { ...UNKEPT, location: step.url, 'referrer-policy': 'no-referrer' });
    }
    for (const cookie of step.cookies) c.header('set-cookie', cookie, { append: true });
    const page =
      step.kind === 'leave'
        ? leavingPage(nonce, step.url, step.host)
        : consentPage({ ...step, nonce, verifiedHost: step.host, base: this.#parts.view().base });
    return c.html(page, 200, pageHeaders(nonce));
  }

  /** A person gets a page, a program JSON. */
  async #refuse(c: Context, error: TollgateError): Promise<Response> {
    if (error.code === 'internal')
      this.#parts.log.error({ err: error.cause ?? error }, 'a request to the OAuth bridge failed');
    const retry = error.retryAfterSeconds;
    if (retry !== undefined) c.header('retry-after', String(retry));
    const { path } = c.req;
    const code = oauthCodeOf(error);
    const status = error.code === 'internal' ? 500 : error.http;
    if (path.startsWith('/oauth/authorize') || path.startsWith('/oauth/c')) {
      const nonce = randomText();
      return c.html(errorPage(nonce, error.message), status as 400, pageHeaders(nonce));
    }
    return c.json({ error: code, error_description: error.message }, status as 400, UNKEPT);
  }

  #limit(maxSize: number) {
    return bodyLimit({
      maxSize,
      onError: () => {
        throw refusal('invalid_request', `The body has more than ${maxSize} bytes.`, { http: 413 });
      },
    });
  }

  #count(c: Served, rates: Rates): void {
    const seconds = rates.take(this.#addresses.get(c.env.incoming) ?? '', this.#parts.clock.wall());
    if (seconds !== undefined) throw tooOften(seconds);
  }

  /** One for each entry as it is configured: its metadata and keys are kept with it. */
  #providerOf(entry: BridgeEntry): Provider {
    const known = this.#providers.get(entry.name);
    if (known?.entry === entry) return known;
    const { log, clock, toProvider } = this.#parts;
    const { origin } = new URL(entry.issuer);
    const egress = toProvider?.(origin) ?? createEgress({ trusted: [origin] });
    const made = new Provider(entry, { log, now: () => clock.wall(), egress });
    this.#providers.set(entry.name, made);
    return made;
  }

  /** All of it, however much: storage deletes some thousands at a time, and strangers can begin more in ten minutes. */
  async #forget(): Promise<void> {
    const { records, clock, log } = this.#parts;
    try {
      for (let rounds = 0; rounds < MAX_ROUNDS; rounds++) {
        if ((await records.prune(clock.wall() - REMEMBER_USED)) === 0) return;
      }
    } catch (error) {
      log.warn({ err: error }, 'what is over could not be deleted; it is tried again in ten minutes');
    }
  }
}

const UNKEPT = { 'cache-control': 'no-store', pragma: 'no-cache' };

function queryOf(c: Context): string {
  const at = c.req.url.indexOf('?');
  return at < 0 ? '' : c.req.url.slice(at + 1);
}

function requireForm(c: Context): void {
  if (/^application\/x-www-form-urlencoded *(?:;|$)/i.test(c.req.header('content-type') ?? '')) return;
  throw refusal('invalid_request', 'The body must be application/x-www-form-urlencoded.', { http: 400 });
}
