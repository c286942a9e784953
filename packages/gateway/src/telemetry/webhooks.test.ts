import { createHmac } from 'node:crypto';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { waitUntil } from '@tollgate/testkit/wait';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Log } from '../core/log.ts';
import { Webhooks } from './webhooks.ts';

let server: Server;
let url: string;
let got: { headers: IncomingHttpHeaders; body: string }[];
let answers: number[];
const log = { warn: vi.fn() } as unknown as Log;

beforeEach(async () => {
  got = [];
  answers = [];
  server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => {
      body += chunk;
    });
    request.on('end', () => {
      got.push({ headers: request.headers, body });
      response.writeHead(answers.shift() ?? 204).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook?token=s3cret`;
});
afterEach(async () => {
  vi.clearAllMocks();
  await new Promise((resolve) => server.close(resolve));
});

describe('webhooks', () => {
  it('are told in order, signed where there is a secret', async () => {
    const hooks = new Webhooks(log);
    hooks.configure([{ url, secret: 'key' }]);
    hooks.tell('share', 0, { limit: 'spend', share: 0.8 });
    hooks.tell('share', 1000, { limit: 'spend', share: 0.95 });
    await waitUntil('the receiver', () => got.length === 2);
    expect(JSON.parse(got[0]!.body)).toEqual({
      type: 'share',
      at: '1970-01-01T00:00:00.000Z',
      data: { limit: 'spend', share: 0.8 },
    });
    for (const { headers, body } of got) {
      const signature = createHmac('sha256', 'key').update(body).digest('hex');
      expect(headers['x-tollgate-signature']).toBe(`sha256=${signature}`);
    }
    hooks.close();
  });

  it('are tried again, then given up with a line that keeps the URL secret', async () => {
    const hooks = new Webhooks(log, [1, 1]);
    hooks.configure([{ url, secret: undefined }]);
    answers = [500, 204, 500, 302, 500];
    hooks.tell('a', 0, {});
    await waitUntil('the receiver', () => got.length === 2);
    expect(hooks.dropped).toBe(0);
    hooks.tell('b', 0, {});
    await waitUntil('the receiver', () => hooks.dropped === 1);
    expect(got).toHaveLength(5);
    expect(JSON.stringify(vi.mocked(log.warn).mock.calls)).not.toContain('s3cret');
    hooks.close();
  });

  it('keep only so many notices for a receiver that hangs', () => {
    const hooks = new Webhooks(log);
    hooks.configure([{ url: 'http://127.0.0.1:1/', secret: undefined }]);
    for (let i = 0; i < 1500; i++) hooks.tell('a', 0, {});
    expect(hooks.dropped).toBe(500);
    hooks.close();
  });
});
