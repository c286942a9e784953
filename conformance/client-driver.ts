/**
 * The client side of the official suite: `node client-driver.ts URL`, with the scenario in the environment as the
 * suite's runner sets it. Against a gateway (`CONFORMANCE_THROUGH=gateway`) it is a plain client that negotiates.
 */
import {
  Client,
  type ClientOptions,
  type DiscoverResult,
  StreamableHTTPClientTransport,
} from '@modelcontextprotocol/client';
import { authFetch, authProviderFor } from './client-auth.ts';

const url = new URL(process.argv.at(-1) ?? '');
const scenario = process.env['MCP_CONFORMANCE_SCENARIO'] ?? '';
const modern = (process.env['MCP_CONFORMANCE_PROTOCOL_VERSION'] ?? '2025-11-25') >= '2026-07-28';
const throughGateway = process.env['CONFORMANCE_THROUGH'] === 'gateway';
const context = JSON.parse(process.env['MCP_CONFORMANCE_CONTEXT'] ?? '{}') as Record<string, unknown>;

const negotiate = { versionNegotiation: { mode: 'auto' as const } };
const negotiateWhenModern = modern ? negotiate : {};

/** Several mock servers of 2026-07-28 have no server/discover: what it would have said is supplied. */
const PRIOR: { kind: 'modern'; discover: DiscoverResult } = {
  kind: 'modern',
  discover: {
    resultType: 'complete',
    supportedVersions: ['2026-07-28'],
    capabilities: { tools: {}, resources: {}, prompts: {} },
    ttlMs: 0,
    cacheScope: 'private',
  },
};

interface Wiring {
  readonly transport?: NonNullable<ConstructorParameters<typeof StreamableHTTPClientTransport>[1]>;
  readonly noDiscover?: boolean;
  readonly elicit?: Record<string, string | number | boolean>;
}

async function connect(options: ClientOptions = {}, wiring: Wiring = {}): Promise<Client> {
  const useGateway = throughGateway && wiring.noDiscover === true;
  const client = new Client(
    { name: 'conformance-client', version: '1.0.0' },
    { capabilities: {}, ...options, ...(useGateway ? negotiate : {}) },
  );
  const { elicit } = wiring;
  if (elicit !== undefined) {
    client.setRequestHandler('elicitation/create', () => ({ action: 'accept' as const, content: elicit }));
  }
  const transport = new StreamableHTTPClientTransport(url, wiring.transport);
  await client.connect(transport, wiring.noDiscover === true && !throughGateway ? { prior: PRIOR } : undefined);
  return client;
}

async function listAndCall(client: Client, name?: string): Promise<void> {
  await client.listTools();
  if (name !== undefined) await client.callTool({ name, arguments: {} });
  await client.close();
}

/** Calls that a scenario expects to be refused or dropped are allowed to fail. */
function ignoring(promise: Promise<unknown>): Promise<unknown> {
  return promise.catch((error: unknown) => console.error(String(error)));
}

const MRTR_TOOLS = ['test_mrtr_echo_state', 'test_mrtr_no_state', 'test_mrtr_unrelated', 'test_mrtr_no_result_type'];

const scenarios: Record<string, () => Promise<void>> = {
  initialize: async () => listAndCall(await connect()),
  tools_call: async () => {
    const client = await connect(negotiateWhenModern);
    await client.listTools();
    await client.callTool({ name: 'add_numbers', arguments: { a: 5, b: 3 } });
    await client.close();
  },
  'request-metadata': async () => {
    const capabilities = { roots: {}, sampling: {}, elicitation: {} };
    const client = await connect({ ...negotiate, capabilities });
    // Through a gateway the connection alone never reaches the mock: a list does.
    if (throughGateway) await ignoring(client.listTools());
    await client.close();
  },
  'http-standard-headers': async () => {
    const client = await connect({}, { noDiscover: true });
    const tool = (await client.listTools()).tools[0];
    if (tool !== undefined) await client.callTool({ name: tool.name, arguments: {} });
    const resource = (await client.listResources()).resources[0];
    if (resource !== undefined) await client.readResource({ uri: resource.uri });
    const prompt = (await client.listPrompts()).prompts[0];
    if (prompt !== undefined) await client.getPrompt({ name: prompt.name, arguments: {} });
    await client.close();
  },
  'http-custom-headers': async () => {
    const client = await connect({}, { noDiscover: true });
    await client.listTools();
    const calls = (context['toolCalls'] ?? []) as { name: string; arguments: Record<string, unknown> }[];
    for (const call of calls) await client.callTool({ name: call.name, arguments: call.arguments });
    await client.close();
  },
  'http-invalid-tool-headers': async () => {
    const client = await connect({}, { noDiscover: true });
    for (const tool of (await client.listTools()).tools) {
      await ignoring(client.callTool({ name: tool.name, arguments: { region: 'us-west1' } }));
    }
    await client.close();
  },
  'sep-2322-client-request-state': async () => {
    const client = await connect(
      { capabilities: { elicitation: {} } },
      { noDiscover: true, elicit: { confirmed: true } },
    );
    for (const name of MRTR_TOOLS) await ignoring(client.callTool({ name, arguments: {} }));
    await client.close();
  },
  'elicitation-sep1034-client-defaults': async () => {
    const capabilities = { elicitation: { form: { applyDefaults: true } } };
    await listAndCall(await connect({ capabilities }, { elicit: {} }), 'test_client_elicitation_defaults');
  },
  'sse-retry': async () => listAndCall(await connect(), 'test_reconnection'),
  'json-schema-ref-no-deref': async () => listAndCall(await connect(throughGateway ? negotiate : {})),
  'json-schema-2020-12-preservation': async () => {
    const client = await connect(negotiateWhenModern);
    const tool = (await client.listTools()).tools.find((candidate) => candidate.name === 'json_schema_2020_12_tool');
    await client.callTool({ name: 'json_schema_echo', arguments: { schema: tool?.inputSchema } });
    await client.close();
  },
};

async function authScenario(): Promise<void> {
  const authProvider = authProviderFor(scenario, context);
  if (authProvider !== undefined) return listAndCall(await connect({}, { transport: { authProvider } }));
  return listAndCall(
    await connect(negotiate, { transport: { fetch: authFetch(url, scenario, context) } }),
    'test-tool',
  );
}

const run = scenarios[scenario] ?? (scenario.startsWith('auth/') ? authScenario : undefined);
if (run === undefined) {
  console.error(`No driver for the scenario ${scenario}`);
  process.exit(2);
}
try {
  await run();
  process.exit(0);
} catch (error) {
  console.error(error);
  process.exit(1);
}
