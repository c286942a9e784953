import type { IncomingMessage } from 'node:http';
import { createAdmission } from '../../packages/gateway/src/admission/admission.ts';
import type { AdmissionOptions, LimitOptions } from '../../packages/gateway/src/admission/options.ts';
import { limit, rate } from '../../packages/gateway/src/admission/testing.ts';
import type { Catalog } from '../../packages/gateway/src/catalog/catalog.ts';
import type { Entry } from '../../packages/gateway/src/catalog/merge.ts';
import { systemClock } from '../../packages/gateway/src/core/clock.ts';
import { silentLog } from '../../packages/gateway/src/core/log.ts';
import type { Principal } from '../../packages/gateway/src/core/principal.ts';
import { type CallerSlot, createIdentity } from '../../packages/gateway/src/identity/identity.ts';
import { PrincipalKeys } from '../../packages/gateway/src/identity/principals.ts';
import { type Edge, OpenCalls } from '../../packages/gateway/src/inbound/edge.ts';
import type { Exchange } from '../../packages/gateway/src/inbound/exchange.ts';
import { HostOriginGuard } from '../../packages/gateway/src/inbound/host-origin.ts';
import { serveModern } from '../../packages/gateway/src/inbound/modern-http.ts';
import { routePath } from '../../packages/gateway/src/inbound/path.ts';
import { type RequestHead, readHead } from '../../packages/gateway/src/inbound/request-head.ts';
import { EndpointChain, type EndpointParts } from '../../packages/gateway/src/pipeline/endpoint.ts';
import { TargetResolver } from '../../packages/gateway/src/pipeline/targets.ts';
import { checkMirroredHeaders, checkVersionHeader } from '../../packages/gateway/src/protocol/headers.ts';
import { DEFAULT_SCAN_CAPS, scan } from '../../packages/gateway/src/protocol/json/scan.ts';
import { checkModernRequest } from '../../packages/gateway/src/protocol/modern/request.ts';
import type { Connection, Server } from '../../packages/gateway/src/protocol/peer.ts';
import { compileRoutes } from '../../packages/gateway/src/routing/router.ts';
import { CallLog } from '../../packages/gateway/src/telemetry/calls.ts';
import { RefusedCallers } from '../../packages/gateway/src/telemetry/refused-callers.ts';
import type { HttpClient, HttpHandler } from '../../packages/gateway/src/upstream/http-client.ts';
import { createModernHttp } from '../../packages/gateway/src/upstream/http-modern.ts';
import { CALL_300 } from '../measure.ts';
import type { Stage } from '../stage.ts';

const PATH = '/mcp';
const TOKEN = 'token-of-the-benchmark-0123456789';
const BODY = Buffer.from(CALL_300);
const TOOLS = 1000;

const request = {
  method: 'POST',
  url: PATH,
  rawHeaders: [
    ['Host', '127.0.0.1:7117'],
    ['Authorization', `Bearer ${TOKEN}`],
    ['Content-Type', 'application/json'],
    ['Accept', 'application/json, text/event-stream'],
    ['MCP-Protocol-Version', '2026-07-28'],
    ['Mcp-Method', 'tools/call'],
    ['Mcp-Name', 'echo'],
    ['Content-Length', String(BODY.length)],
  ].flat(),
} as unknown as IncomingMessage;

const guard = new HostOriginGuard({ host: '127.0.0.1', allowedHosts: [], allowedOrigins: [] }, 7117);
const identity = createIdentity(
  {
    entries: Array.from({ length: 10 }, (_, i) => ({
      kind: 'bearer',
      name: `entry${i}`,
      token: i === 5 ? TOKEN : `another-token-0123456789-${i}`,
      subject: `subject${i}`,
      tenant: undefined,
      tier: undefined,
      roles: [],
      scopes: ['*'],
    })),
    endpointEntries: new Map(),
    loopback: true,
  },
  {
    keys: new PrincipalKeys(),
    clock: systemClock,
    log: silentLog,
    egress: () => Promise.reject(),
    resource: (path) => `https://gw.example${path}`,
  },
);

function entryOf(i: number): Entry {
  const name = i === 0 ? 'echo' : `tool_${i}`;
  return {
    kind: 'tools',
    server: 'files',
    name,
    upstreamName: name,
    target: i === 0 ? '"renamed"' : undefined,
    canonicalId: `files/${name}`,
    paramHeaders: undefined,
    advertised: true,
    item: {} as Entry['item'],
    standing: undefined,
    rank: 0,
    seq: i,
  };
}

