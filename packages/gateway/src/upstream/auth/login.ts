/** `tollgate login NAME`: the gateway's own sign-in at a server, with a browser on this machine. */
import { systemClock } from '../../core/clock.ts';
import type { SecretOwner, Secrets } from '../../core/secrets.ts';
import type { HttpServerOptions } from '../http-client.ts';
import { listenForCallback } from '../oauth-browser.ts';
import { GATEWAY, Grants } from './grants.ts';
import { beginSignIn, finishSignIn } from './sign-in.ts';

const LOGIN_TIMEOUT_MS = 5 * 60_000;

export interface LoginDeps {
  readonly secrets: Secrets;
  /** Opens a page; resolves to false where that is impossible. `openBrowser` of oauth-browser.ts is one. */
  readonly openBrowser: (url: URL) => Promise<boolean>;
  /** Tells the person one line. */
  readonly print: (line: string) => void;
  /** Ends the wait for the person. */
  readonly signal: AbortSignal;
  /** How long to wait for the person, in milliseconds. Default 5 minutes. */
  readonly timeoutMs?: number;
  /** Whose sign-in it is. Default: the gateway's, for everybody who calls. */
  readonly owner?: SecretOwner;
}

/**
 * Signs in and stores the tokens in the vault. Rejects with `server_login_required` when the person or the
 * authorization server refuses or nobody comes, with `vault_unavailable` when the vault cannot be used.
 */
export async function login(options: HttpServerOptions, deps: LoginDeps): Promise<void> {
  const { owner = GATEWAY, signal, print, timeoutMs = LOGIN_TIMEOUT_MS } = deps;
  const grants = new Grants(deps.secrets);
  // The vault first: nobody should sign in for tokens that cannot be kept.
  const known = await grants.read(options.name, owner, options.target.url.href);
  const listener = await listenForCallback(registeredPort(known?.client));
  const flow = { grants, clock: systemClock, clientMetadataUrl: undefined, signal };
  try {
    const { page, pending } = await beginSignIn(options, owner, listener.redirectUrl, flow);
    print(`Sign in to ${options.name} on this page:`);
    print(page.href);
    if (!(await deps.openBrowser(page))) print('No browser could be opened here; open the page yourself.');
    const answer = await listener.wait(pending.state, signal, timeoutMs);
    const grant = await finishSignIn(options, pending, answer, flow);
    await grants.write(options.name, owner, grant, 'cli');
  } finally {
    listener.close();
  }
}

/** Where a registration of this client was made to come back to, so that it can be used again. */
function registeredPort(client: Readonly<Record<string, unknown>> | undefined): number | undefined {
  const uris = client?.['redirect_uris'];
  const first = Array.isArray(uris) && typeof uris[0] === 'string' ? URL.parse(uris[0]) : null;
  return first?.hostname === '127.0.0.1' ? Number(first.port) : undefined;
}
