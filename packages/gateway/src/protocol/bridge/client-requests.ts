/**
 * Requests that travel from a server to the client, in both shapes: a JSON-RPC request of the legacy era and an
 * entry of `inputRequests` of the modern era. This file knows which capability each needs and how their params
 * differ between revisions.
 */
import { randomUUID } from 'node:crypto';
import { isObject } from './meta.ts';

export type Capabilities = Readonly<Record<string, unknown>>;

const METHODS: Readonly<Record<string, string>> = {
  'elicitation/create': 'elicitation',
  'sampling/createMessage': 'sampling',
  'roots/list': 'roots',
};

/** True for the three requests that both eras can express. */
export function isBridgeable(method: string): boolean {
  return Object.hasOwn(METHODS, method);
}

/**
 * The capability, as a ClientCapabilities object, that the client must have declared to be asked this and has not;
 * undefined when it may be asked. An empty `elicitation` means form mode only (MCP 2025-11-25, elicitation).
 */
export function missingCapability(
  method: string,
  params: Readonly<Record<string, unknown>> | undefined,
  declared: Capabilities,
): Record<string, unknown> | undefined {
  const name = METHODS[method];
  if (name === undefined) return {};
  const capability = declared[name];
  if (typeof capability !== 'object' || capability === null) {
    return { [name]: method === 'elicitation/create' && params?.['mode'] === 'url' ? { url: {} } : {} };
  }
  if (method === 'elicitation/create' && params?.['mode'] === 'url' && !('url' in capability)) {
    return { elicitation: { url: {} } };
  }
  if (method === 'elicitation/create' && params?.['mode'] !== 'url' && 'url' in capability && !('form' in capability)) {
    return { elicitation: { form: {} } };
  }
  if (method === 'sampling/createMessage' && params?.['tools'] !== undefined && !('tools' in capability)) {
    return { sampling: { tools: {} } };
  }
  return undefined;
}

/** How many different capability sets there are, as far as a legacy server can make use of them. */
export const CAPABILITY_SETS = 128;

/** The part of declared client capabilities that can be bridged, as a number below `CAPABILITY_SETS`. */
export function capabilitySet(declared: unknown): number {
  if (!isObject(declared)) return 0;
  const { roots, sampling, elicitation } = declared;
  let set = isObject(roots) ? 1 : 0;
  if (isObject(sampling)) set |= 2 | (isObject(sampling['tools']) ? 4 : 0) | (isObject(sampling['context']) ? 8 : 0);
  if (isObject(elicitation)) {
    const url = isObject(elicitation['url']);
    set |= 16 | (url ? 32 : 0) | (!url || isObject(elicitation['form']) ? 64 : 0);
  }
  return set;
}

/** The capabilities of a set, as a legacy server is told them at `initialize`. */
export function capabilitiesOf(set: number): Capabilities {
  return {
    ...(set & 1 ? { roots: {} } : {}),
    ...(set & 2 ? { sampling: { ...(set & 4 ? { tools: {} } : {}), ...(set & 8 ? { context: {} } : {}) } } : {}),
    ...(set & 16 ? { elicitation: { ...(set & 64 ? { form: {} } : {}), ...(set & 32 ? { url: {} } : {}) } } : {}),
  };
}

/** Params of an `inputRequests` entry as a request to a legacy client of that version. */
export function paramsForLegacyClient(
  method: string,
  params: Readonly<Record<string, unknown>> | undefined,
  version: string,
): Record<string, unknown> | undefined {
  if (method !== 'elicitation/create' || params === undefined) return params === undefined ? undefined : { ...params };
  const { mode, ...rest } = params;
  // `mode` came with 2025-11-25; older clients know forms only and validate strictly.
  if (version < '2025-11-25') return rest;
  // 2025-11-25 requires an id for URL elicitations; 2026-07-28 has none, so one is made up.
  if (mode === 'url') return { ...params, elicitationId: params['elicitationId'] ?? randomUUID() };
  return { ...params };
}

/** Params of a legacy server's request as an `inputRequests` entry. */
export function paramsForModernClient(
  method: string,
  params: Readonly<Record<string, unknown>> | undefined,
): Record<string, unknown> {
  if (params === undefined) return {};
  const { _meta: _dropped, task: _task, ...rest } = params;
  if (method !== 'elicitation/create') return rest;
  const { elicitationId: _id, ...elicitation } = rest;
  return 'mode' in elicitation ? elicitation : { mode: 'form', ...elicitation };
}
