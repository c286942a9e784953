import type { BridgeView } from './options.ts';

/** RFC 8414: the gateway as a whole, and each endpoint with a bridged entry as an authorization server of its own. */
const PLACES = ['/.well-known/oauth-authorization-server', '/.well-known/openid-configuration'] as const;

/**
 * The metadata asked for by a path: inserted as RFC 8414 has it, or appended as OpenID Connect has it. Undefined: none
 * there. `path` of the answer is the endpoint, undefined for the gateway as a whole.
 */
export function metadataAt(view: BridgeView, path: string): object | undefined {
  if (view.entries.size === 0) return undefined;
  const asked = endpointAsked(path);
  if (asked === undefined) return undefined;
  // A proxy that takes a prefix off other paths cannot take it out of the middle of these.
  const prefix = new URL(view.base).pathname.replace(/\/$/, '');
  const inside = prefix !== '' && (asked === prefix || asked.startsWith(`${prefix}/`));
  const endpoint = inside ? asked.slice(prefix.length) : asked;
  if (endpoint === '') return metadataOf(view, undefined);
  const known = view.endpoints.some((one) => one.path === endpoint && one.entries.length > 0);
  return known ? metadataOf(view, endpoint) : undefined;
}

function endpointAsked(path: string): string | undefined {
  for (const place of PLACES) {
    if (path === place) return '';
    if (path.startsWith(`${place}/`)) return path.slice(place.length);
  }
  const appended = '/.well-known/openid-configuration';
  return path.endsWith(appended) ? path.slice(0, -appended.length) : undefined;
}

function metadataOf({ base, endpoints }: BridgeView, path: string | undefined): object {
  const covered = endpoints.filter((one) => one.entries.length > 0 && (path === undefined || one.path === path));
  return {
    issuer: base + (path ?? ''),
    authorization_endpoint: `${base}/oauth/authorize${path ?? ''}`,
    token_endpoint: `${base}/oauth/token`,
    registration_endpoint: `${base}/oauth/register`,
    revocation_endpoint: `${base}/oauth/revoke`,
    response_types_supported: ['code'],
    response_modes_supported: ['query'],
    grant_types_supported: ['authorization_code', 'refresh_token'],
    code_challenge_methods_supported: ['S256'],
    token_endpoint_auth_methods_supported: ['none'],
    revocation_endpoint_auth_methods_supported: ['none'],
    scopes_supported: [...new Set(covered.flatMap(({ scopes }) => scopes))],
    authorization_response_iss_parameter_supported: true,
    client_id_metadata_document_supported: true,
    protected_resources: covered.map(({ resource }) => resource),
  };
}
