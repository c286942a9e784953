/**
 * Whose tokens a file of ToolHive accepts: the `oidc` of a generated file, or the MCPOIDCConfig that a manifest refers to.
 * Only tokens that are JWTs, checked with the keys of their issuer; what ToolHive does beside that is said in a warning.
 */
import type { Cursor } from './cursor.ts';

/** Read and judged; `entry` is one of `auth`, without its name. */
export interface IncomingOidc {
  readonly entry: Readonly<Record<string, unknown>>;
  /** Where clients from outside reach the gateway; undefined: the file does not say. */
  readonly publicUrl: { readonly origin: string; readonly from: Cursor } | undefined;
  readonly from: Cursor;
}

const INLINE = {
  // Whoever writes the file chose these URLs, private addresses or not; a client id is only for introspection.
  used: ['issuer', 'jwksUrl', 'introspectionUrl', 'clientId', 'clientSecretRef', 'caBundleRef', 'insecureAllowHTTP'],
  cluster: ['jwksAllowPrivateIP', 'protectedResourceAllowPrivateIP'],
  later: ['jwksAuthTokenPath'],
} as const;

/** `incomingAuth.oidc` of a generated file, whose keys were judged before. */
export function readInlineOidc(oidc: Cursor): IncomingOidc | undefined {
  return readProvider(oidc, {
    audience: oidc.at('audience'),
    resource: oidc.at('resource'),
    scopes: oidc.at('scopes'),
  });
}

/** `oidcConfigRef` of a manifest; `find` gives the spec of the MCPOIDCConfig of a name. */
export function readReferredOidc(
  reference: Cursor,
  find: (name: string) => Cursor | undefined,
): IncomingOidc | undefined {
  reference.strict({ used: ['name', 'audience', 'scopes', 'resourceUrl'] });
  const name = reference.at('name').text();
  const spec = name === undefined ? undefined : find(name);
  if (spec === undefined) {
    reference.refuse(
      `There is no MCPOIDCConfig "${(name ?? '').slice(0, 60)}" in this file.`,
      'Put its manifest into the file.',
    );
    return undefined;
  }
  spec.strict({ used: ['type', 'inline', 'configMapRef', 'kubernetesServiceAccount'] });
  const inline = spec.at('inline');
  if (spec.at('type').value !== 'inline' || !inline.present) {
    spec.refuse(
      'Only a provider that stands in the file can be used here.',
      'Write type: inline, and inline: { issuer: … }.',
    );
    return undefined;
  }
  inline.strict(INLINE);
  if (reference.at('audience').text() === undefined) {
    reference.refuse('oidcConfigRef.audience is required', 'Write audience: what tokens for this server name.');
    return undefined;
  }
  return readProvider(inline, {
    audience: reference.at('audience'),
    resource: reference.at('resourceUrl'),
    scopes: reference.at('scopes'),
  });
}

interface PerServer {
  readonly audience: Cursor;
  readonly resource: Cursor;
  readonly scopes: Cursor;
}

function readProvider(provider: Cursor, { audience, resource, scopes }: PerServer): IncomingOidc | undefined {
  const issuer = provider.at('issuer').text();
  if (issuer === undefined) {
    provider.refuse('The provider needs its issuer.', 'Write issuer: https://idp.example.');
    return undefined;
  }
  if (provider.at('introspectionUrl').present) {
    provider.at('introspectionUrl').warn('Tokens are not introspected: only JWTs are accepted.');
  }
  for (const key of ['caBundlePath', 'caBundleRef']) {
    if (!provider.at(key).present) continue;
    provider
      .at(key)
      .warn('It is not read.', 'Start with NODE_EXTRA_CA_CERTS=/path/ca.pem for an authority of your own.');
  }
  if (scopes.texts().length > 0) scopes.warn('Clients are not told of these scopes.');
  const jwks = provider.at('jwksUrl').text();
  const named = audience.text();
  const rules = { issuer, ...(named === undefined ? {} : { audience: named }) };
  return {
    entry: jwks === undefined ? { oidc: rules } : { jwt: { ...rules, jwks } },
    publicUrl: publicUrlOf(resource),
    from: provider,
  };
}

/** The resource of RFC 9728, from which a client came: the gateway's own address when its path is the endpoint's. */
function publicUrlOf(resource: Cursor): IncomingOidc['publicUrl'] {
  const text = resource.text();
  const url = text === undefined ? null : URL.parse(text);
  if (text === undefined) return undefined;
  if (url !== null && ['/', '/mcp', '/mcp/'].includes(url.pathname) && url.search === '') {
    return { origin: url.origin, from: resource };
  }
  resource.warn('Clients are told the address of /mcp here instead.');
  return undefined;
}
