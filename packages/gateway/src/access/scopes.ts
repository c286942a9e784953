/** May the caller use this route: granted scopes against the one it needs. */
import { TollgateError } from '../core/errors.ts';

/**
 * True when a granted scope covers the required one: the same text, `*`, or `prefix:*` for everything below
 * `prefix:`. Scopes are case-sensitive (RFC 6749, section 3.3). Undefined: the method of the caller knows no scopes,
 * so it has none.
 */
export function hasScope(granted: readonly string[] | undefined, required: string): boolean {
  if (granted === undefined) return false;
  for (const scope of granted) {
    if (scope === required || scope === '*') return true;
    if (scope.endsWith(':*') && required.length > scope.length - 1 && required.startsWith(scope.slice(0, -1))) {
      return true;
    }
  }
  return false;
}

/**
 * The refusal when the caller lacks the scope, else undefined. `data.requiredScopes` holds exactly what is needed,
 * for the challenge of the 403. The text names the scope and nothing of the name asked for: it reads the same
 * whether or not that name exists.
 */
export function checkRouteScope(
  granted: readonly string[] | undefined,
  required: string | undefined,
): TollgateError | undefined {
  if (required === undefined || hasScope(granted, required)) return undefined;
  return new TollgateError('insufficient_scope', `Not run. This needs the scope "${required}".`, {
    data: { reason: 'insufficient_scope', requiredScopes: [required] },
  });
}

/** Value of `WWW-Authenticate` for a refusal of `checkRouteScope` (RFC 6750, section 3; RFC 9728, section 5.1). */
export function scopeChallenge(error: TollgateError, resourceMetadata: string | undefined): string {
  const data = error.data as { readonly requiredScopes?: readonly string[] } | undefined;
  const scope = (data?.requiredScopes ?? []).map((text) => text.replace(/[^\x21\x23-\x5b\x5d-\x7e]/g, '')).join(' ');
  const metadata = resourceMetadata === undefined ? '' : `, resource_metadata="${resourceMetadata}"`;
  return `Bearer error="insufficient_scope", scope="${scope}"${metadata}`;
}
