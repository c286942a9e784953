/** The library's gateway with what is served beside MCP, and the control API without a port. */
import { TollgateError } from '../core/errors.ts';
import {
  type GatewayConfig,
  type GatewayHandle,
  createGateway as makeGateway,
  type GatewayOptions as PlainOptions,
} from '../pipeline/create-gateway.ts';
import { portsOf } from '../pipeline/handle-ports.ts';
import { ADMIN, withAdminToken } from './admin-token.ts';
import { controlApp } from './control.ts';
import { adminSurface, controlDeps, userSurface } from './surfaces.ts';

export interface GatewayOptions extends PlainOptions {
  /** Serves the user API (`/api-keys`, `/mcp/tools/…`) beside the endpoints. Default false. */
  readonly userApi?: boolean;
  /**
   * Serves the control API, `/v1` and `/metrics` on the address of `admin` (by default that of `listen` on loopback), to
   * callers whose roles allow it. `token`: a secret of at least 32 characters that is an admin beside them. Default false.
   */
  readonly controlApi?: boolean | { readonly token: string };
}

const MIN_TOKEN = 32;

/**
 * Makes a gateway from a configuration object, or from the file at a path (`tollgate.yaml` or an `.mcp.json`; giving
 * the path is consent). Rejects with `config_invalid` (every mistake, with its key) or `config_not_found`, and with
 * `usage` for a token that is too short.
 */
export async function createGateway(
  config: GatewayConfig | string,
  options: GatewayOptions = {},
): Promise<GatewayHandle> {
  const { userApi = false, controlApi = false, ...plain } = options;
  const token = typeof controlApi === 'object' ? controlApi.token : undefined;
  if (token !== undefined && token.length < MIN_TOKEN) {
    throw new TollgateError('usage', `controlApi.token needs at least ${MIN_TOKEN} characters.`);
  }
  return makeGateway(config, plain, (ports) => {
    const others = (authorization: string | undefined) => ports.gateway().identify(authorization, '', undefined);
    const identify = token === undefined ? others : withAdminToken(token, others);
    return {
      mount: controlApi === false ? undefined : adminSurface(ports, identify),
      publicMount: userApi ? userSurface(ports) : undefined,
    };
  });
}

/** The control API of a gateway in this process, asked as admin. */
export interface Control {
  /**
   * Asks one of its routes, as `docs/operations.md` lists them: `ask('POST', '/blocks', { who, reason })`. Resolves with
   * the answer. Rejects with the TollgateError that a caller over HTTP would be told.
   */
  ask<Answer = unknown>(method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, body?: object): Promise<Answer>;
}

/**
 * Budgets, stops, blocks, keys, secrets, approvals, sign-ins and records of a gateway that `createGateway` made, without
 * an open port: the very routes of the control API. Throws `usage` for any other object.
 */
export function createControl(gateway: GatewayHandle): Control {
  const { app } = controlApp(controlDeps(portsOf(gateway, 'createControl'), () => ADMIN));
  return {
    async ask<Answer>(method: string, path: string, body?: object): Promise<Answer> {
      if (!path.startsWith('/')) throw new TollgateError('usage', 'A path of the control API begins with a slash.');
      const text = body === undefined ? undefined : JSON.stringify(body);
      const response = await app.request(`http://localhost/api/v1${path}`, {
        method,
        ...(text === undefined ? {} : { body: text, headers: headersOf(text) }),
      });
      if (response.headers.get('content-type')?.startsWith('text/event-stream') === true) {
        await response.body?.cancel();
        throw new TollgateError('usage', 'This answer has no end. Calls as they end: gateway.calls.watch().');
      }
      const told = await response.text();
      if (response.headers.get('content-type')?.startsWith('application/json') !== true) return told as Answer;
      const answer = JSON.parse(told) as unknown;
      if (response.ok) return answer as Answer;
      const { code, message, data } = (answer as { error: Told }).error;
      throw new TollgateError(code, message, { data, http: response.status });
    },
  };
}

function headersOf(body: string): Record<string, string> {
  return { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(body)) };
}

/** An error of the control API. */
type Told = Pick<TollgateError, 'code' | 'message' | 'data'>;
