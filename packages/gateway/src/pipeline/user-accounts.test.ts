import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { type AuthorizationServer, startAuthorizationServer } from '@tollgate/testkit/authorization-server';
import { Browser, type Page } from '@tollgate/testkit/browser';
import { type GuardedServer, startGuardedServer } from '@tollgate/testkit/guarded-server';
import { SignJWT } from 'jose';
import { afterEach, describe, expect, it } from 'vitest';
import { createGateway, type GatewayHandle } from '../index.ts';

const ADA = 'token-of-ada-1234567890';
const BOB = 'token-of-bob-1234567890';
const SECRET = 'a-secret-of-more-than-32-characters-0123';

const open: AsyncDisposable[] = [];

afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one[Symbol.asyncDispose]();
});

interface World {
  readonly as: AuthorizationServer;
  readonly notes: GuardedServer;
  readonly gateway: GatewayHandle;
  readonly url: string;
}

async function world(): Promise<World> {
  const as = await startAuthorizationServer({
    registration: true,
    users: { ada: {}, mallory: {} },
    scopes: ['notes:write'],
  });
  open.push(as);
  const notes = await startGuardedServer(as.issuer);
  open.push(notes);
  const gateway = await createGateway({
    listen: '127.0.0.1:0',
    servers: { notes: { url: notes.url, auth: { oauth: { mode: 'user' } } } },
    auth: [
      { name: 'ada', bearer: { token: ADA } },
      { name: 'bob', bearer: { token: BOB } },
      {
        name: 'corp',
        jwt: { issuer: 'corp', secret: SECRET, algorithms: ['HS256'], audience: 'gw' },
        map: { tenant: 'org' },
      },
      { anonymous: true },
    ],
  });
  open.push(gateway);
  const { url } = await gateway.listen();
  await gateway.settled();
  return { as, notes, gateway, url };
}

interface Asked {
  readonly link: string;
  readonly code: string;
}

/** What a person does whose program shows a link and a code. */
async function connect(browser: Browser, { link, code }: Asked): Promise<Page> {
  const consent = await browser.open(link);
  const leaving = await browser.open(link, { ...consent.fields, code }, { 'sec-fetch-site': 'same-origin' });
  const out = /http-equiv="refresh" content="0;url=([^"]+)"/.exec(leaving.text)?.[1]?.replaceAll('&amp;', '&');
  return out === undefined ? leaving : browser.follow(out);
}

interface Person {
  readonly client: Client;
  readonly asked: Asked[];
  call(): Promise<{ isError: boolean; text: string }>;
}

async function person(
  { url }: World,
  token: string | undefined,
  act: (asked: Asked) => Promise<unknown>,
  mode: 'modern' | 'legacy' = 'modern',
): Promise<Person> {
  const asked: Asked[] = [];
  const client = new Client(
    { name: 'test', version: '1' },
    {
      capabilities: { elicitation: { url: {} } },
      ...(mode === 'modern' ? { versionNegotiation: { mode: 'auto' as const } } : {}),
    },
  );
  client.setRequestHandler('elicitation/create', async ({ params }) => {
    const { url: link, message } = params as { url: string; message: string };
    const one = { link, code: codeIn(message) };
    asked.push(one);
    return { action: (await act(one)) === 'no' ? ('decline' as const) : ('accept' as const) };
  });
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  await client.connect(new StreamableHTTPClientTransport(new URL(`${url}/mcp`), { requestInit: { headers } }));
  open.push({ [Symbol.asyncDispose]: () => client.close() });
  return {
    client,
    asked,
    call: async () => {
      const result = await client.callTool({ name: 'echo', arguments: { text: 'hello' } });
      const [first] = result.content as { text?: string }[];
      return { isError: result.isError === true, text: first?.text ?? '' };
    },
  };
}

function codeIn(text: string): string {
  return /\b[A-Z2-9]{4}-[A-Z2-9]{4}\b/.exec(text)?.[0] ?? '';
}

