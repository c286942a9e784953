import { entryText } from '../catalog/merge.ts';
import type { CompiledConfig } from '../config/compile.ts';
import type { Generation } from './generation.ts';
import type { CatalogTool, ConfigurationView } from './operations-port.ts';

/**
 * The configuration in force as a security scan judges it, without any secret. `plainSecrets`: key paths of the file
 * where one stands in plain text; they are known only where the file was read.
 */
export function configurationView(
  { config, endpoints }: Pick<Generation, 'config' | 'endpoints'>,
  plainSecrets: readonly string[],
): ConfigurationView {
  const { identity, listen, admin, admission } = config;
  return {
    plainSecrets,
    listenHost: listen.host,
    adminHost: admin.host,
    anonymous: identity.entries.some(({ kind }) => kind === 'anonymous'),
    hasAuth: identity.entries.some(({ kind }) => kind !== 'anonymous'),
    urls: urls(config),
    wildcards: identity.entries.flatMap((entry) =>
      entry.kind === 'bearer' && entry.scopes.includes('*')
        ? [
            {
              path: `auth.${entry.name}.scopes`,
              who: `${entry.name}/${entry.subject}`,
              may: 'everything, by the scope "*"',
            },
          ]
        : [],
    ),
    limits: admission.limits.filter(({ mode }) => mode === 'enforce').map(({ name }) => name),
    limitsMoney: admission.limits.some(({ quota, rows }) => {
      const any = quota ?? [...rows.values()][0];
      return any !== undefined && 'amount' in any;
    }),
    unpriced: admission.unpriced,
    tools: tools(endpoints, admission.pricesOf),
  };
}

function urls({ servers, webhooks }: CompiledConfig): ConfigurationView['urls'] {
  return [
    ...servers.flatMap(({ name, target }) =>
      target.kind === 'http' ? [{ path: `servers.${name}.url`, url: target.url.href }] : [],
    ),
    ...webhooks.map(({ url }, i) => ({ path: `webhooks[${i}].url`, url: String(url) })),
  ];
}

/** Every tool once, as its server defines it: `/s/<server>` shows all that it offers. */
function tools(endpoints: Generation['endpoints'], pricesOf: CompiledConfig['admission']['pricesOf']): CatalogTool[] {
  const found: CatalogTool[] = [];
  for (const [path, { catalog }] of endpoints) {
    if (!path.startsWith('/s/')) continue;
    for (const entry of catalog.tools) {
      found.push({
        server: entry.server,
        name: entry.upstreamName,
        definition: JSON.parse(entryText(entry, 'modern')),
        priced: pricesOf(entry.canonicalId) !== undefined,
      });
    }
  }
  return found;
}
