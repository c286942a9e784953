/**
 * Stands in for a client in the official suite: starts the gateway with the mock server (the last argument) as its
 * only server and drives the gateway with the plain client, so that what the mock sees is the gateway.
 */
import { resolve } from 'node:path';
import { startChild } from '@tollgate/testkit/child';
import { startGateway } from '@tollgate/testkit/gateway';
import { within } from '@tollgate/testkit/wait';

/** These mocks have no server/discover and are no legacy servers either: an operator pins them. */
const PINNED_MODERN = new Set([
  'http-standard-headers',
  'http-custom-headers',
  'http-invalid-tool-headers',
  'sep-2322-client-request-state',
]);

const upstream = process.argv.at(-1) ?? '';
const scenario = process.env['MCP_CONFORMANCE_SCENARIO'] ?? '';
const protocol = PINNED_MODERN.has(scenario) ? 'modern' : 'auto';
await using gateway = await startGateway(
  { version: 1, servers: { mock: { url: upstream, protocol } } },
  { readyTimeout: 60_000 },
);
const suiteEnvironment = Object.entries(process.env).filter(([key]) => key.startsWith('MCP_CONFORMANCE_'));
await using driver = await startChild(
  process.execPath,
  [resolve(import.meta.dirname, 'client-driver.ts'), gateway.url('/mcp', 'localhost')],
  { env: { ...Object.fromEntries(suiteEnvironment), CONFORMANCE_THROUGH: 'gateway' } },
);
// The suite kills this process after 120 s, which would leave the gateway behind.
const { code } = await within('end of the driver', 100_000, driver.exited).catch(() => ({ code: 1 }));
console.log(driver.transcript());
if (code !== 0) console.log(gateway.child.transcript());
process.exitCode = code ?? 1;
