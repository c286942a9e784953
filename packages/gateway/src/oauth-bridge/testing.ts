/** A bridge on a loopback port between a real provider and a browser, for tests. */

import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type AuthorizationServer, startAuthorizationServer } from '@tollgate/testkit/authorization-server';
import { Browser, type Page } from '@tollgate/testkit/browser';
import type { BridgeRecords } from '../core/bridge-records.ts';
import type { Log } from '../core/log.ts';
import { silentLog } from '../core/log.ts';
import type { SecretId, SecretInfo, Secrets } from '../core/secrets.ts';
import { createEgress } from '../egress/egress.ts';
import { type Bridge, createBridge } from './bridge.ts';
import type { Person } from './contract.ts';
import { MemoryRecords } from './memory-records.ts';
import type { BridgeEndpoint, BridgeEntry, BridgeView } from './options.ts';
import { challengeOf, randomText } from './tokens.ts';

export const CLIENT_REDIRECT = 'https://client.example/callback';

/** A vault that is a map. */
export class MapSecrets implements Secrets {
  readonly values = new Map<string, string>();
  readonly #locks = new Map<string, Promise<unknown>>();
  static key({ owner, purpose, name }: SecretId): string {
    return JSON.stringify([owner, purpose, name]);
  }
  async get(id: SecretId): Promise<string | undefined> {
    return this.values.get(MapSecrets.key(id));
  }
  async previous(): Promise<undefined> {}
  async info(): Promise<undefined> {}
  async put(id: SecretId, value: string): Promise<SecretInfo> {
    this.values.set(MapSecrets.key(id), value);
    return { id } as SecretInfo;
  }
  async remove(id: SecretId): Promise<boolean> {
    return this.values.delete(MapSecrets.key(id));
  }
  revoke(id: SecretId): Promise<boolean> {
    return this.remove(id);
  }
  async list(): Promise<readonly SecretInfo[]> {
    return [];
  }
  async exclusive<T>(id: SecretId, run: () => Promise<T>): Promise<T> {
    const key = MapSecrets.key(id);
    const turn = (this.#locks.get(key) ?? Promise.resolve()).then(run);
    this.#locks.set(
      key,
      turn.catch(() => undefined),
    );
    return turn;
  }
}

export interface BridgeUnderTest extends AsyncDisposable {
  readonly base: string;
  /** Where it listens, which differs from `base` behind a proxy. */
  readonly here: string;
  readonly bridge: Bridge;
  readonly records: BridgeRecords;
  readonly secrets: MapSecrets;
  readonly log: readonly { readonly level: string; readonly text: string }[];
  /** Documents of client ids, by URL; everything else cannot be fetched. */
  readonly documents: Map<string, unknown>;
  readonly fetched: string[];
  /** What the providers answered the bridge. */
  readonly provided: { readonly url: string; readonly text: string }[];
  /** Added to the time of the bridge. */
  ahead: number;
  /** Replaces the endpoints or entries in force. */
  change(view: Partial<BridgeView>): void;
  /** Who a person is; undefined: not let in. */
  person: (entry: string, claims: Readonly<Record<string, unknown>>) => Person | undefined;
  post(
    path: string,
    form: Readonly<Record<string, string>>,
  ): Promise<{ status: number; body: Record<string, unknown> }>;
  register(metadata?: object): Promise<string>;
}

export interface BridgeTestOptions {
  readonly records?: BridgeRecords;
  readonly endpoints?: readonly Omit<BridgeEndpoint, 'resource'>[];
  readonly secrets?: boolean;
  readonly base?: string;
  readonly key?: Uint8Array;
}

export function startIdp(): Promise<AuthorizationServer> {
  return startAuthorizationServer({
    clients: [
      {
        client_id: 'tollgate',
        client_secret: 'the-secret-of-the-gateway:%+',
        redirect_uris: ['http://127.0.0.1/oauth/callback/corp', 'https://gw.example/oauth/callback/corp'],
        grant_types: ['authorization_code', 'refresh_token'],
      },
    ],
    users: { ada: { org: 'acme', groups: ['dev'] }, bob: { org: 'acme' } },
  });
}

export function entryOf(idp: AuthorizationServer, more: Partial<BridgeEntry> = {}): BridgeEntry {
  return {
    name: 'corp',
    issuer: idp.issuer,
    clientId: 'tollgate',
    clientSecret: 'the-secret-of-the-gateway:%+',
    scopes: ['read', 'math:*'],
    ask: undefined,
    parameters: {},
    ...more,
  };
}