/** The upstream room with nothing on the wire: a server that answers at once, in one chunk. */
function answering(): Connection {
  const tail =
    ',"result":{"resultType":"complete","content":[{"type":"text","text":"0123456789012345678901234567890123456789"}]}}';
  const mark = '{"jsonrpc":"2.0","id":'.length;
  const headers = { 'content-type': 'application/json', 'content-length': '160' };
  const controller = { abort: () => {} };
  const client = {
    name: 'files',
    options: { maxResponse: 1_000_000, timeout: { connect: 1000, firstByte: 1000, idle: 1000, request: 30_000 } },
    caps: DEFAULT_SCAN_CAPS,
    credentials: undefined,
    secretsOf: () => undefined,
    headers: [],
    path: PATH,
    dispatch: (handler: Required<HttpHandler>, sent: { body: Buffer }) => {
      handler.onRequestStart(controller as never, undefined);
      handler.onResponseStart(controller as never, 200, headers, 'OK');
      const id = sent.body.toString('latin1', mark, sent.body.indexOf(0x2c, mark));
      handler.onResponseData(controller as never, Buffer.from(`{"jsonrpc":"2.0","id":${id}${tail}`));
      handler.onResponseEnd(controller as never, {});
    },
  };
  return createModernHttp(client as unknown as HttpClient).connection({
    version: '2026-07-28',
    capabilities: {},
    serverInfo: undefined,
    instructions: undefined,
  });
}

function limitAt(i: number): LimitOptions {
  const quota = rate(1_000_000_000, 0, { kind: 'length', ms: 86_400_000 });
  return limit(`limit-${i}`, quota, { by: i === 0 ? ['principal'] : i === 1 ? ['principal', 'tool'] : ['everyone'] });
}

function chain(limits: number): EndpointChain {
  const entries = new Map(Array.from({ length: TOOLS }, (_, i) => [entryOf(i).name, entryOf(i)]));
  const connection = answering();
  const server = { name: 'files', requestTimeout: 30_000, current: () => connection } as unknown as Server;
  const servers = new Map([['files', server]]);
  const tool = (name: string): Entry | undefined => entries.get(name);
  const catalog = { ready: true, tool, recheck: () => undefined } as unknown as Catalog;
  const admission: AdmissionOptions = {
    limits: Array.from({ length: limits }, (_, i) => limitAt(i)),
    tiers: ['default'],
    pricesOf: () => undefined,
    unpriced: 'free',
    sessionGuard: undefined,
    preset: undefined,
  };
  return new EndpointChain({
    path: PATH,
    catalog,
    servers,
    targets: new TargetResolver({
      endpoint: PATH,
      catalog,
      servers,
      router: compileRoutes([]),
      scope: undefined,
      callers: new RefusedCallers(systemClock),
      tools: { any: false, of: () => ({ timeout: undefined, validate: undefined }) },
    }),
    limits: { current: createAdmission(admission, { clock: systemClock }), touch: () => {} },
    clock: systemClock,
    tasks: { remember: () => {} },
    log: silentLog,
    calls: new CallLog({ clock: systemClock }),
    transforms: { request: undefined, response: undefined },
  } as unknown as EndpointParts);
}

const edge = { calls: new OpenCalls(), clock: systemClock, options: { caps: DEFAULT_SCAN_CAPS } } as unknown as Edge;

export let sink = 0;

/** In place of the socket: counts what would be written. */
const exchange = {
  started: false,
  whenGone: () => {},
  json: (body: Buffer) => {
    sink += body.length;
  },
  refuse: (error: Error) => {
    throw error;
  },
} as unknown as Exchange;

/** Remembers its last caller, as a connection of the edge does. */
const connection: CallerSlot = { lastCaller: undefined };

function identified(): { head: RequestHead; principal: Principal } {
  const head = readHead(request);
  if (head instanceof Error) throw head;
  const path = guard.check(head.host, head.origin) ?? routePath(request.url ?? '');
  if (path instanceof Error) throw path;
  const principal = identity.identify(head.authorization, path, undefined, connection);
  if (principal instanceof Error) throw principal;
  if (principal instanceof Promise) throw new Error('a token seen before was not told at once');
  return { head, principal };
}

const whole = (limits: number): Stage => {
  const endpoint = chain(limits);
  return {
    name: `a call through the gateway and back, nothing on the wire, ${limits} limit${limits === 1 ? '' : 's'}`,
    run(iterations) {
      const before = sink;
      for (let i = 0; i < iterations; i++) {
        const { head, principal } = identified();
        const message = scan(BODY, DEFAULT_SCAN_CAPS);
        serveModern(edge, {
          exchange,
          head,
          message,
          endpoint,
          principal,
          address: undefined,
          startedAt: systemClock.monotonic(),
        });
      }
      if (sink - before < iterations * 100) throw new Error('a call was not answered');
    },
  };
};

const { head: goodHead } = identified();
const goodMessage = scan(BODY, DEFAULT_SCAN_CAPS);

export const stages: readonly Stage[] = [
  {
    name: 'head, Host, Origin, path, and a bearer token seen before',
    run(iterations) {
      for (let i = 0; i < iterations; i++) sink += identified().principal.key;
    },
  },
  {
    name: 'classify: mirrored headers and metadata of a modern call',
    run(iterations) {
      for (let i = 0; i < iterations; i++) {
        const wrong =
          checkVersionHeader(goodMessage, goodHead) ??
          checkModernRequest(goodMessage) ??
          checkMirroredHeaders(goodMessage, goodHead);
        if (wrong !== undefined) throw wrong;
        sink += 1;
      }
    },
  },
  whole(1),
  whole(3),
];
