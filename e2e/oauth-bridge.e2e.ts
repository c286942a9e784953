/**
 * The OAuth bridge as people meet it: unmodified MCP clients with their own OAuth code, the real command line, and
 * oidc-provider as the identity provider that knows one application and registers none.
 */
import {
  Client,
  type OAuthClientMetadata,
  type OAuthClientProvider,
  StreamableHTTPClientTransport,
  UnauthorizedError,
} from '@modelcontextprotocol/client';
import { auth as authV1, type OAuthClientProvider as ProviderV1 } from '@modelcontextprotocol/sdk/client/auth.js';
import { type AuthorizationServer, startAuthorizationServer } from '@tollgate/testkit/authorization-server';
import { Browser } from '@tollgate/testkit/browser';
import { canary } from '@tollgate/testkit/canaries';
import { type FakeHttpServer, startFakeHttp } from '@tollgate/testkit/fake-http';
import { type RunningGateway, startGateway } from '@tollgate/testkit/gateway';
import { modernBody, modernHeaders } from '@tollgate/testkit/modern-request';
import { freePort } from '@tollgate/testkit/ports';
import { type TemporaryDirectory, temporaryDirectory } from '@tollgate/testkit/temporary-directory';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const CALLBACK = 'http://127.0.0.1:9/callback';
const SECRET = canary('application');
let idp: AuthorizationServer;
let server: FakeHttpServer;
let gateway: RunningGateway;
let folder: TemporaryDirectory;

/** In one folder and on one port, over a restart too: its URL is what tokens are for. */
function start(port: number): Promise<RunningGateway> {
  return startGateway(
    {
      version: 1,
      servers: { fake: { url: server.url } },
      endpoints: { '/mcp': { servers: '*', scope: 'calculate' }, '/team': { servers: '*' } },
      auth: [
        {
          name: 'corp',
          oidc: idp.issuer,
          map: { tenant: 'org', tenants: ['acme'], roles: { claim: 'groups', grant: { ops: 'operator' } } },
          bridge: { clientId: 'tollgate', clientSecret: '${env:IDP_SECRET}', scopes: ['calculate'] },
        },
      ],
      access: [{ who: 'role:operator', may: ['fake/*'] }],
    },
    { env: { IDP_SECRET: SECRET }, folder: folder.path, args: ['--listen', `127.0.0.1:${port}`] },
  );
}

beforeAll(async () => {
  idp = await startAuthorizationServer({
    clients: [
      {
        client_id: 'tollgate',
        client_secret: SECRET,
        redirect_uris: ['http://127.0.0.1/oauth/callback/corp'],
        grant_types: ['authorization_code', 'refresh_token'],
      },
      {
        client_id: 'robot',
        client_secret: SECRET,
        redirect_uris: [],
        grant_types: ['client_credentials'],
        response_types: [],
      },
    ],
    users: { ada: { org: 'acme', groups: ['ops'] }, eve: { org: 'elsewhere' } },
    scopes: ['calculate'],
    // Of tokens for programs: the provider knows where they belong.
    configuration: { extraTokenClaims: () => ({ org: 'acme', groups: ['ops'] }) },
  });
  server = await startFakeHttp('modern');
  folder = await temporaryDirectory('oauth-bridge');
  gateway = await start(await freePort());
});
afterAll(async () => {
  await gateway?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
  await idp?.[Symbol.asyncDispose]();
  await folder?.[Symbol.asyncDispose]();
});

/** What a host keeps for one server: in memory, and with a browser that somebody sits at. */
class Host implements OAuthClientProvider {
  readonly browser = new Browser();
  readonly redirectUrl = CALLBACK;
  readonly clientMetadata: OAuthClientMetadata = {
    client_name: 'Editor',
    redirect_uris: [CALLBACK],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
  };
  kept: Record<string, unknown> = {};
  sentTo: URL | undefined;

  state = () => 'the state of the editor';
  clientInformation = () => this.kept['client'] as never;
  saveClientInformation(client: unknown): void {
    this.kept['client'] = client;
  }
  tokens = () => this.kept['tokens'] as never;
  saveTokens(tokens: unknown): void {
    this.kept['tokens'] = tokens;
  }
  discoveryState = () => this.kept['discovery'] as never;
  saveDiscoveryState(state: unknown): void {
    this.kept['discovery'] = state;
  }
  codeVerifier = () => this.kept['verifier'] as string;
  saveCodeVerifier(verifier: string): void {
    this.kept['verifier'] = verifier;
  }
  redirectToAuthorization(url: URL): void {
    this.sentTo = url;
  }

  /** What the person does: looks at our page, allows it, signs in. Gives what the browser brings back to the host. */
  async person(decision = 'approve:corp'): Promise<URLSearchParams> {
    const page = await this.browser.open(this.sentTo?.href ?? '');
    expect(page.text, page.text).toContain('Editor');
    expect(page.headers.get('content-security-policy')).toContain("form-action 'self'");
    const answer = await this.browser.open(
      /action="([^"]+)"/.exec(page.text)?.[1] ?? '',
      { request: page.fields['request'] ?? '', decision },
      // As browsers do with a form.
      { origin: new URL(page.url).origin, 'sec-fetch-site': 'same-origin' },
    );
    const next = answer.location ?? /content="0;url=([^"]+)"/.exec(answer.text)?.[1]?.replaceAll('&amp;', '&') ?? '';
    const back = next.startsWith(CALLBACK) ? next : (await this.browser.follow(next, CALLBACK)).location;
    return new URL(back ?? `x:${answer.text}`).searchParams;
  }
}

