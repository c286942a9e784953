/**
 * Headers of every answer that is not MCP: health, refusals, metadata, REST, pages. A page of the gateway that needs
 * more than these sets its own policy in place of the one here.
 */
const ALWAYS: readonly string[] = [
  'x-content-type-options',
  'nosniff',
  'content-security-policy',
  "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
  'x-frame-options',
  'DENY',
  'referrer-policy',
  'no-referrer',
  'cross-origin-resource-policy',
  'same-origin',
];
/** A browser ignores it over plain HTTP (RFC 6797 section 8.1), so it is sent only where the client came by TLS. */
const SECURE: readonly string[] = [...ALWAYS, 'strict-transport-security', 'max-age=31536000'];

/** As a flat list of names and values. `secure`: the client speaks TLS, with us or with the proxy in front. */
export function securityHeaders(secure: boolean): readonly string[] {
  return secure ? SECURE : ALWAYS;
}
