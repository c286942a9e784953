/**
 * A full proxy in one file: three upstreams, routes with scopes, bearer tokens, limits, transformers, statistics.
 *
 *   node proxy.ts [listen address]
 */
import { join } from 'node:path';
import { createProxy, metadataTransformer, redactTransformer, TollgateError } from 'tollgate';
import { TOKENS } from './tokens.ts';

const server = (name: string) =>
  ({
    name,
    transport: 'stdio',
    command: process.execPath,
    args: [join(import.meta.dirname, `${name}-server.ts`)],
    timeout: { request: '30s' },
  }) as const;

const proxy = createProxy('example')
  .addUpstream(server('math'))
  .addUpstream(server('data'))
  .addUpstream(server('admin'))
  // The first route that matches a name decides which server runs it and which scope it needs.
  .addRoute({ tool: 'calculate', to: 'math', scope: 'calculate' })
  .addRoute({ tool: 'math_*', to: 'math', scope: 'calculate', timeout: '10s' })
  .addRoute({ tool: 'search_users', to: 'data', scope: 'read_data' })
  .addRoute({ tool: 'get_user_stats', to: 'data', scope: 'read_data' })
  .addRoute({ resource: 'data://*', to: 'data', scope: 'read_data' })
  .addRoute({ tool: 'admin_*', to: 'admin', scope: 'admin:run' })
  .setBearerAuth([
    { subject: 'analyst', token: TOKENS.analyst, scopes: ['calculate', 'read_data'] },
    { subject: 'admin', token: TOKENS.admin, scopes: ['calculate', 'read_data', 'admin:*'] },
  ])
  .setRateLimit({ global: { limit: 1000, windowMs: 60_000 }, client: { limit: '60/min', burst: 20 } })
  .setToolRateLimit('math_power', '3/min')
  // What leaves the proxy says which call it was; what reaches a server never holds a password.
  .addRequestTransformer('secrets', redactTransformer(['password', 'apiKey']))
  .addRequestTransformer('small exponents', (call, args) => {
    if (call.canonicalId === 'math/math_power' && Number(args['b']) > 1000) {
      throw new TollgateError('access_denied', 'Exponents above 1000 are not served here.');
    }
  })
  .addResponseTransformer('metadata', metadataTransformer('example'));

const running = await proxy.run('http', { listen: process.argv[2] ?? '127.0.0.1:7117' });
console.log(`Serving ${running.url}`);
console.log('Upstreams:', JSON.stringify(proxy.getUpstreamHealth()));

function printStatistics(): void {
  const { total, successful, failed, refused, upstreams } = proxy.getStats();
  console.log(`Statistics: ${total} calls, ${successful} successful, ${failed} failed, ${refused} refused`);
  for (const [name, counts] of Object.entries(upstreams)) {
    console.log(`  ${name}: ${counts.total} calls, ${counts.latency?.average.toFixed(1) ?? '-'} ms on average`);
  }
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    printStatistics();
    void running.close();
  });
}
