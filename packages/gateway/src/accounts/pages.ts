/** The pages on which a person connects an account. Names of servers and callers are texts of others. */
import { html } from 'hono/html';
import type { HtmlEscapedString } from 'hono/utils/html';
import { page } from '../core/page.ts';

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
<button class="go">This is me: sign in at ${server}</button>
</form>`,
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