const raw = async (path: string, token: string) => {
  const body = modernBody(1, 'tools/list', {});
  const response = await fetch(gateway.url(path), {
    method: 'POST',
    headers: [...modernHeaders('tools/list'), ['authorization', `Bearer ${token}`]],
    body,
  });
  await response.arrayBuffer();
  return response.status;
};

describe('an MCP client before a provider without registration', () => {
  it('SDK v2: registers, is allowed, signs in, calls, refreshes, and is let into one endpoint only', async () => {
    const host = new Host();
    const connect = async () => {
      const client = new Client({ name: 'editor', version: '1' });
      const transport = new StreamableHTTPClientTransport(new URL(gateway.url('/mcp')), { authProvider: host });
      await client.connect(transport);
      return client;
    };
    await expect(connect()).rejects.toBeInstanceOf(UnauthorizedError);
    const transport = new StreamableHTTPClientTransport(new URL(gateway.url('/mcp')), { authProvider: host });
    await transport.finishAuth(await host.person());
    const client = await connect();
    const { tools } = await client.listTools();
    expect(tools.map(({ name }) => name)).toContain('echo');
    const result = await client.callTool({ name: 'echo', arguments: { text: 'over the bridge' } });
    expect(JSON.stringify(result)).toContain('over the bridge');
    await client.close();
    const tokens = host.kept['tokens'] as { access_token: string; refresh_token: string };
    expect(tokens.access_token).toMatch(/^tga_/);
    expect(await raw('/team', tokens.access_token)).toBe(401);
    expect(
      server.requests.some(({ headers }) => headers.authorization !== undefined),
      'it goes no further',
    ).toBe(false);

    host.kept['tokens'] = { ...tokens, access_token: 'tga_over' };
    const again = await connect();
    expect((await again.listTools()).tools.length).toBeGreaterThan(0);
    expect((host.kept['tokens'] as typeof tokens).refresh_token).not.toBe(tokens.refresh_token);
    await again.close();
    const asked = idp.requests.filter(({ form }) => form.get('grant_type') === 'refresh_token');
    expect(asked, 'with what the vault keeps of the sign-in').toHaveLength(1);
  });

  it('SDK v1 takes the same way', async () => {
    const host = new Host();
    const provider = host as unknown as ProviderV1;
    expect(await authV1(provider, { serverUrl: gateway.url('/team') })).toBe('REDIRECT');
    const code = (await host.person()).get('code') ?? '';
    expect(await authV1(provider, { serverUrl: gateway.url('/team'), authorizationCode: code })).toBe('AUTHORIZED');
    const { access_token: token } = host.kept['tokens'] as { access_token: string };
    expect([await raw('/team', token), await raw('/mcp', token)]).toEqual([200, 401]);
  });

  it('a refusal, and a person of another tenant, come back as access_denied', async () => {
    const host = new Host();
    const begin = () => authV1(host as unknown as ProviderV1, { serverUrl: gateway.url('/team') });
    await begin();
    expect((await host.person('deny')).get('error')).toBe('access_denied');
    idp.user = 'eve';
    await begin();
    const answer = await host.person();
    expect([answer.get('error'), answer.get('code')]).toEqual(['access_denied', null]);
    idp.user = 'ada';
  });
});

describe('the same entry', () => {
  it('takes the provider’s own tokens as before', async () => {
    const response = await fetch(`${idp.issuer}/token`, {
      method: 'POST',
      headers: { authorization: `Basic ${btoa(`robot:${SECRET}`)}` },
      body: new URLSearchParams({
        grant_type: 'client_credentials',
        resource: gateway.url('/team'),
        scope: 'calculate',
      }),
    });
    const { access_token: token } = (await response.json()) as { access_token: string };
    expect(token.split('.')).toHaveLength(3);
    expect([await raw('/team', token), await raw('/mcp', token)]).toEqual([200, 401]);
  });
});

describe('a restart', () => {
  it('loses no sign-in: tokens go on, and so does the word of the provider', async () => {
    const host = new Host();
    const provider = host as unknown as ProviderV1;
    const serverUrl = gateway.url('/team');
    await authV1(provider, { serverUrl });
    await authV1(provider, { serverUrl, authorizationCode: (await host.person()).get('code') ?? '' });
    const { access_token: token } = host.kept['tokens'] as { access_token: string };
    const { port } = gateway;
    await gateway[Symbol.asyncDispose]();
    gateway = await start(port);
    expect(await raw('/team', token)).toBe(200);
    expect(await authV1(provider, { serverUrl })).toBe('AUTHORIZED');
    const { access_token: next } = host.kept['tokens'] as { access_token: string };
    expect(next).not.toBe(token);
    expect(await raw('/team', next)).toBe(200);
  });
});
