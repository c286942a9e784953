import http from 'node:http';
import type net from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { FORBIDDEN_LITERALS } from '../egress/testing.ts';
import { isWebUrl, openBrowser } from './oauth-browser.ts';
import { signInFetch } from './oauth-fetch.ts';

const open: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

describe('where a sign-in may lead', () => {
  const signal = new AbortController().signal;

  it('a public server leads to none of the URLs that nothing is fetched from', async () => {
    const guarded = await signInFetch(new URL('https://198.51.100.7/mcp'), signal);
    for (const url of [...FORBIDDEN_LITERALS, 'https://localhost/']) {
      await expect(guarded(url), url).rejects.toMatchObject({ code: 'server_login_required' });
    }
  });

  it('no server leads to the metadata service of a cloud, and names that resolve inside are refused', async () => {
    const inside = await signInFetch(new URL('http://127.0.0.1/mcp'), signal);
    await expect(inside('https://169.254.169.254/')).rejects.toMatchObject({ code: 'server_login_required' });
    const outside = await signInFetch(new URL('https://198.51.100.7/mcp'), signal);
    await expect(outside('https://localhost:9443/')).rejects.toMatchObject({
      cause: expect.objectContaining({ message: expect.stringContaining('internal address') }),
    });
  });

  it('large answers are cut', async () => {
    const server = http.createServer((_request, response) => {
      response.writeHead(200);
      response.end(Buffer.alloc(2 * 1024 * 1024));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    open.push(() => new Promise<void>((resolve) => server.close(() => resolve())));
    const url = new URL(`http://127.0.0.1:${(server.address() as net.AddressInfo).port}/`);
    await expect((await signInFetch(url, signal))(url)).rejects.toMatchObject({
      message: expect.stringContaining('1 MiB'),
    });
  });

  it('only web pages go to the browser', async () => {
    for (const url of ['file:///etc/passwd', 'javascript:alert(1)', 'vscode://x', 'data:text/html,x']) {
      expect(isWebUrl(new URL(url))).toBe(false);
      expect(await openBrowser(new URL(url))).toBe(false);
    }
    expect(isWebUrl(new URL('https://a.example/?a=1&b=$(x)'))).toBe(true);
  });
});