describe('an account of a caller’s own', () => {
  it('is of one tenant: the same subject in another has none, and is asked for its own', async () => {
    const at = await world();
    const browser = new Browser();
    const tokenOf = (org: string) =>
      new SignJWT({ org, sub: 'ada', iss: 'corp', aud: 'gw' })
        .setProtectedHeader({ alg: 'HS256' })
        .setExpirationTime('5m')
        .sign(new TextEncoder().encode(SECRET));
    const ada = await person(at, await tokenOf('acme'), (asked) => connect(browser, asked));
    expect((await ada.call()).isError).toBe(false);
    const other = await person(at, await tokenOf('evil'), async () => 'no');
    await expect(other.call()).rejects.toThrow('declined');
    expect(other.asked).toHaveLength(1);
    expect((await ada.call()).isError).toBe(false);
    expect(ada.asked).toHaveLength(1);
  });

  it('is connected through the page that the call leads to, and the call then runs', async () => {
    const at = await world();
    const browser = new Browser();
    const pages: Page[] = [];
    const ada = await person(at, ADA, async (asked) => pages.push(await connect(browser, asked)));
    expect(await ada.call()).toMatchObject({ isError: false, text: expect.stringContaining('hello') });
    expect(pages[0]?.text).toContain('Connected');
    expect(ada.asked).toHaveLength(1);
    expect(at.notes.callers).toEqual([expect.objectContaining({ sub: 'ada' })]);
    // The server sees nothing of our question, and the token is bound to it.
    const call = at.notes.requests.findLast(({ method }) => method === 'tools/call');
    expect(call?.body).not.toMatch(/requestState|inputResponses|tollgate_account/);
    const asked = at.as.requests.find(({ path }) => path === '/auth');
    expect(asked?.query.get('resource')).toBe(at.notes.url);
    expect(asked?.query.get('code_challenge_method')).toBe('S256');
    expect(asked?.query.get('redirect_uri')).toBe(`${at.url}/connect/callback/notes`);
    // From now on without a question; and for nobody else.
    expect((await ada.call()).isError).toBe(false);
    expect(ada.asked).toHaveLength(1);
    const left = new AbortController();
    const bob = await person(at, BOB, async () => left.abort());
    const refused = bob.client.callTool({ name: 'echo', arguments: {} }, { signal: left.signal });
    await expect(refused).rejects.toThrow();
    expect(bob.asked.length).toBeGreaterThan(0);
    expect(at.notes.callers).toHaveLength(2);
    // No credential of a caller, in any request of all this.
    expect(JSON.stringify([at.notes.requests, at.as.requests])).not.toMatch(/token-of-/);
  });

  it('is asked for again when the server wants more of it, and a no is a no', async () => {
    const at = await world();
    const browser = new Browser();
    let willing = true;
    const ada = await person(at, ADA, async (asked) => (willing ? connect(browser, asked) : 'no'));
    expect((await ada.call()).isError).toBe(false);
    at.notes.scope = 'notes:write';
    expect((await ada.call()).isError).toBe(false);
    expect(ada.asked).toHaveLength(2);
    expect(at.notes.callers.at(-1)?.scope).toContain('notes:write');
    at.notes.scope = 'notes:delete';
    willing = false;
    await expect(ada.call()).rejects.toThrow(/was declined/);
    expect(ada.asked).toHaveLength(3);
  });

  it('is offered as text where the client cannot be asked, and never to anonymous callers', async () => {
    const at = await world();
    const client = new Client({ name: 'plain', version: '1' });
    const headers = { authorization: `Bearer ${ADA}` };
    await client.connect(new StreamableHTTPClientTransport(new URL(`${at.url}/mcp`), { requestInit: { headers } }));
    open.push({ [Symbol.asyncDispose]: () => client.close() });
    const told = await client.callTool({ name: 'echo', arguments: { text: 'hello' } });
    const text = (told.content as { text: string }[])[0]?.text ?? '';
    expect([told.isError, text]).toEqual([true, expect.stringContaining(`Open ${at.url}/connect/notes?link=`)]);
    const link = /Open (\S+) in/.exec(text)?.[1] ?? '';
    const done = await connect(new Browser(), { link, code: codeIn(text) });
    expect(done.text).toContain('Connected');
    expect((await client.callTool({ name: 'echo', arguments: { text: 'hello' } })).isError).not.toBe(true);
    const nobody = await person(at, undefined, () => Promise.resolve());
    await expect(nobody.call()).rejects.toThrow(/does not know who you are/);
    expect(nobody.asked).toEqual([]);
  });

  it('is asked for by -32042 where a 2025-11-25 client can open pages', async () => {
    const at = await world();
    const ada = await person(at, ADA, () => Promise.resolve(), 'legacy');
    const error = (await ada.call().catch((thrown: unknown) => thrown)) as { code: number; data: unknown };
    expect(error).toMatchObject({
      code: -32042,
      data: { elicitations: [{ mode: 'url', elicitationId: expect.any(String), url: expect.any(String) }] },
    });
  });
});

