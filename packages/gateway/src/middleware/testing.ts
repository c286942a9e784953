/** Real servers of each framework behind the limits, for tests. */
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import express from 'express';
import fastify from 'fastify';
import { Hono } from 'hono';
import { type LimiterLike, limitExpress, limitFastify, limitHono, limitHttp } from './index.ts';

const closing: (() => unknown)[] = [];

/** Ends every server that was started. */
export async function closeAll(): Promise<void> {
  for (const close of closing.splice(0)) await close();
}

export async function listen(listener: RequestListener): Promise<string> {
  const server: Server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closing.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

type Headers = Readonly<Record<string, string | string[] | undefined>>;

function idOf(headers: Headers): string | undefined {
  if (headers['x-client'] === 'throw') throw new Error('this credential cannot be read');
  return headers['x-client'] as string | undefined;
}

const costOf = (headers: Headers) => Number(headers['x-cost'] ?? 1);

/** A server of each framework that answers `served` below the limits. */
export const frameworks: Readonly<Record<string, (limiter: LimiterLike, onError?: 'open') => Promise<string>>> = {
  'Node http': (limiter, onError = undefined) =>
    listen(
      limitHttp((_request, response) => void response.end('served'), {
        limiter,
        clientId: ({ headers }) => idOf(headers),
        cost: ({ headers }) => costOf(headers),
        when: ({ url }) => url !== '/health',
        ...(onError === undefined ? {} : { onError }),
      }),
    ),
  Express: (limiter, onError = undefined) => {
    const app = express();
    const limits = limitExpress({
      limiter,
      clientId: ({ headers }) => idOf(headers),
      cost: ({ headers }) => costOf(headers),
      when: ({ url }) => url !== '/health',
      ...(onError === undefined ? {} : { onError }),
    });
    // Mounted: Express cuts the mount path off `url`, and the endpoint must not change by it.
    const asked = new WeakSet<object>();
    app.use('/api', (request, response, next) => {
      asked.add(request);
      limits(request, response, next);
    });
    app.use((request, response, next) => (asked.has(request) ? next() : limits(request, response, next)));
    app.use((_request, response) => void response.end('served'));
    return listen(app);
  },
  Fastify: async (limiter, onError = undefined) => {
    const app = fastify();
    app.addHook(
      'onRequest',
      limitFastify({
        limiter,
        clientId: ({ headers }) => idOf(headers),
        cost: ({ headers }) => costOf(headers),
        when: ({ originalUrl }) => originalUrl !== '/health',
        ...(onError === undefined ? {} : { onError }),
      }),
    );
    app.all('/*', async () => 'served');
    closing.push(() => app.close());
    return app.listen({ port: 0, host: '127.0.0.1' });
  },
  Hono: (limiter, onError = undefined) => {
    const app = new Hono();
    app.use(
      limitHono({
        limiter,
        clientId: (context) => idOf(context.req.header()),
        cost: (context) => costOf(context.req.header()),
        when: (context) => context.req.path !== '/health',
        ...(onError === undefined ? {} : { onError }),
      }),
    );
    app.all('/*', (context) => context.text('served'));
    return listen(getRequestListener(app.fetch, { overrideGlobalObjects: false }));
  },
};
