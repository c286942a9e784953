/** `/mcp/tools/…`: tools for programs that speak plain JSON. A call goes the way of every MCP call. */
import type { HttpBindings } from '@hono/node-server';
import type { Context } from 'hono';
import * as z from 'zod';
import { entryText } from '../../catalog/merge.ts';
import { ERROR_SHAPES, type ErrorCode, TollgateError } from '../../core/errors.ts';
import type { Principal } from '../../core/principal.ts';
import type { Secrets } from '../../core/secrets.ts';
import type { RestAnswer, RestCalls } from '../../pipeline/rest-calls.ts';
import { isObject } from '../../protocol/bridge/meta.ts';
import { DEFAULT_SCAN_CAPS, scan } from '../../protocol/json/scan.ts';
import { Field, Message } from '../../protocol/message.ts';
import type { GuardedRoutes } from '../guarded.ts';
import { MAX_ID, readStrictly, subjectOf } from './caller.ts';
import { requireKey } from './provider-keys.ts';

export interface ToolsDeps {
  readonly calls: Pick<RestCalls, 'call' | 'tool' | 'tools'>;
  readonly secrets: Secrets;
  readonly caller: (c: Context) => Principal;
  /** Of the client. */
  readonly address: (c: Context) => string | undefined;
  /** Bytes of the body of a call. */
  readonly maxBody: () => number;
}

const invokeBody = z.strictObject({
  tool_name: z.string().min(1).max(512),
  parameters: z.custom<Readonly<Record<string, unknown>>>(isObject, 'must be an object'),
  user_id: z.string().min(1).max(MAX_ID),
  provider: z.string().max(64).optional(),
});

/** Headers of a refusal that mean the same on REST. */
const PASSED = new Set(['retry-after', 'ratelimit', 'ratelimit-policy', 'www-authenticate']);

export function addTools(routes: GuardedRoutes, { calls, secrets, caller, address, maxBody }: ToolsDeps): void {
  routes.get('/mcp/tools/available', 'tools.call', async (c) => {
    const targets = await calls.tools(caller(c));
    const tools = targets.map(({ entry, server }) => {
      const { name, title, description } = JSON.parse(entryText(entry, 'modern')) as Record<string, unknown>;
      return { name, title, description, server };
    });
    return c.json({ tools, total_count: tools.length });
  });

  routes.get('/mcp/tools/:name/schema', 'tools.call', async (c) => {
    const { entry, server } = await calls.tool(c.req.param('name') ?? '', caller(c)).catch((error: unknown) => {
      throw TollgateError.is(error) && UNKNOWN.has(error.code)
        ? new TollgateError('not_found', 'There is no such tool for you.')
        : error;
    });
    // The schema is the server's text: large numbers in it survive.
    return json(c, 200, `{"server":${JSON.stringify(server)},"tool":${entryText(entry, 'modern')}}`);
  });

  routes.post('/mcp/tools/invoke', 'tools.call', async (c) => {
    const principal = caller(c);
    const { tool_name: tool, parameters, user_id: user, provider } = await readStrictly(c, invokeBody, maxBody());
    // Also for an admin the call is the admin's own: nobody runs or pays in the name of another.
    subjectOf(principal, user, 'tools.call');
    if (provider !== undefined) await requireKey(secrets, principal, provider);
    const { outgoing } = c.env as HttpBindings;
    const answer = await calls.call({
      principal,
      tool,
      parameters,
      address: address(c),
      whenGone: (listener) => {
        outgoing.once('close', () => {
          if (!outgoing.writableFinished) listener();
        });
      },
    });
    for (const [name, value] of answer.head?.headers ?? []) if (PASSED.has(name.toLowerCase())) c.header(name, value);
    const message = messageOf(answer);
    if (message.kind === 'error') return refused(c, message, () => calls.tool(tool, principal));
    if (message.string(Field.resultType) === 'input_required') {
      return failed(c, 409, 'input_required', 'This tool asks its caller a question: call it over MCP.', undefined);
    }
    const success = !message.spells(Field.isError, 'true');
    // Nothing is cached in this version: every result is the server's own.
    return json(c, 200, `{"success":${success},"cached":false,"result":${message.raw(Field.result)!}}`);
  });
}

const UNKNOWN: ReadonlySet<ErrorCode> = new Set(['unknown_name', 'no_route']);
const LOOSE = { ...DEFAULT_SCAN_CAPS, depth: 1000, keys: Infinity, string: Infinity, looseText: true };

function messageOf({ body }: RestAnswer): Message {
  return body instanceof Message ? body : scan(body, LOOSE);
}

/** A JSON-RPC error under the HTTP status that says the same. */
async function refused(c: Context, message: Message, find: () => Promise<unknown>): Promise<Response> {
  const { code, message: text, data } = message.json(Field.error) as { code: unknown; message: string; data?: unknown };
  const told = isObject(data) && typeof data['reason'] === 'string' ? data['reason'] : undefined;
  if (told !== undefined) return failed(c, statusOf(Number(code), told), told, text, data);
  if (code === -32601) return failed(c, 404, 'method_not_found', text, data);
  if (code === -32602) {
    // The same code for a name that is unknown and for arguments that are wrong.
    const unknown = await find().then(
      () => false,
      (error: unknown) => TollgateError.is(error) && UNKNOWN.has(error.code),
    );
    return unknown ? failed(c, 404, 'unknown_name', text, data) : failed(c, 400, 'invalid_params', text, data);
  }
  if (code === -32021) {
    return failed(c, 409, 'missing_client_capability', 'This tool asks its caller a question: call it over MCP.', data);
  }
  return failed(c, 502, 'server_error', text, data);
}

const MONEY = /cost_exceeded$|^budget_exhausted$|^price_above_max$|^unpriced$/;

/** `refusals: legacy-codes` has numbers that are no status; then the reason decides. */
function statusOf(code: number, reason: string): number {
  if (code >= 400 && code < 600) return code;
  if (Object.hasOwn(ERROR_SHAPES, reason)) {
    const { rpc, http } = ERROR_SHAPES[reason as ErrorCode];
    return rpc >= 400 ? rpc : Math.max(400, http);
  }
  if (MONEY.test(reason)) return 402;
  return reason === 'stopped' || reason === 'limit_unavailable' ? 503 : 429;
}

function failed(c: Context, status: number, reason: string, error: string, decision: unknown): Response {
  return json(c, status, JSON.stringify({ success: false, cached: false, result: null, error, reason, decision }));
}

function json(c: Context, status: number, text: string): Response {
  return c.body(text, status as 200, { 'content-type': 'application/json' });
}
