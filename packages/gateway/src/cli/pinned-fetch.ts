/**
 * Requests of the command line to the gateway of this machine. Its certificate is for the name that clients use, not for
 * the address asked here, so it is recognised by its key, which the gateway wrote into a file that only its owner reads.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { TLSSocket } from 'node:tls';

/** `fetch` that takes an HTTPS answer only from the holder of the pinned key. Without a pin: `fetch`. */
export async function pinnedFetch(url: URL, init: RequestInit, pin: string | undefined): Promise<Response> {
  if (url.protocol !== 'https:' || pin === undefined) return fetch(url, init);
  const { Agent, buildConnector, fetch: fetchWith } = await import('undici');
  // Not an unverified connection: nothing is sent on it before the key was compared.
  const connect = buildConnector({ rejectUnauthorized: false, maxCachedSessions: 0 });
  const dispatcher = new Agent({
    connect: (options, callback) =>
      connect(options, (...[error, socket]) => {
        if (error !== null) callback(error, null);
        else if (isPinned(socket as TLSSocket, pin)) callback(null, socket);
        else {
          socket.destroy();
          callback(new Error('another program answers at its address'), null);
        }
      }),
  });
  const response = await fetchWith(url, { ...(init as object), dispatcher });
  return response as unknown as Response;
}

function isPinned(socket: TLSSocket, pin: string): boolean {
  const key = socket.getPeerX509Certificate()?.publicKey.export({ type: 'spki', format: 'der' });
  if (key === undefined) return false;
  const expected = Buffer.from(pin, 'base64');
  const found = createHash('sha256').update(key).digest();
  return expected.length === found.length && timingSafeEqual(expected, found);
}
