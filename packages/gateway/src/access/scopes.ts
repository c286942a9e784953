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
 * The refusal when the caller lacks one of the scopes that an operation needs, else undefined. `data.requiredScopes`
 * holds all of them, those it has included, so that one new token is enough (MCP authorization, scope challenges). The
 * text names the scopes and nothing of the name asked for: it reads the same whether or not that name exists.
 */
export function checkScopes(
  granted: readonly string[] | undefined,
  endpoint: string | undefined,
  route?: string | undefined,
): TollgateError | undefined {
  if ((endpoint === undefined || hasScope(granted, endpoint)) && (route === undefined || hasScope(granted, route))) {
    return undefined;
  }
  return checkAllScopes(granted, [endpoint, route]);
}

/** The same for any number of scopes. */
export function checkAllScopes(
  granted: readonly string[] | undefined,
  needed: readonly (string | undefined)[],
): TollgateError | undefined {
  const requiredScopes = [...new Set(needed.filter((scope) => scope !== undefined))];
  if (requiredScopes.every((scope) => hasScope(granted, scope))) return undefined;
  const named = requiredScopes.map((scope) => `"${scope}"`).join(' and ');
  return new TollgateError(
    'insufficient_scope',
    `Not run. This needs the scope${requiredScopes.length > 1 ? 's' : ''} ${named}.`,
    { data: { reason: 'insufficient_scope', requiredScopes } },
  );
}

/** The scopes that a refusal of `checkScopes` names, with spaces between. */
export function scopesOf(error: TollgateError): string {
  const data = error.data as { readonly requiredScopes?: readonly string[] } | undefined;
  return (data?.requiredScopes ?? []).join(' ');
}
