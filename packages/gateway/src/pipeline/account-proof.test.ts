import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { type AuthorizationServer, startAuthorizationServer } from '@tollgate/testkit/authorization-server';
import { Browser, type Page } from '@tollgate/testkit/browser';
import { type GuardedServer, startGuardedServer } from '@tollgate/testkit/guarded-server';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createGateway, type GatewayHandle } from '../index.ts';
import { type BridgeUnderTest, leavingTo, TestClient } from '../oauth-bridge/testing.ts';

const MACHINE = 'token-of-a-machine-1234567890';
const SECRET = 'the-secret-of-the-gateway:%+';

/** The company's identity provider, and the authorization server of the server: two of them, as in life. */
let idp: AuthorizationServer;
let as: AuthorizationServer;
let notes: GuardedServer;
let gateway: GatewayHandle;
let url: string;
let users: Record<'ada' | 'mallory', { org: string }>;
let open: AsyncDisposable[] = [];

beforeEach(async () => {
  users = { ada: { org: 'acme' }, mallory: { org: 'acme' } };
  const redirects = ['http://127.0.0.1/oauth/callback/corp'];
  const client = { client_id: 'tollgate', client_secret: SECRET, redirect_uris: redirects };
  const grants = ['authorization_code', 'refresh_token'];
  idp = await startAuthorizationServer({ users, clients: [{ ...client, grant_types: grants }] });
  as = await startAuthorizationServer({ registration: true, users: { ada: {}, mallory: {} } });
  notes = await startGuardedServer(as.issuer);
  gateway = await createGateway({
    listen: '127.0.0.1:0',
    servers: { notes: { url: notes.url, auth: { oauth: { mode: 'user' } } } },
    auth: [
      {
        name: 'corp',
        oidc: idp.issuer,
        map: { tenant: 'org' },
        bridge: { clientId: 'tollgate', clientSecret: SECRET, parameters: { access_type: 'offline' } },
      },
      { name: 'ci', bearer: { token: MACHINE } },
    ],
  });
  open = [idp, as, notes, gateway];
  ({ url } = await gateway.listen());
  await gateway.settled();
});

afterEach(async () => {
  for (const one of open.reverse()) await one[Symbol.asyncDispose]();
});

type Name = keyof typeof users;

/** A token of the bridge, as the person's own program gets one. */
async function tokenOf(name: Name): Promise<string> {
  idp.user = name;
  const metadata = { redirect_uris: ['https://client.example/callback'] };
  const registered = await fetch(`${url}/oauth/register`, { method: 'POST', body: JSON.stringify(metadata) });
  const { client_id: id } = (await registered.json()) as { client_id: string };
  const post: BridgeUnderTest['post'] = async (path, form) => {
    const response = await fetch(url + path, { method: 'POST', body: new URLSearchParams(form) });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };
  const program = new TestClient({ base: url, post } as BridgeUnderTest, id);
  const { body } = await program.redeem((await program.code()).get('code'));
  return String(body['access_token']);
}

interface Answer {
  readonly isError: boolean;
  readonly text: string;
  /** Of the page, where the answer asks to open it. */
  readonly link: string;
}

async function call(token: string): Promise<Answer> {
  const client = new Client({ name: 'plain', version: '1' });
  const headers = { authorization: `Bearer ${token}` };
  await client.connect(new StreamableHTTPClientTransport(new URL(`${url}/mcp`), { requestInit: { headers } }));
  try {
    const result = await client.callTool({ name: 'echo', arguments: { text: 'hello' } });
    const text = (result.content as { text?: string }[])[0]?.text ?? '';
    return { isError: result.isError === true, text, link: /Open (\S+) in/.exec(text)?.[1] ?? '' };
  } finally {
    await client.close();
  }
}

/** Opens the link, presses the button, and signs in at the identity provider as `name`: where that sends the browser. */
async function answerFor(link: string, name: Name, browser: Browser): Promise<string> {
  const { fields } = await browser.open(link);
  const page = leavingTo(await browser.open(link, fields, { 'sec-fetch-site': 'same-origin' }));
  idp.user = name;
  return (await browser.follow(page, `${url}/oauth/callback/`)).location ?? '';
}

/** All of it: the last page. */
async function connect(link: string, name: Name, browser = new Browser()): Promise<Page> {
  const page = await browser.open(await answerFor(link, name, browser));
  return page.status === 200 ? browser.follow(leavingTo(page)) : page;
}

/** What nobody must have done for an account to be connected. */
const upstreamSignIns = () => as.requests.filter(({ path }) => ['/auth', '/reg', '/token'].includes(path));
const redemptions = () => idp.requests.filter(({ path }) => path === '/token').length;

