/**
 * Stands in for a client in the sign-in scenarios of the official suite: `node client-auth-gateway.ts URL`. What the
 * mock sees is the gateway's own connection to a server, with its own sign-in, vault and tokens; the person is a robot
 * that agrees to everything, as often as a person would.
 */
import { discoverOAuthServerInfo } from '@modelcontextprotocol/client';
import { compile } from '../packages/gateway/src/config/compile.ts';
import { loadConfigObject } from '../packages/gateway/src/config/load.ts';
import { systemClock } from '../packages/gateway/src/core/clock.ts';
import { TollgateError } from '../packages/gateway/src/core/errors.ts';
import { Lifetime } from '../packages/gateway/src/core/lifetime.ts';
import { silentLog } from '../packages/gateway/src/core/log.ts';
import { lanesOf, type Principal } from '../packages/gateway/src/core/principal.ts';
import { GatewayState } from '../packages/gateway/src/pipeline/state.ts';
import { encode } from '../packages/gateway/src/protocol/json/splice.ts';
import type { Connection } from '../packages/gateway/src/protocol/peer.ts';
import { createCredentials } from '../packages/gateway/src/upstream/auth/credentials.ts';
import { login } from '../packages/gateway/src/upstream/auth/login.ts';
import { ownParams } from '../packages/gateway/src/upstream/discover.ts';
import type { HttpServerOptions } from '../packages/gateway/src/upstream/http-client.ts';
import { createServer } from '../packages/gateway/src/upstream/servers.ts';

const url = process.argv.at(-1) ?? '';
const scenario = process.env['MCP_CONFORMANCE_SCENARIO'] ?? '';
const context = JSON.parse(process.env['MCP_CONFORMANCE_CONTEXT'] ?? '{}') as Record<string, unknown>;
const text = (key: string): string => String(context[key] ?? '');
/** Sign-ins that a person is asked for before they give up. */
const PATIENCE = 3;

const PERSON: Principal = Object.freeze({
  id: 'corp/robot',
  person: 'corp/robot',
  key: 1,
  lanes: lanesOf('corp/robot'),
  entry: 'corp',
  subject: 'robot',
  tenant: undefined,
  tier: undefined,
  roles: [],
  scopes: undefined,
  clientId: undefined,
});

/** Who registers a client by hand knows where; the suite says it only in the documents of its mocks. */
async function issuer(): Promise<string> {
  const { authorizationServerMetadata, authorizationServerUrl } = await discoverOAuthServerInfo(url);
  return authorizationServerMetadata?.issuer ?? authorizationServerUrl;
}

/** `auth` of the server, as an operator would write it for the scenario. */
async function configuredAuth(): Promise<unknown> {
  const client = { clientId: text('client_id'), clientSecret: text('client_secret') };
  switch (scenario) {
    case 'auth/client-credentials-basic':
      return { clientCredentials: { issuer: await issuer(), ...client } };
    case 'auth/client-credentials-jwt': {
      const privateKey = text('private_key_pem');
      return { clientCredentials: { issuer: await issuer(), clientId: client.clientId, privateKey } };
    }
    case 'auth/enterprise-managed-authorization': {
      const idp = { tokenEndpoint: text('idp_token_endpoint'), clientId: text('idp_client_id') };
      return { enterprise: { idp, issuer: await issuer(), ...client } };
    }
    case 'auth/pre-registration':
      return { oauth: { issuer: await issuer(), ...client } };
    default:
      return { oauth: { clientMetadataUrl: 'https://conformance-test.local/client-metadata.json' } };
  }
}

/** A browser of which the person agrees to everything. */
async function agree(page: URL): Promise<boolean> {
  const response = await fetch(page, { redirect: 'manual' });
  const location = response.headers.get('location');
  if (location !== null) void fetch(location).then((answer) => answer.text());
  return true;
}

function request(connection: Connection, method: string, params: Record<string, unknown>): Promise<unknown> {
  const all = connection.era === 'modern' ? ownParams(params) : params;
  return new Promise((resolve, reject) => {
    connection.request(
      {
        message: encode({ jsonrpc: '2.0', id: 0, method, params: all }),
        target: undefined,
        headerName: typeof params['name'] === 'string' ? params['name'] : undefined,
        paramHeaders: undefined,
        principal: PERSON,
        lifetime: new Lifetime(),
      },
      {
        onNotification: () => undefined,
        onServerRequest: (_request, answer) => answer(new TollgateError('not_bridgeable', 'nobody is here')),
        onResponse: (message) => resolve(message.object()),
        onFailure: reject,
      },
    );
  });
}

const auth = await configuredAuth();
const loaded = await loadConfigObject({ servers: { mock: { url, auth } } } as Parameters<typeof loadConfigObject>[0]);
const options = compile(loaded.config).servers[0] as HttpServerOptions;
const state = await GatewayState.transient({ clock: systemClock, log: silentLog });
const subjects = { accessToken: () => undefined, idToken: async () => text('idp_id_token') };
const credentials = createCredentials(options, { secrets: state.vault, subjects, clock: systemClock });

async function listAndCall(): Promise<void> {
  const server = createServer(options, { log: silentLog, credentials: () => credentials });
  try {
    const scope = { era: 'modern', principal: PERSON, session: undefined, purpose: 'call' } as const;
    const connection = await server.connect(scope);
    await request(connection, 'tools/list', {});
    await request(connection, 'tools/call', { name: 'test-tool', arguments: {} });
  } finally {
    await server.close();
  }
}

let code = 1;
try {
  for (let signIns = 0; ; signIns++) {
    const failure = await listAndCall().then(
      () => undefined,
      (thrown: unknown) => TollgateError.from(thrown),
    );
    if (failure === undefined) {
      code = 0;
      break;
    }
    console.error(`${failure.code}: ${failure.message}`);
    const helps = failure.code === 'server_login_required' && options.auth?.kind === 'oauth';
    if (!helps || signIns === PATIENCE) break;
    await login(options, {
      secrets: state.vault,
      openBrowser: agree,
      print: () => undefined,
      signal: AbortSignal.timeout(60_000),
    });
  }
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
}
await state.close();
process.exit(code);
