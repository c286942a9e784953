import type { CompiledConfig } from './compile.ts';
import type { Config } from './schema.ts';

/** The configuration with the defaults that depend on other values filled in, in the form of the schema. */
export function effectiveConfig(config: Config, compiled: CompiledConfig): unknown {
  const { string, streamsPerPrincipal } = compiled.inbound.caps;
  const { origins: _origins, toolhive: _toolhive, ...keys } = config;
  return {
    ...keys,
    admin: compiled.admin,
    caps: { ...config.caps, string, streamsPerPrincipal },
    servers: Object.fromEntries(
      compiled.servers.map((server) => {
        const { protocol, timeout, instances, pool } = server;
        const kind = server.target.kind === 'stdio' ? { instances } : { pool };
        return [server.name, { ...config.servers[server.name], protocol, timeout, ...kind }];
      }),
    ),
    endpoints: Object.fromEntries(
      compiled.endpoints
        .filter(({ path }) => config.endpoints === undefined || path in config.endpoints)
        .filter(({ path }) => !path.startsWith('/s/'))
        .map(({ path, catalog, refusals }) => [
          path,
          {
            servers: '*',
            naming: catalog.naming,
            tools: { deny: [] },
            onUnavailable: catalog.onUnavailable,
            listTimeout: catalog.listTimeout,
            ...config.endpoints?.[path],
            refusals,
          },
        ]),
    ),
    auth: config.auth ?? (compiled.identity.loopback ? [{ anonymous: true }] : []),
  };
}