describe('the page', () => {
  /** A link of Ada, not opened yet. */
  async function linkOf(at: World): Promise<Asked> {
    const client = new Client({ name: 'plain', version: '1' });
    const headers = { authorization: `Bearer ${ADA}` };
    await client.connect(new StreamableHTTPClientTransport(new URL(`${at.url}/mcp`), { requestInit: { headers } }));
    open.push({ [Symbol.asyncDispose]: () => client.close() });
    const told = await client.callTool({ name: 'echo', arguments: {} });
    const text = (told.content as { text: string }[])[0]?.text ?? '';
    return { link: /Open (\S+) in/.exec(text)?.[1] ?? '', code: codeIn(text) };
  }

  it('cannot be framed, loads nothing, is kept nowhere and says for whom it is', async () => {
    const at = await world();
    const { link, code } = await linkOf(at);
    const page = await new Browser().open(link);
    expect(page.headers.get('content-security-policy')).toMatch(/default-src 'none'.*frame-ancestors 'none'/);
    expect(page.headers.get('cache-control')).toBe('no-store');
    expect(page.headers.getSetCookie()[0]).toMatch(/HttpOnly; SameSite=Lax/);
    expect(page.text).toContain('ada/ada');
    // The code is in the person's own program, not in what was sent around.
    expect(page.text + link).not.toContain(code);
  });

  it('does nothing without the code, for another browser, a second time, or with a changed link', async () => {
    const at = await world();
    const asked = await linkOf(at);
    const mine = new Browser();
    const { fields } = await mine.open(asked.link);
    const elsewhere = await new Browser().open(asked.link, { ...fields, code: asked.code });
    expect([elsewhere.status, elsewhere.text]).toEqual([400, expect.stringContaining('not shown to this browser')]);
    const foreign = await mine.open(asked.link, { ...fields, code: asked.code }, { 'sec-fetch-site': 'cross-site' });
    expect(foreign.status).toBe(400);
    const wrong = await mine.open(asked.link, { ...fields, code: 'AAAA-AAAA' });
    expect([wrong.status, wrong.text]).toEqual([400, expect.stringContaining('not the code')]);
    const changed = asked.link.replace('link=tgl1.', 'link=tgl1.A');
    expect((await mine.open(changed)).text).toContain('not valid');
    expect((await mine.open(asked.link.replace('/connect/notes', '/connect/other'))).text).toContain('not valid');
    expect(at.as.requests.filter(({ path }) => path === '/auth' || path === '/reg')).toEqual([]);
    expect((await connect(mine, asked)).text).toContain('Connected');
    expect((await mine.open(asked.link)).text).toContain('not valid');
  });

  it('gives a code five tries', async () => {
    const at = await world();
    const asked = await linkOf(at);
    const guesser = new Browser();
    for (let i = 0; i < 5; i++) {
      const { fields } = await guesser.open(asked.link);
      await guesser.open(asked.link, { ...fields, code: `AAAA-AAA${i + 2}` });
    }
    expect((await guesser.open(asked.link)).text).toContain('not valid');
    // A new call gets a new link.
    expect((await linkOf(at)).link).not.toBe(asked.link);
  });

  it('an answer of the authorization server counts in the browser that left, once, with its state and issuer', async () => {
    const at = await world();
    const asked = await linkOf(at);
    const mine = new Browser();
    const { fields } = await mine.open(asked.link);
    const leaving = await mine.open(asked.link, { ...fields, code: asked.code });
    const out = /content="0;url=([^"]+)"/.exec(leaving.text)?.[1]?.replaceAll('&amp;', '&') ?? '';
    const back = `${at.url}/connect/callback/`;
    // The attack: somebody else's browser brings the answer (login CSRF), or an answer of another sign-in is brought.
    const answer = (await mine.follow(out, back)).location ?? '';
    expect(answer).toContain(back);
    expect((await new Browser().open(answer)).text).toContain('has not begun');
    expect((await mine.open(answer.replace(/state=[^&]+/, 'state=other'))).text).toContain('has not begun');
    expect((await mine.open(answer.replace('/callback/notes', '/callback/other'))).text).toContain('has not begun');
    expect(at.as.requests.filter(({ path }) => path === '/token')).toEqual([]);
    // Scanners of links ask with HEAD first: the browser's own answer must still be good.
    const scanned = await fetch(answer, { method: 'HEAD', headers: { cookie: mine.cookies(answer) } });
    expect([scanned.status, scanned.headers.get('allow'), scanned.headers.get('set-cookie')]).toEqual([
      405,
      'GET',
      null,
    ]);
    const mixed = await mine.open(answer.replace(/iss=[^&]+/, 'iss=https%3A%2F%2Fevil.example'));
    expect([mixed.status, mixed.text]).toEqual([400, expect.stringMatching(/issuer/i)]);
    expect(at.as.requests.filter(({ path }) => path === '/token')).toEqual([]);
    expect((await mine.open(answer)).text).toMatch(/finished already|has not begun/);
  });

  it('a refusal of the person at the authorization server is told, and nothing is kept', async () => {
    const at = await world();
    at.as.refuse = true;
    const page = await connect(new Browser(), await linkOf(at));
    expect([page.status, page.text]).toEqual([400, expect.stringContaining('access_denied')]);
    expect(at.notes.callers).toEqual([]);
  });
});
