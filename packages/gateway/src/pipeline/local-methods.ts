/** Methods that the gateway answers itself: lifecycle, lists, subscriptions, log level. */

import type { Catalog } from '../catalog/catalog.ts';
import type { Kind } from '../catalog/items.ts';
import { TollgateError } from '../core/errors.ts';
import { IMPLEMENTATION } from '../core/version.ts';
import type { Call } from '../protocol/call.ts';
import { Field } from '../protocol/message.ts';
import { MODERN_VERSIONS } from '../protocol/versions.ts';
import type { LimitsInForce } from './endpoint.ts';
import { QUOTA_TOOL_TEXT, type QuotaTool } from './quota-tool.ts';
import { type SubscriptionHub, uriOf } from './subscriptions.ts';
import type { TargetResolver } from './targets.ts';

export interface LocalParts {
  readonly catalog: Catalog;
  readonly targets: TargetResolver;
  readonly hub: SubscriptionHub;
  readonly quota: QuotaTool;
  readonly limits: LimitsInForce;
  /** Passes a legacy session's log level to the connections it has open. */
  readonly setLogLevel: (call: Call, level: string) => void;
}

/** Gives the JSON text of the result, or undefined when the call stays open or was answered elsewhere. */
type LocalMethod = (call: Call, parts: LocalParts) => Promise<string | undefined> | string | undefined;

const LOG_LEVELS: ReadonlySet<unknown> = new Set([
  'debug',
  'info',
  'notice',
  'warning',
  'error',
  'critical',
  'alert',
  'emergency',
]);
/** How long a client may keep what `server/discover` said, in milliseconds. */
const DISCOVER_TTL = 60_000;

const LISTS: Readonly<Record<string, Kind>> = {
  'tools/list': 'tools',
  'prompts/list': 'prompts',
  'resources/list': 'resources',
  'resources/templates/list': 'templates',
};

const BOTH: Readonly<Record<string, LocalMethod>> = Object.fromEntries(
  Object.entries(LISTS).map(([method, kind]) => [method, list(kind)]),
);

const METHODS: Readonly<Record<Call['era'], ReadonlyMap<string, LocalMethod>>> = {
  modern: new Map(
    Object.entries({
      ...BOTH,
      'server/discover': discover,
      'subscriptions/listen': listen,
    }),
  ),
  legacy: new Map(
    Object.entries({
      ...BOTH,
      initialize,
      ping: () => '{}',
      'logging/setLevel': setLogLevel,
      'resources/subscribe': subscribe,
      'resources/unsubscribe': unsubscribe,
    }),
  ),
};

export function localMethod(call: Call): LocalMethod | undefined {
  return METHODS[call.era].get(call.method);
}

/** What says only that a gateway is there and how to speak with it: open to everybody who may come in. */
export function isHandshake(method: string): boolean {
  return method === 'initialize' || method === 'server/discover' || method === 'ping';
}

export function isList(method: string): boolean {
  return Object.hasOwn(LISTS, method);
}

/** What the servers say of themselves, and the standing rules of the limits that cover their tools. */
function instructionsFor(call: Call, { catalog, targets, limits }: LocalParts): string | undefined {
  const rules = limits.current.standingRules(targets.tools(call.principal));
  const own = catalog.instructions(targets.visibility(call.principal));
  return own === undefined || rules === undefined ? (own ?? rules) : `${own}\n\n${rules}`;
}

async function initialize(call: Call, parts: LocalParts): Promise<string> {
  const { catalog, hub } = parts;
  await catalog.settled();
  if (call.session !== undefined) hub.opened(call.session);
  const instructions = instructionsFor(call, parts);
  return JSON.stringify({
    protocolVersion: call.version,
    capabilities: catalog.capabilities('legacy'),
    serverInfo: IMPLEMENTATION,
    ...(instructions === undefined ? {} : { instructions }),
  });
}

async function discover(call: Call, parts: LocalParts): Promise<string> {
  const { catalog } = parts;
  await catalog.settled();
  const instructions = instructionsFor(call, parts);
  return JSON.stringify({
    resultType: 'complete',
    supportedVersions: MODERN_VERSIONS,
    capabilities: catalog.capabilities('modern'),
    ...(instructions === undefined ? {} : { instructions }),
    ttlMs: DISCOVER_TTL,
    cacheScope: 'private',
    _meta: { 'io.modelcontextprotocol/serverInfo': IMPLEMENTATION },
  });
}

function list(kind: Kind): LocalMethod {
  return async (call, { catalog, targets, quota, limits }) => {
    const cursor = call.message.string(Field.cursor);
    if (cursor === undefined && call.message.has(Field.cursor)) {
      throw new TollgateError('invalid_params', 'params.cursor must be a string');
    }
    const own = kind === 'tools' && quota.listed(limits.current, call.principal) ? QUOTA_TOOL_TEXT : undefined;
    const { principal } = call;
    const page = await catalog.list(kind, cursor, call.era, targets.visibility(principal), own, principal.id);
    return page.body;
  };
}

async function listen(call: Call, { hub }: LocalParts): Promise<undefined> {
  await hub.listen(call);
  return undefined;
}

function setLogLevel(call: Call, parts: LocalParts): string {
  const params = call.message.json(Field.params) as { level?: unknown } | undefined;
  const level = params?.level;
  if (typeof level !== 'string' || !LOG_LEVELS.has(level)) {
    throw new TollgateError('invalid_params', `params.level must be one of ${[...LOG_LEVELS].join(', ')}`);
  }
  parts.setLogLevel(call, level);
  return '{}';
}

async function subscribe(call: Call, { hub }: LocalParts): Promise<string> {
  if (call.session !== undefined) await hub.subscribe(call.session, uriOf(call.message));
  return '{}';
}

function unsubscribe(call: Call, { hub }: LocalParts): string {
  if (call.session !== undefined) hub.unsubscribe(call.session, uriOf(call.message));
  return '{}';
}
