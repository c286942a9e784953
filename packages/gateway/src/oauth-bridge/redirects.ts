/** Where a client may be sent back to. The gateway redirects only to what was registered, so what is registered decides. */

const MAX_URI = 2048;
/** The only characters of a URI (RFC 3986): no blank, control, backslash or other script that two parsers read in two ways. */
const URI = /^[A-Za-z0-9\-._~:/?[\]@!$&'()*+,;=%]+$/;

/** As written: 2130706433 and 127.1 are the same machine to some readers only. */
const LOOPBACK = /^http:\/\/(?:127\.0\.0\.1|\[::1\]|localhost)(?::[0-9]{1,5})?(?:[/?]|$)/;

/** Why a redirect URI cannot be registered; undefined: it can. */
export function redirectProblem(uri: unknown): string | undefined {
  if (typeof uri !== 'string' || uri.length > MAX_URI)
    return `a redirect URI is a text of at most ${MAX_URI} characters`;
  const url = URI.test(uri) ? URL.parse(uri) : null;
  if (url === null) return 'a redirect URI is an absolute URI without a fragment';
  if (url.username !== '' || url.password !== '' || uri.slice(0, 300).split('/')[2]?.includes('@') === true) {
    return 'a redirect URI names no user';
  }
  if (uri.startsWith('https://')) return undefined;
  if (LOOPBACK.test(uri)) return undefined;
  return 'a redirect URI is https, or http to 127.0.0.1, [::1] or localhost';
}

/** True for a program on the person's own machine: whoever listens there gets the code. */
export function isLoopbackRedirect(uri: string): boolean {
  return uri.startsWith('http://');
}

/**
 * Whether `asked` is one of the registered URIs: character by character (RFC 9700 section 4.1.3); on loopback the port
 * is free, because native clients take one that is not in use (RFC 8252 section 7.3).
 */
export function isRegistered(asked: string, registered: readonly string[]): boolean {
  if (registered.includes(asked)) return true;
  if (redirectProblem(asked) !== undefined || !isLoopbackRedirect(asked)) return false;
  const bare = withoutPort(asked);
  return registered.some((uri) => isLoopbackRedirect(uri) && withoutPort(uri) === bare);
}

function withoutPort(uri: string): string {
  return uri.replace(/^(http:\/\/(?:\[[0-9a-f:]+\]|[^/?:]+))(?::[0-9]{1,5})?(?=[/?]|$)/, '$1');
}
