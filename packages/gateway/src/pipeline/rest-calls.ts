/**
 * Tool calls that come over REST. They take the very way of an MCP call (identity, access, limits, money, records): what
 * comes in is made into a modern request, and what comes out is the answer that an MCP client would have got.
 */
import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import { randomId } from '../core/ids.ts';
import { Lifetime } from '../core/lifetime.ts';
import type { Principal } from '../core/principal.ts';
import { IMPLEMENTATION } from '../core/version.ts';
import type { OpenCall, OpenCalls } from '../inbound/edge.ts';
import { Call, type Reply, type ResponseHead } from '../protocol/call.ts';
import { encode } from '../protocol/json/splice.ts';
import type { Message } from '../protocol/message.ts';
import { LATEST_MODERN } from '../protocol/versions.ts';
import type { EndpointChain } from './endpoint.ts';
import type { Gateway } from './gateway.ts';
import { mainEndpoint } from './main-endpoint.ts';
import type { Target } from './targets.ts';

export interface RestCall {
  readonly principal: Principal;
  readonly tool: string;
  /** Read losslessly from a body that the strict scanner has passed. */
  readonly parameters: Readonly<Record<string, unknown>>;
  readonly address: string | undefined;
  /** Calls back when the client has left; then the call is cancelled. */
  readonly whenGone: (listener: () => void) => void;
}

export interface RestAnswer {
  /** A whole JSON-RPC response. */
  readonly body: Message | Buffer;
  readonly head: ResponseHead | undefined;
}

export class RestCalls {
  readonly #gateway: () => Gateway;
  readonly #clock: Clock;

  constructor(gateway: () => Gateway, clock: Clock) {
    this.#gateway = gateway;
    this.#clock = clock;
  }

  /** Path of the endpoint that REST calls go to: `/mcp`, else the first of the configuration. */
  get endpoint(): string {
    return this.#endpoint().path;
  }

  /** Runs a tool. Rejects with `unauthorized` for who may not use the endpoint, with `shutting_down` while draining. */
  async call(wanted: RestCall): Promise<RestAnswer> {
    const gateway = this.#gateway();
    if (gateway.draining) {
      throw new TollgateError('shutting_down', 'The gateway is shutting down. Repeat this later.', {
        retryAfterSeconds: 1,
      });
    }
    const endpoint = this.#for(wanted.principal);
    const reply = new RestReply(gateway.openCalls);
    wanted.whenGone(() =>
      reply.lifetime.end(
        new TollgateError('cancelled', 'The client closed the connection before the answer.', { executed: 'unknown' }),
      ),
    );
    const { address, principal } = wanted;
    endpoint.handle(
      new Call({
        message: requestOf(wanted),
        era: 'modern',
        version: LATEST_MODERN,
        endpoint: endpoint.path,
        principal,
        session: undefined,
        transport: 'rest',
        lifetime: reply.lifetime,
        reply,
        paramHeaders: undefined,
        address,
        startedAt: this.#clock.monotonic(),
      }),
    );
    return reply.answer;
  }

  /** The tools that this caller is shown. */
  tools(principal: Principal): Promise<Target[]> {
    return this.#for(principal).toolsFor(principal);
  }

  /** One tool. Rejects with what would refuse a call of it: `unknown_name`, `no_route`, `insufficient_scope`. */
  tool(name: string, principal: Principal): Promise<Target> {
    return this.#for(principal).toolNamed(name, principal);
  }

  /** Who is let in at the gateway's REST paths need not be let in at this endpoint. */
  #for(principal: Principal): EndpointChain {
    const endpoint = this.#endpoint();
    // Both may have changed while the body came.
    const barred = this.#gateway().barred(principal, endpoint.path);
    if (barred !== undefined) throw barred;
    if (this.#gateway().generation.identity.recognises(principal, endpoint.path)) return endpoint;
    throw new TollgateError('unauthorized', `This credential is not accepted at ${endpoint.path}.`);
  }

  #endpoint(): EndpointChain {
    const { endpoints } = this.#gateway().generation;
    const chosen = endpoints.get(mainEndpoint([...endpoints.keys()]));
    if (chosen !== undefined) return chosen.chain;
    throw new TollgateError('not_found', 'No endpoint is served here.');
  }
}

/** No capabilities: a caller over REST cannot be asked anything, so servers that would ask refuse. */
const META = {
  'io.modelcontextprotocol/protocolVersion': LATEST_MODERN,
  'io.modelcontextprotocol/clientInfo': { name: `${IMPLEMENTATION.name}-rest`, version: IMPLEMENTATION.version },
  'io.modelcontextprotocol/clientCapabilities': {},
};

function requestOf({ tool, parameters }: RestCall): Message {
  const params = { name: tool, arguments: parameters, _meta: META };
  return encode({ jsonrpc: '2.0', id: randomId(12), method: 'tools/call', params });
}

class RestReply implements Reply, OpenCall {
  readonly canAsk = false;
  readonly lifetime = new Lifetime();
  readonly method = 'tools/call';
  place = -1;
  readonly answer: Promise<RestAnswer>;
  readonly #resolve: (answer: RestAnswer) => void;
  readonly #calls: OpenCalls;

  constructor(calls: OpenCalls) {
    const { promise, resolve } = Promise.withResolvers<RestAnswer>();
    this.answer = promise;
    this.#resolve = resolve;
    this.#calls = calls;
    calls.add(this);
  }

  /** Progress has nowhere to go on REST. */
  notify(): void {}

  ask(_method: string, _params: string | undefined, listener: (answer: TollgateError) => void): () => void {
    listener(new TollgateError('not_bridgeable', 'A caller over REST cannot be asked.'));
    return () => {};
  }

  respond(body: Message | Buffer, head?: ResponseHead): void {
    this.#calls.delete(this);
    this.lifetime.release();
    this.#resolve({ body, head });
  }
}
