/** Opening the sign-in page, and the loopback listener to which the browser comes back (RFC 8252 section 7.3). */
import { spawn } from 'node:child_process';
import { timingSafeEqual } from 'node:crypto';
import http from 'node:http';
import type net from 'node:net';
import { TollgateError } from '../core/errors.ts';

/** True for a URL that may be given to a browser: others start programs (`file:`, `vscode:`, …). */
export function isWebUrl(url: URL): boolean {
  return url.protocol === 'https:' || url.protocol === 'http:';
}

function opener(): readonly [string, readonly string[]] {
  if (process.platform === 'darwin') return ['open', []];
  // Not `cmd /c start`: that is a shell, and `&` in a URL would end the command.
  if (process.platform === 'win32') return ['rundll32', ['url.dll,FileProtocolHandler']];
  return ['xdg-open', []];
}

/** Opens the user's browser. Resolves to false where there is none. The URL is an argument, never part of a command line. */
export function openBrowser(url: URL): Promise<boolean> {
  if (!isWebUrl(url)) return Promise.resolve(false);
  const [command, args] = opener();
  return new Promise((resolve) => {
    const child = spawn(command, [...args, url.href], { stdio: 'ignore', detached: true, shell: false });
    child.once('error', () => resolve(false));
    child.once('spawn', () => {
      child.unref();
      resolve(true);
    });
  });
}

interface Callback {
  readonly code: string | undefined;
  /** `iss` of RFC 9207, to be compared before anything is believed, a refusal too. */
  readonly iss: string | undefined;
  readonly error: string | undefined;
  readonly errorDescription: string | undefined;
}

export interface CallbackListener {
  readonly redirectUrl: string;
  /** The first callback that carries our `state`. Rejects on the signal and after `timeoutMs`. */
  wait(state: string, signal: AbortSignal, timeoutMs: number): Promise<Callback>;
  close(): void;
}

const PATH = '/callback';

function sameText(a: string, b: string): boolean {
  const left = Buffer.from(a);
  const right = Buffer.from(b);
  return left.length === right.length && timingSafeEqual(left, right);
}

/** Listens on 127.0.0.1, on `port` when it is free, else on any. */
export async function listenForCallback(port: number | undefined): Promise<CallbackListener> {
  let onCallback: ((query: URLSearchParams) => string | undefined) | undefined;
  const server = http.createServer(
    { requestTimeout: 10_000, headersTimeout: 10_000, maxHeaderSize: 16_384 },
    (request, response) => {
      const url = URL.parse(request.url ?? '', 'http://127.0.0.1');
      const text = request.method === 'GET' && url?.pathname === PATH ? onCallback?.(url.searchParams) : undefined;
      response.writeHead(text === undefined ? 404 : 200, {
        'content-type': 'text/plain; charset=utf-8',
        'cache-control': 'no-store',
        // The address of this page holds the code.
        'referrer-policy': 'no-referrer',
        'x-content-type-options': 'nosniff',
        connection: 'close',
      });
      response.end(text ?? 'Not found.\n');
    },
  );
  server.on('clientError', (_error, socket) => socket.destroy());
  await listen(server, port ?? 0).catch(() => listen(server, 0));
  const address = server.address() as net.AddressInfo;
  return {
    redirectUrl: `http://127.0.0.1:${address.port}${PATH}`,
    wait: (state, signal, timeoutMs) =>
      new Promise((resolve, reject) => {
        const stop = (): void => {
          clearTimeout(timer);
          signal.removeEventListener('abort', onAbort);
          onCallback = undefined;
        };
        const fail = (message: string): void => {
          stop();
          reject(new TollgateError('server_login_required', message));
        };
        const onAbort = (): void => fail('The sign-in was given up');
        const timer = setTimeout(
          () => fail(`Nobody signed in within ${timeoutMs / 1000} s; run the command again`),
          timeoutMs,
        );
        signal.addEventListener('abort', onAbort);
        if (signal.aborted) onAbort();
        onCallback = (query) => {
          // Another page may call this address; only the answer to our own request carries the state.
          if (!sameText(query.get('state') ?? '', state)) return undefined;
          const part = (name: string): string | undefined => query.get(name) ?? undefined;
          const code = part('code');
          stop();
          resolve({ code, iss: part('iss'), error: part('error'), errorDescription: part('error_description') });
          if (code === undefined) return 'The sign-in was refused. You may close this page.\n';
          return 'You came back. You may close this page and go back to the terminal.\n';
        };
      }),
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

function listen(server: http.Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => {
      server.removeListener('error', reject);
      resolve();
    });
  });
}

/** Foreign text for a terminal: no control characters, bounded. */
export function printable(text: string): string {
  return text.replace(/[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, ' ').slice(0, 300);
}
