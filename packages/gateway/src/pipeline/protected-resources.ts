/** What an MCP client reads to learn where tokens for an endpoint are made (RFC 9728; MCP authorization, section 2). */
import type { CompiledConfig, EndpointOptions } from '../config/compile.ts';
import type { AuthEntry } from '../identity/options.ts';

const WELL_KNOWN = '/.well-known/oauth-protected-resource';

/** The documents of one configuration. `base`: the gateway as clients reach it, without a trailing slash. */
export class ProtectedResources {
  readonly #config: CompiledConfig;
  readonly #base: () => string;
  readonly #endpoints: ReadonlyMap<string, EndpointOptions>;

  constructor(config: CompiledConfig, base: () => string) {
    this.#config = config;
    this.#base = base;
    this.#endpoints = new Map(config.endpoints.map((endpoint) => [endpoint.path, endpoint]));
  }

  /** Canonical URI of an endpoint, which tokens for it name as their audience; of the REST surface for the empty path. */
  resource(path: string): string {
    return this.#base() + path;
  }

  /** URL of an endpoint's document; undefined: no authorization server makes tokens for it. */
  metadataUrl(path: string): string | undefined {
    if (this.#authorizationServers(path).length === 0) return undefined;
    const { origin, pathname } = new URL(this.resource(path));
    return `${origin}${WELL_KNOWN}${pathname}`;
  }

  /** JSON text of the document at a path of this gateway; undefined: there is none. */
  document(path: string): string | undefined {
    if (!path.startsWith(WELL_KNOWN)) return undefined;
    const endpoint = this.#endpointOf(path.slice(WELL_KNOWN.length));
    if (endpoint === undefined) return undefined;
    const servers = this.#authorizationServers(endpoint.path);
    if (servers.length === 0) return undefined;
    return JSON.stringify({
      resource: this.resource(endpoint.path),
      authorization_servers: servers,
      // Only what every operation needs: the rest is asked for when it is needed.
      ...(endpoint.scope === undefined ? {} : { scopes_supported: [endpoint.scope] }),
      bearer_methods_supported: ['header'],
    });
  }

  #endpointOf(suffix: string): EndpointOptions | undefined {
    // Clients that know of no paths ask at the root.
    if (suffix === '') return this.#endpoints.get('/mcp') ?? this.#config.endpoints[0];
    const prefix = new URL(this.#base()).pathname.replace(/\/$/, '');
    const inside = prefix !== '' && suffix.startsWith(`${prefix}/`) ? suffix.slice(prefix.length) : undefined;
    return (inside === undefined ? undefined : this.#endpoints.get(inside)) ?? this.#endpoints.get(suffix);
  }

  #authorizationServers(path: string): readonly string[] {
    const { entries, endpointEntries } = this.#config.identity;
    const names = endpointEntries.get(path);
    const issuers = entries
      .filter(({ name }) => names === undefined || names.includes(name))
      .map((entry) => this.#issuerOf(entry, path));
    return [...new Set(issuers.filter((issuer) => issuer !== undefined))];
  }

  /** The gateway itself where it stands between clients and a provider that they cannot register with. */
  #issuerOf(entry: AuthEntry, path: string): string | undefined {
    if (entry.kind !== 'jwt' && entry.kind !== 'oidc') return undefined;
    if (this.#config.bridges.some(({ name }) => name === entry.name)) return this.resource(path);
    const { issuer } = entry.rules;
    const url = URL.parse(issuer);
    return url?.protocol === 'https:' || url?.protocol === 'http:' ? issuer : undefined;
  }
}