describe('a page for a caller of an identity provider', () => {
  it('connects the account of whoever proves there to be the caller, without a code', async () => {
    const token = await tokenOf('ada');
    const asked = await call(token);
    expect([asked.isError, asked.text]).toEqual([true, expect.stringContaining('sign in there as yourself')]);
    expect(asked.text).not.toMatch(/code/);
    const browser = new Browser();
    const page = await browser.open(asked.link);
    expect(page.text).toContain(`You sign in at ${new URL(idp.issuer).host} first`);
    expect(page.fields).not.toHaveProperty('code');
    expect((await connect(asked.link, 'ada', browser)).text).toContain('Connected');
    expect(await call(token)).toMatchObject({ isError: false, text: expect.stringContaining('hello') });
    const { query } = idp.requests.findLast(({ path }) => path === '/auth')!;
    expect(Object.fromEntries(query)).toMatchObject({
      redirect_uri: `${url}/oauth/callback/corp`,
      code_challenge_method: 'S256',
      nonce: expect.stringMatching(/^[\w-]{43}$/),
    });
    // It would be thrown away, and some providers give only one.
    expect([query.get('scope'), query.get('access_type')]).toEqual(['openid profile email', null]);
    expect((await browser.open(asked.link)).text).toContain('not valid');
  });

  it('refuses a victim of phishing, stores nothing, names nobody, and burns the link', async () => {
    const mallory = await tokenOf('mallory');
    const { link } = await call(mallory);
    const refused = await connect(link, 'ada');
    expect([refused.status, refused.text]).toEqual([403, expect.stringContaining('made for somebody else than you')]);
    expect(refused.text).not.toMatch(/ada|corp/);
    expect(upstreamSignIns()).toEqual([]);
    // Burnt for everybody, whoever made it included.
    expect((await new Browser().open(link)).text).toContain('not valid');
    const again = await call(mallory);
    expect([again.isError, again.link === link]).toEqual([true, false]);
    expect((await connect(again.link, 'mallory')).text).toContain('Connected');
  });

  it('refuses the same subject of another tenant', async () => {
    const { link } = await call(await tokenOf('ada'));
    users.ada.org = 'evil';
    expect((await connect(link, 'ada')).status).toBe(403);
    expect(upstreamSignIns()).toEqual([]);
  });

  it('takes an answer of the provider once, in the browser that left, for the link that it left from', async () => {
    const token = await tokenOf('mallory');
    const { link } = await call(token);
    // Mallory sends the answer, or the provider's page, to somebody whose browser has not begun anything.
    const mine = new Browser();
    const first = await answerFor(link, 'mallory', mine);
    expect(first).toContain('state=proof.');
    const before = redemptions();
    expect((await new Browser().open(first)).text).toContain('has not begun');
    // Another link of the same browser, and the answer to the one before it.
    const next = await call(token);
    expect(next.link).not.toBe(link);
    const other = await answerFor(next.link, 'mallory', mine);
    expect((await mine.open(first)).text).toContain('has not begun');
    expect((await mine.open(other.replace(/state=[^&]+/, `state=${'x'.repeat(43)}`))).status).toBe(400);
    expect(redemptions()).toBe(before);
    const cookies = mine.cookies(url);
    // A scanner of links uses nothing up.
    expect((await fetch(other, { method: 'HEAD', redirect: 'manual', headers: { cookie: cookies } })).status).toBe(405);
    const done = await mine.open(other);
    expect(done.status).toBe(200);
    // With the cookies of before, as a thief would have them.
    const reused = await new Browser().open(other, undefined, { cookie: cookies });
    expect([reused.status, reused.text]).toEqual([400, expect.stringContaining('finished already')]);
    expect((await mine.open(other)).text).toContain('has not begun');
    expect(redemptions()).toBe(before + 1);
  });

  it('believes no answer of another provider or of another entry, and no refusal of the person', async () => {
    const token = await tokenOf('ada');
    const before = redemptions();
    for (const change of [
      (answer: string) => answer.replace(/iss=[^&]+/, 'iss=https%3A%2F%2Fevil.example'),
      (answer: string) => answer.replace('/callback/corp', '/callback/other'),
      (answer: string) => answer.replace(/code=[^&]+/, 'error=access_denied'),
    ]) {
      const browser = new Browser();
      const answer = await answerFor((await call(token)).link, 'ada', browser);
      expect((await browser.open(change(answer))).status).toBe(400);
      // The state is gone with it.
      expect((await browser.open(answer)).status).toBe(400);
    }
    expect([redemptions(), upstreamSignIns()]).toEqual([before, []]);
  });

  it('has no other way in, not by the code of another page, and only five tries', async () => {
    const { link } = await call(await tokenOf('ada'));
    const browser = new Browser();
    for (let i = 0; i < 5; i++) {
      const { fields } = await browser.open(link);
      expect(leavingTo(await browser.open(link, { ...fields, code: 'AAAA-AAAA' }))).toContain(idp.issuer);
    }
    expect((await browser.open(link)).text).toContain('not valid');
  });
});

describe('a page for a caller whom no provider knows', () => {
  it('asks for the code, and says that it cannot know who is there', async () => {
    const { link, text } = await call(MACHINE);
    expect(text).toMatch(/type the code [A-Z2-9]{4}-[A-Z2-9]{4} there/);
    const page = await new Browser().open(link);
    expect(page.text).toContain('This page cannot know whether you are ci/ci');
    expect(page.fields).toHaveProperty('code');
  });
});
