/**
 * A real authorization server (`oidc-provider`) on loopback: OpenID Connect, PKCE, resource indicators, `iss` in its
 * answers, refresh tokens, revocation, client credentials, and, where asked for, dynamic registration and client id
 * metadata documents. Nobody has to click: whoever comes is `user`, and consents to everything.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { exportJWK, generateKeyPair } from 'jose';
import type Provider from 'oidc-provider';

/** Static registration, in the words of RFC 7591. An `http://127.0.0.1/path` redirect URI is good for every port. */
export interface AuthorizationServerClient {
  readonly client_id: string;
  readonly client_secret?: string;
  readonly redirect_uris?: readonly string[];
  readonly grant_types?: readonly string[];
  readonly response_types?: readonly string[];
  readonly token_endpoint_auth_method?: string;
  readonly [member: string]: unknown;
}

export interface AuthorizationServerOptions {
  readonly clients?: readonly AuthorizationServerClient[];
  /** Claims of each person by subject, in ID tokens, access tokens and userinfo. Default: `ada` without any. */
  readonly users?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** Scopes beside `openid` and `offline_access`. Default none. */
  readonly scopes?: readonly string[];
  /** Takes RFC 7591 registrations. Default false. */
  readonly registration?: boolean;
  /** Takes these client id metadata documents, by URL. Default: none, and does not say it would. */
  readonly clientDocuments?: Readonly<Record<string, object>>;
  /** Resources for which it gives JWT access tokens. Default: every one that is asked for. */
  readonly acceptsResource?: (resource: string) => boolean;
  /** Seconds that access tokens live. Default 600. */
  readonly accessTokenSeconds?: number;
  /** Merged over the configuration of `oidc-provider`, member by member. */
  readonly configuration?: object;
}

export interface AuthorizationRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly form: URLSearchParams;
  readonly authorization: string | undefined;
}

export interface AuthorizationServer extends AsyncDisposable {
  readonly issuer: string;
  readonly provider: Provider;
  /** Who is at the browser for the next sign-in. Default: the first of `users`. */
  user: string;
  /** Refuses the next sign-ins with `access_denied`. */
  refuse: boolean;
  /** Every request so far, in order of arrival. */
  readonly requests: readonly AuthorizationRequest[];
  /** Answers requests to this path with this instead of its own, until it is taken away with `undefined`. */
  answer(path: string, reply: ((request: AuthorizationRequest, response: ServerResponse) => void) | undefined): void;
}

const MAX_KEPT = 5000;

