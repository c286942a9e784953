/** From what a caller sends to one flat input: `ctx` and `cfg` merged, an MCP request envelope unwrapped. */
import { boundedCopy, type Plain, type PlainObject } from './bounds.ts';
import { OperationProblem } from './problem.ts';

/** Members that an envelope's `params` may set. Never `tier`: an envelope quotes what some client asked for. */
const FROM_PARAMS = ['operation', 'client_id', 'endpoint', 'estimated_cost'] as const;

/** The input of one operation: bounded, plain, null left out. */
export interface OperationInput {
  readonly operation: string;
  readonly members: PlainObject;
}

const DEFAULT_OPERATION = 'check_mcp_limit';

/**
 * Reads one input. `cfg` overrides `ctx`; null counts as absent; then `original_request.params` overrides both
 * (R0-42, R0-55, X0-05). Throws an OperationProblem.
 */
export function readInput(ctx: unknown, cfg?: unknown): OperationInput {
  const merged: Record<string, Plain> = Object.create(null) as Record<string, Plain>;
  // One copy of both, so that both together keep the bound on bytes.
  const both = boundedCopy({ ctx: ctx ?? null, cfg: cfg ?? null }) as PlainObject;
  for (const name of ['ctx', 'cfg'] as const) {
    const source = both[name];
    if (source === null || source === undefined) continue;
    if (!isObject(source)) throw new OperationProblem('invalid_input', `${name} must be a JSON object.`);
    take(merged, source);
  }
  unwrap(merged);
  const operation = merged['operation'] ?? DEFAULT_OPERATION;
  if (typeof operation !== 'string') throw new OperationProblem('invalid_input', 'operation must be a string.');
  return { operation, members: merged };
}

function take(target: Record<string, Plain>, source: PlainObject): void {
  for (const key of Object.keys(source)) {
    const value = source[key];
    if (value !== null && value !== undefined) target[key] = value;
  }
}

/**
 * `{ original_request: { method, params } }`, as orchestrators send it, or the JSON-RPC request itself. What the
 * envelope does not say is filled from its method: the endpoint that is being asked about.
 */
function unwrap(merged: Record<string, Plain>): void {
  const nested = merged['original_request'];
  const request = isObject(nested) ? nested : merged['jsonrpc'] === undefined ? undefined : merged;
  if (request === undefined) return;
  const { params, method } = request;
  if (isObject(params)) {
    for (const name of FROM_PARAMS) {
      const value = params[name];
      if (value !== null && value !== undefined) merged[name] = value;
    }
  }
  if (merged['endpoint'] === undefined && typeof method === 'string') merged['endpoint'] = endpointOf(method);
}

/** Endpoints are named after methods; two have names of their own (R0-01, C-12). */
function endpointOf(method: string): string {
  if (method === 'initialize' || method === 'server/discover') return 'server/initialize';
  return method === 'ping' ? 'server/ping' : method;
}

export function isObject(value: Plain | undefined): value is PlainObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
