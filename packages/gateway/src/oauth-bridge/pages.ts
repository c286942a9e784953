/** The pages of the bridge. `html` escapes what is put into it: names of clients are texts of strangers. */
import { html } from 'hono/html';
import type { HtmlEscapedString } from 'hono/utils/html';
import type { SignInRequest } from './consent.ts';
import { isLoopbackRedirect } from './redirects.ts';

type Html = HtmlEscapedString | Promise<HtmlEscapedString>;

const STYLE = `body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:3rem auto;padding:0 1rem;color:#1b1b1b;background:#fff}
h1{font-size:1.4rem}dt{font-weight:600;margin-top:.6rem}dd{margin:0;overflow-wrap:anywhere}
button{font:inherit;padding:.5rem 1rem;margin:1rem .5rem 0 0;border-radius:.4rem;border:1px solid #555;background:#fff;cursor:pointer}
button.go{background:#114a2f;color:#fff;border-color:#114a2f}.warn{border-left:4px solid #b45309;padding-left:.8rem}
@media (prefers-color-scheme:dark){body{color:#eee;background:#181818}button{background:#222;color:#eee}}`;

/** Headers of every page: nothing may be loaded, framed, kept or run. */
export function pageHeaders(nonce: string): Record<string, string> {
  return {
    'content-type': 'text/html; charset=utf-8',
    'cache-control': 'no-store',
    'content-security-policy': `default-src 'none'; style-src 'nonce-${nonce}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'`,
    'x-frame-options': 'DENY',
    'x-content-type-options': 'nosniff',
    // Not `no-referrer`: browsers then send `Origin: null` with the form, which no guard could tell from a foreign page.
    'referrer-policy': 'same-origin',
  };
}

async function page(nonce: string, title: string, body: Html, head: Html | string = ''): Promise<HtmlEscapedString> {
  return html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>${title}</title>${head}<style nonce="${nonce}">${STYLE}</style></head>
<body>${body}</body></html>`;
}

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

/**
 * Leaves for the provider, or back to a client that was denied, by a page of its own: a redirect in answer to the form
 * would count as its target, and `form-action` would have to name every client and every host of the provider.
 */
export function leavingPage(nonce: string, url: string, host: string): Promise<HtmlEscapedString> {
  return page(
    nonce,
    'Going on',
    html`<p>Going on to <a href="${url}">${host}</a> …</p>`,
    html`<meta http-equiv="refresh" content="0;url=${url}">`,
  );
}

export function errorPage(nonce: string, message: string): Promise<HtmlEscapedString> {
  return page(
    nonce,
    'Not signed in',
    html`<h1>Not signed in</h1><p class="warn">${message}</p><p>Nothing was allowed. You can close this page, and start again from your program.</p>`,
  );
}
