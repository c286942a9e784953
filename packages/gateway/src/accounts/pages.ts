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
  /** Host of the identity provider that says whether it is the caller; undefined: the code has to do. */
  readonly provider: string | undefined;
  readonly wrongCode: boolean;
}

export function consentPage({
  nonce,
  server,
  host,
  principal,
  form,
  provider,
  wrongCode,
}: ConsentView): Promise<HtmlEscapedString> {
  return page(
    nonce,
    `Connect ${server}`,
    html`<h1>Connect your account at ${server}</h1>
<p class="warn">Go on only if your own program asked you to, a moment ago.${provider === undefined ? ' Whoever sent you this link, or a code with it, would get the use of the account that you sign in with.' : ''}</p>
<dl>
<dt>Server</dt><dd>${server} (${host})</dd>
<dt>Will be used by</dt><dd>${principal}, whenever it calls ${server} through this gateway</dd>
</dl>
<form method="post">
<input type="hidden" name="form" value="${form}">
${provider === undefined ? codeQuestion(principal, wrongCode) : html`<p>You sign in at ${provider} first. Only if you are ${principal} there, you go on to ${server}.</p>`}
<button class="go">This is me: sign in at ${provider ?? server}</button>
</form>`,
  );
}

function codeQuestion(principal: string, wrongCode: boolean): ReturnType<typeof html> {
  return html`${wrongCode ? html`<p class="warn">That is not the code.</p>` : ''}
<p>This page cannot know whether you are ${principal}. It only knows who has the code, and a code can be sent to you like a link.</p>
<p><label for="code">The code that your own program shows beside the link:</label><br><input id="code" name="code" autocomplete="off" autofocus required maxlength="20" pattern="[A-Za-z0-9 \\-]{8,12}"></p>`;
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
