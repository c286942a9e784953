/** Requests that are written to be read differently: each is asked about once, or never reaches the server behind. */
import { type IncomingMessage, request as send } from 'node:http';
import { verifies } from '@tollgate/testkit/verifies';
import { afterEach, describe, expect, it } from 'vitest';
import { guardMcp, type LimiterLike, limitHttp } from './index.ts';
import { closeAll, frameworks, listen } from './testing.ts';

afterEach(closeAll);

const PATHS = [
  '/api/a%2Fb',
  '/api/a%252Fb',
  '/api/../admin',
  '/api/%2e%2e/admin',
  '//api//users',
  '/API/Users/',
  '/admin/',
  '/ADMIN',
  '/api;v=1/x',
  '/api?to=/admin',
  '/admin?',
  '/api/%00',
  '/api/%E2%82%AC',
  '/api/%zz',
  '/%',
  `/api/${'x'.repeat(4000)}`,
  `/api/${'%F0%9F%98%80'.repeat(300)}`,
  'http://127.0.0.1/admin',
  'http://evil.example/api',
];
const METHODS = ['GET', 'HEAD', 'OPTIONS', 'POST', 'PUT', 'DELETE', 'PATCH', 'PROPFIND', 'M-SEARCH'];

interface Seen {
  readonly status: number;
  readonly text: string;
}

/** The path goes out as it is written: no URL is parsed on the way. */
function ask(base: string, method: string, path: string, headers: Record<string, string> = {}): Promise<Seen> {
  const { hostname, port } = new URL(base);
  return new Promise((resolve, reject) => {
    const request = send({ hostname, port, method, path, headers, agent: false }, (response: IncomingMessage) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part: string) => {
        text += part;
      });
      response.on('end', () => resolve({ status: response.statusCode!, text }));
    });
    request.on('error', reject).end();
  });
}

class Asked implements LimiterLike {
  readonly endpoints: string[] = [];
  readonly #allowed: boolean;
  constructor(allowed: boolean) {
    this.#allowed = allowed;
  }
  process(input: Readonly<Record<string, unknown>>): Promise<unknown> {
    this.endpoints.push(String(input['endpoint']));
    return Promise.resolve({ allowed: this.#allowed, reason: 'rate_limit_exceeded' });
  }
}

describe.each(Object.entries(frameworks))('Hostile requests to %s', (name, serve) => {
  it.each(PATHS)('%s is refused where there is no room, by every method', async (path) => {
    verifies('R0-47');
    const limiter = new Asked(false);
    const base = await serve(limiter);
    for (const method of METHODS) {
      const before = limiter.endpoints.length;
      const { status, text } = await ask(base, method, path, { 'x-client': 'ada' });
      const what = `${method} ${path.slice(0, 40)}: ${status} ${text.slice(0, 40)}`;
      expect(text, what).not.toContain('served');
      // A framework may refuse by itself what it cannot read, before anybody is asked.
      if (limiter.endpoints.length === before) {
        expect(status, what).toBeGreaterThanOrEqual(400);
        continue;
      }
      expect(status, what).toBe(429);
      expect(limiter.endpoints.length, what).toBe(before + 1);
      const endpoint = limiter.endpoints.at(-1)!;
      expect(endpoint.startsWith(method.toLowerCase()), endpoint).toBe(true);
      expect(endpoint, what).not.toMatch(/[?#\n]/);
      expect(endpoint.length, what).toBeLessThanOrEqual(1010);
      expect(endpoint.isWellFormed(), what).toBe(true);
    }
  });

  it('what makes the extraction of the client or the cost fail passes nowhere, also where the limits are open', async () => {
    const base = await serve({ process: () => Promise.reject(new Error('away')) }, 'open');
    expect(await ask(base, 'GET', '/api', { 'x-client': 'throw' }), name).toMatchObject({ status: 403 });
    expect(await ask(base, 'GET', '/api', { 'x-client': 'ada', 'x-cost': 'abc' })).toMatchObject({ status: 400 });
    expect(await ask(base, 'GET', '/api', { 'x-client': 'ada', 'x-cost': '-1' })).toMatchObject({ status: 400 });
    expect(await ask(base, 'GET', '/api', { 'x-client': 'ada', 'x-cost': '2' })).toMatchObject({ text: 'served' });
  });
});

describe('A cost that is no number', () => {
  it.each([
    Number.NaN,
    Infinity,
    -1,
    -0.1,
  ])('%s is not sent to a gateway, which would take it for none', async (cost) => {
    const limiter = new Asked(true);
    const base = await listen(
      limitHttp((_request, response) => void response.end('served'), {
        limiter,
        clientId: () => 'ada',
        cost: () => cost,
      }),
    );
    expect(await ask(base, 'GET', '/')).toMatchObject({ status: 400 });
    const guarded = guardMcp(() => 'ran', {
      limiter,
      clientId: () => 'ada',
      endpoint: () => 'tools/call',
      cost: () => cost,
    });
    expect(await guarded({})).toEqual({ error: 'Rate limit exceeded', reason: 'cost_invalid' });
    expect(limiter.endpoints).toEqual([]);
  });
});