/** Starts the server on a free loopback port. The first start in a process takes about half a second. */
export async function startAuthorizationServer(options: AuthorizationServerOptions = {}): Promise<AuthorizationServer> {
  const { default: OidcProvider } = await import('oidc-provider');
  const users = options.users ?? { ada: {} };
  const claims = [...new Set(Object.values(users).flatMap((user) => Object.keys(user)))];
  const { privateKey } = await generateKeyPair('RS256', { extractable: true });
  const key = { ...(await exportJWK(privateKey)), kid: 'test', alg: 'RS256', use: 'sig' };
  const requests: AuthorizationRequest[] = [];
  const replies = new Map<string, (request: AuthorizationRequest, response: ServerResponse) => void>();
  const sockets = new Set<Socket>();
  const state = { user: Object.keys(users)[0] ?? 'ada', refuse: false };

  const server = createServer();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  const provider = new OidcProvider(issuer, {
    clients: (options.clients ?? []).map((client) => ({ application_type: 'native', ...client })),
    jwks: { keys: [key] },
    cookies: { keys: ['a key of tests'] },
    scopes: ['openid', 'offline_access', ...(options.scopes ?? [])],
    claims: { openid: ['sub', ...claims] },
    conformIdTokenClaims: false,
    pkce: { required: () => true },
    interactions: { url: (_: unknown, { uid }: { uid: string }) => `/interaction/${uid}` },
    findAccount: (_: unknown, accountId: string) => ({
      accountId,
      claims: () => ({ sub: accountId, ...users[accountId] }),
    }),
    extraTokenClaims: (_: unknown, token: { readonly accountId?: string }) =>
      token.accountId === undefined ? undefined : users[token.accountId],
    issueRefreshToken: (_: unknown, client: { grantTypeAllowed(type: string): boolean }) =>
      client.grantTypeAllowed('refresh_token'),
    renderError: (context: { type: string; body: unknown }, out: unknown) => {
      context.type = 'json';
      context.body = out;
    },
    clientBasedCORS: () => false,
    ttl: {
      AccessToken: options.accessTokenSeconds ?? 600,
      ClientCredentials: options.accessTokenSeconds ?? 600,
      IdToken: 600,
      RefreshToken: 86_400,
      Interaction: 600,
      Session: 86_400,
      Grant: 86_400,
    },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: () => true },
      revocation: { enabled: true, allowedPolicy: () => true },
      registration: { enabled: options.registration ?? false },
      ...(options.clientDocuments === undefined
        ? {}
        : { clientIdMetadataDocument: { enabled: true, ack: 'draft-02' } }),
      resourceIndicators: {
        enabled: true,
        defaultResource: (_: unknown, __: unknown, oneOf: unknown) => oneOf,
        useGrantedResource: () => true,
        getResourceServerInfo: (_: unknown, resource: string) => {
          if (options.acceptsResource?.(resource) === false) throw invalidTarget();
          return {
            scope: (options.scopes ?? []).join(' '),
            audience: resource,
            accessTokenFormat: 'jwt',
            jwt: { sign: { alg: 'RS256' } },
          };
        },
      },
    },
    fetch: (url: string | URL, init: RequestInit) => {
      const document = options.clientDocuments?.[String(url)];
      return document === undefined ? fetch(url, init) : Promise.resolve(Response.json(document));
    },
    ...options.configuration,
  });
  provider.on('server_error', (_, error) => {
    process.stderr.write(`authorization server: ${String((error as Error).stack)}\n`);
  });

  const handle = provider.callback();
  server.on('request', (request, response) => void serve(request, response));

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', issuer);
    const body = request.method === 'POST' ? await read(request) : '';
    const entry: AuthorizationRequest = {
      method: request.method ?? 'GET',
      path: url.pathname,
      query: url.searchParams,
      form: new URLSearchParams(body.startsWith('{') ? '' : body),
      authorization: request.headers.authorization,
    };
    if (requests.length < MAX_KEPT) requests.push(entry);
    // The provider takes a body that was read before it, as frameworks leave it.
    (request as IncomingMessage & { body?: unknown }).body = body.startsWith('{')
      ? (JSON.parse(body) as unknown)
      : Object.fromEntries(entry.form);
    const reply = replies.get(url.pathname);
    if (reply !== undefined) reply(entry, response);
    else if (url.pathname.startsWith('/interaction/')) await interact(request, response);
    else handle(request, response);
  }

  async function interact(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { prompt, params, session } = await provider.interactionDetails(request, response);
    if (state.refuse) {
      await provider.interactionFinished(request, response, { error: 'access_denied', error_description: 'refused' });
    } else if (prompt.name === 'login') {
      await provider.interactionFinished(request, response, { login: { accountId: state.user } });
    } else {
      const grant = new provider.Grant({
        accountId: session?.accountId ?? state.user,
        clientId: String(params['client_id']),
      });
      grant.addOIDCScope(String(params['scope'] ?? ''));
      for (const resource of [params['resource']].flat()) {
        if (typeof resource === 'string') grant.addResourceScope(resource, String(params['scope'] ?? ''));
      }
      const consent = { grantId: await grant.save() };
      await provider.interactionFinished(request, response, { consent }, { mergeWithLastSubmission: true });
    }
  }

  return {
    issuer,
    provider,
    requests,
    get user() {
      return state.user;
    },
    set user(user) {
      state.user = user;
    },
    get refuse() {
      return state.refuse;
    },
    set refuse(refuse) {
      state.refuse = refuse;
    },
    answer(path, reply) {
      if (reply === undefined) replies.delete(path);
      else replies.set(path, reply);
    },
    async [Symbol.asyncDispose]() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

async function read(request: IncomingMessage): Promise<string> {
  let body = '';
  for await (const chunk of request.setEncoding('utf8')) body += String(chunk);
  return body;
}

function invalidTarget(): Error {
  return Object.assign(new Error('invalid_target'), {
    error: 'invalid_target',
    status: 400,
    statusCode: 400,
    expose: true,
  });
}
