/** URIs of clients that fit a template: rules and routes match their text, a server what it makes of it. */

/** `%2e` is `.` and `%61` is `a` (RFC 3986 section 6.2.2.2); no expansion of a template (RFC 6570) writes them so. */
const NEEDLESS = /%(?:2d|2e|3\d|4[1-9a-f]|5[\daf]|6[1-9a-f]|7[\dae])/i;
const CLIMBS = /(?:^|[/\\:?#&=;])\.\.(?=[/\\?#&;]|$)/;

/**
 * False for a URI whose text may name one thing and mean another: with a segment `..`, also behind encoded slashes, or
 * with letters, digits, `-`, `.` or `~` encoded. `files:///public/*` matches `files:///public/../private`.
 */
export function isPlainUri(uri: string): boolean {
  // Twice encoded is for servers that decode twice.
  const once = uri.replaceAll(/%25/g, '%');
  if (NEEDLESS.test(uri) || NEEDLESS.test(once)) return false;
  return !CLIMBS.test(once.replaceAll(/%2f/gi, '/').replaceAll(/%5c/gi, '\\'));
}