export async function startBridge(
  entries: readonly BridgeEntry[],
  options: BridgeTestOptions = {},
): Promise<BridgeUnderTest> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const here = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const base = options.base ?? here;
  const endpoints = options.endpoints ?? [
    { path: '/mcp', entries: ['corp'], scopes: ['read'] },
    { path: '/team', entries: ['corp'], scopes: [] },
    { path: '/keys', entries: [], scopes: [] },
  ];
  let view: BridgeView = {
    base,
    entries: new Map(entries.map((entry) => [entry.name, entry])),
    endpoints: endpoints.map((endpoint) => ({ ...endpoint, resource: base + endpoint.path })),
  };
  const lines: { level: string; text: string }[] = [];
  const records = options.records ?? new MemoryRecords();
  const secrets = new MapSecrets();
  const key = options.key ?? randomBytes(32);
  const test = {
    base,
    here,
    records,
    secrets,
    log: lines,
    documents: new Map<string, unknown>(),
    fetched: [] as string[],
    provided: [] as { url: string; text: string }[],
    ahead: 0,
    person: (entry: string, claims: Readonly<Record<string, unknown>>): Person | undefined => ({
      principal: `${entry}/${String(claims['sub'])}`,
      scopes: [],
    }),
    change(next: Partial<BridgeView>) {
      view = { ...view, ...next };
    },
  };
  const bridge = createBridge({
    clock: { wall: () => Date.now() + test.ahead, monotonic: () => performance.now() },
    log: recording(lines),
    records,
    secrets: options.secrets === false ? undefined : secrets,
    key: () => key,
    view: () => view,
    person: (entry, claims) => test.person(entry, claims),
    toProvider: (origin) => {
      const egress = createEgress({ trusted: [origin] });
      return async (url, init) => {
        const response = await egress(url, init);
        test.provided.push({ url: String(url), text: await response.clone().text() });
        return response;
      };
    },
    egress: async (url) => {
      test.fetched.push(String(url));
      const document = test.documents.get(String(url));
      if (document === undefined) throw new Error('refused');
      return document instanceof Response ? document.clone() : Response.json(document);
    },
  });
  server.on('request', (request, response) => {
    const path = (request.url ?? '').split('?')[0]!;
    if (!bridge.handle(request, response, path, request.socket.remoteAddress)) response.writeHead(404).end();
  });
  const post: BridgeUnderTest['post'] = async (path, form) => {
    const response = await fetch(here + path, { method: 'POST', body: new URLSearchParams(form) });
    const text = await response.text();
    return { status: response.status, body: (text === '' ? {} : JSON.parse(text)) as Record<string, unknown> };
  };
  return Object.assign(test, {
    bridge,
    post,
    async register(metadata: object = {}) {
      const response = await fetch(`${here}/oauth/register`, {
        method: 'POST',
        body: JSON.stringify({ client_name: 'Editor', redirect_uris: [CLIENT_REDIRECT], ...metadata }),
      });
      const { client_id: id } = (await response.json()) as { client_id?: string };
      if (id === undefined) throw new Error(`Not registered: ${response.status}`);
      return id;
    },
    async [Symbol.asyncDispose]() {
      bridge.close();
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  });
}

function recording(lines: { level: string; text: string }[]): Log {
  const write = (level: string) => (fields: object, message: string) => {
    lines.push({
      level,
      text: `${message} ${JSON.stringify(fields, (_, value: unknown) => (value instanceof Error ? `${value.message} ${String(value.cause ?? '')}` : value))}`,
    });
  };
  return { ...silentLog, debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') };
}

/** A client's program that sends one person through the bridge. */
export class TestClient {
  readonly verifier = randomText();
  readonly state = randomText();
  readonly browser: Browser;
  readonly id: string;
  readonly #at: BridgeUnderTest;

  constructor(at: BridgeUnderTest, id: string, browser = new Browser()) {
    this.#at = at;
    this.id = id;
    this.browser = browser;
  }

  url(more: Readonly<Record<string, string | undefined>> = {}, path = '/oauth/authorize'): string {
    const query = new URLSearchParams();
    const parameters = {
      response_type: 'code',
      client_id: this.id,
      redirect_uri: CLIENT_REDIRECT,
      code_challenge: challengeOf(this.verifier),
      code_challenge_method: 'S256',
      state: this.state,
      scope: 'read admin',
      resource: `${this.#at.base}/mcp`,
      ...more,
    };
    for (const [name, value] of Object.entries(parameters)) if (value !== undefined) query.set(name, value);
    return `${this.#at.base}${path}?${query}`;
  }

  ask(more: Readonly<Record<string, string | undefined>> = {}, path?: string): Promise<Page> {
    return this.browser.open(this.url(more, path));
  }

  /** Presses a button of our page. */
  answer(page: Page, decision = 'approve:corp', more: Readonly<Record<string, string>> = {}): Promise<Page> {
    const { request = '' } = page.fields;
    return this.browser.open(`${this.#at.base}/oauth/consent`, { request, decision, ...more });
  }

  /** From the request to the provider's page: what the leaving page leads to. */
  async leave(more: Readonly<Record<string, string | undefined>> = {}): Promise<string> {
    return leavingTo(await this.answer(await this.ask(more)));
  }

  /** Signs in at the provider; stops before our callback. */
  async signIn(url: string, browser = this.browser): Promise<string> {
    const page = await browser.follow(url, `${this.#at.base}/oauth/callback/`);
    return page.location ?? '';
  }

  /** All of it: the parameters with which the client is called back. */
  async code(more: Readonly<Record<string, string | undefined>> = {}): Promise<URLSearchParams> {
    const page = await this.browser.open(await this.signIn(await this.leave(more)));
    return new URL(page.location ?? `x:${page.text}`).searchParams;
  }

  redeem(code: string | null, more: Readonly<Record<string, string>> = {}) {
    return this.#at.post('/oauth/token', {
      grant_type: 'authorization_code',
      client_id: this.id,
      code: code ?? '',
      redirect_uri: CLIENT_REDIRECT,
      code_verifier: this.verifier,
      resource: `${this.#at.base}/mcp`,
      ...more,
    });
  }

  refresh(token: unknown, more: Readonly<Record<string, string>> = {}) {
    return this.#at.post('/oauth/token', {
      grant_type: 'refresh_token',
      client_id: this.id,
      refresh_token: String(token),
      ...more,
    });
  }
}

/** Where a page that leaves by itself goes. */
export function leavingTo(page: Page): string {
  const url = /<meta http-equiv="refresh" content="0;url=([^"]*)">/.exec(page.text)?.[1];
  if (url === undefined) throw new Error(`The page goes nowhere: ${page.status} ${page.text}`);
  return url.replaceAll('&amp;', '&');
}
