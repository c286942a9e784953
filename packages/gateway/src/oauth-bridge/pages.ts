/** What the bridge asks a person, and what it says when it cannot go on. Names of clients are texts of strangers. */
import { html } from 'hono/html';
import type { HtmlEscapedString } from 'hono/utils/html';
import { page } from '../core/page.ts';
import type { SignInRequest } from './consent.ts';
import { isLoopbackRedirect } from './redirects.ts';

export interface ConsentPage {
  readonly nonce: string;
  readonly request: SignInRequest;
  /** The request, sealed. */
  readonly sealed: string;
  /** Host of the client's document; undefined: it registered itself. */
  readonly verifiedHost: string | undefined;
  /** Entry names with the host of their provider. */
  readonly providers: readonly { readonly entry: string; readonly host: string }[];
  readonly mayRemember: boolean;
  /** Base URL of the gateway. */
  readonly base: string;
}

export function consentPage(view: ConsentPage): Promise<HtmlEscapedString> {
  const { nonce, request, sealed, verifiedHost, providers, mayRemember, base } = view;
  const redirect = new URL(request.redirectUri);
  const local = isLoopbackRedirect(request.redirectUri);
  return page(
    nonce,
    'Allow access?',
    html`<h1>Allow “${request.clientName}” to use ${request.path} for you?</h1>
<p>A program asks to call MCP tools of this gateway in your name. Go on only if you started this yourself, a moment ago.</p>
<dl>
<dt>Program</dt><dd>${request.clientName} (${verifiedHost === undefined ? 'the name it gave itself; nobody checked it' : html`known by its address on ${verifiedHost}`})</dd>
<dt>Sends you back to</dt><dd>${local ? html`a program on this computer (${redirect.host})` : redirect.host}</dd>
<dt>May use</dt><dd>${request.resource}</dd>
<dt>Scopes</dt><dd>${request.scopes.length === 0 ? 'none' : request.scopes.join(', ')}</dd>
</dl>
<form method="post" action="${base}/oauth/consent">
<input type="hidden" name="request" value="${sealed}">
${mayRemember ? html`<p><label><input type="checkbox" name="remember" value="yes"> Do not ask again in this browser for 24 hours</label></p>` : ''}
${providers.map(({ entry, host }) => html`<button class="go" name="decision" value="approve:${entry}">Allow, and sign in at ${host}</button>`)}
<button name="decision" value="deny">Deny</button>
</form>`,
  );
}

export function errorPage(nonce: string, message: string): Promise<HtmlEscapedString> {
  return page(
    nonce,
    'Not signed in',
    html`<h1>Not signed in</h1><p class="warn">${message}</p><p>Nothing was allowed. You can close this page, and start again from your program.</p>`,
  );
}
