/** The frame of every page that the gateway shows a person. `html` escapes what is put into it: most of it is others' text. */
import { html } from 'hono/html';
import type { HtmlEscapedString } from 'hono/utils/html';

type Html = HtmlEscapedString | Promise<HtmlEscapedString>;

const STYLE = `body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:3rem auto;padding:0 1rem;color:#1b1b1b;background:#fff}
h1{font-size:1.4rem}dt{font-weight:600;margin-top:.6rem}dd{margin:0;overflow-wrap:anywhere}
input[name=code]{font:1.2rem ui-monospace,monospace;letter-spacing:.1em;padding:.4rem;width:11em}
button{font:inherit;padding:.5rem 1rem;margin:1rem .5rem 0 0;border-radius:.4rem;border:1px solid #555;background:#fff;cursor:pointer}
.warn{border-left:4px solid #b45309;padding-left:.8rem}
@media (prefers-color-scheme:dark){body{color:#eee;background:#181818}button{background:#222;color:#eee}}
button.go{background:#114a2f;color:#fff;border-color:#114a2f}`;

/** Headers of a page: nothing may be loaded, framed, kept or run, and its forms go to this host alone. */
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

/** A whole document. `nonce`: the one of its `pageHeaders`, made for this answer alone. */
export async function page(
  nonce: string,
  title: string,
  body: Html,
  head: Html | string = '',
): Promise<HtmlEscapedString> {
  return html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>${title}</title>${head}<style nonce="${nonce}">${STYLE}</style></head>
<body>${body}</body></html>`;
}

/**
 * Leaves for a sign-in by a page of its own: a redirect in answer to a form would count as the form's target, and
 * `form-action` would have to name every host that the other side may go on to. `host` is what the person reads.
 */
export function leavingPage(nonce: string, url: string, host: string): Promise<HtmlEscapedString> {
  return page(
    nonce,
    'Signing in',
    html`<p>Going on to <a href="${url}">${host}</a> …</p>`,
    html`<meta http-equiv="refresh" content="0;url=${url}">`,
  );
}
