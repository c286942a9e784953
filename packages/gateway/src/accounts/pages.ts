/** The pages on which a person connects an account. `html` escapes what is put into it: names are texts of others. */
import { html } from 'hono/html';
import type { HtmlEscapedString } from 'hono/utils/html';

type Html = HtmlEscapedString | Promise<HtmlEscapedString>;

const STYLE = `body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:3rem auto;padding:0 1rem;color:#1b1b1b;background:#fff}
h1{font-size:1.4rem}dt{font-weight:600;margin-top:.6rem}dd{margin:0;overflow-wrap:anywhere}
input[name=code]{font:1.2rem ui-monospace,monospace;letter-spacing:.1em;padding:.4rem;width:11em}
button{font:inherit;padding:.5rem 1rem;margin:1rem .5rem 0 0;border-radius:.4rem;border:1px solid #114a2f;background:#114a2f;color:#fff;cursor:pointer}
.warn{border-left:4px solid #b45309;padding-left:.8rem}
@media (prefers-color-scheme:dark){body{color:#eee;background:#181818}}`;

/** Headers of every page: nothing may be loaded, framed, kept or run. */
export function pageHeaders(nonce: string): Record<string, string> {
  return {
    'cache-control': 'no-store',
    'content-security-policy': `default-src 'none'; style-src 'nonce-${nonce}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'`,
    'x-frame-options': 'DENY',
    'x-content-type-options': 'nosniff',
    // The address holds the link. Not `no-referrer`: browsers then send `Origin: null` with the form.
    'referrer-policy': 'same-origin',
  };
}

async function page(nonce: string, title: string, body: Html, head: Html | string = ''): Promise<HtmlEscapedString> {
  return html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>${title}</title>${head}<style nonce="${nonce}">${STYLE}</style></head>
<body>${body}</body></html>`;
}

export interface ConsentView {
  readonly nonce: string;
  readonly server: string;
  readonly host: string;
  readonly principal: string;
  /** Sealed; good with the cookie of this browser only. */
  readonly form: string;
  readonly wrongCode: boolean;
}

export function consentPage({
  nonce,
  server,
  host,
  principal,
  form,
  wrongCode,
}: ConsentView): Promise<HtmlEscapedString> {
  return page(
    nonce,
    `Connect ${server}`,
    html`<h1>Connect your account at ${server}</h1>
<p class="warn">Go on only if your own program asked you to, a moment ago. Whoever sent you this link, or a code with it, would get the use of the account that you sign in with.</p>
<dl>
<dt>Server</dt><dd>${server} (${host})</dd>
<dt>Will be used by</dt><dd>${principal}, whenever it calls ${server} through this gateway</dd>
</dl>
<form method="post">
<input type="hidden" name="form" value="${form}">
${wrongCode ? html`<p class="warn">That is not the code.</p>` : ''}
<p><label for="code">The code that your program shows beside the link:</label><br><input id="code" name="code" autocomplete="off" autofocus required maxlength="20" pattern="[A-Za-z0-9 \\-]{8,12}"></p>
<button>This is me: sign in at ${server}</button>
</form>`,
  );
}

/** By a page of its own: a redirect in answer to the form would have to be allowed as the form's target. */
export function leavingPage(nonce: string, url: URL): Promise<HtmlEscapedString> {
  return page(
    nonce,
    'Signing in',
    html`<p>Going on to <a href="${url.href}">${url.host}</a> …</p>`,
    html`<meta http-equiv="refresh" content="0;url=${url.href}">`,
  );
}

export function donePage(nonce: string, server: string, principal: string): Promise<HtmlEscapedString> {
  return page(
    nonce,
    'Connected',
    html`<h1>Connected</h1><p>Calls of ${principal} to ${server} use this account from now on. You may close this page; your program goes on by itself or asks you to repeat.</p>`,
  );
}

export function problemPage(nonce: string, why: string): Promise<HtmlEscapedString> {
  return page(
    nonce,
    'Not connected',
    html`<h1>Not connected</h1><p class="warn">${why}</p><p>Nothing was changed. Call the tool again: your program then shows a new link.</p>`,
  );
}
