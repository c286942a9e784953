/**
 * `rateLimiting`: every bucket becomes one limit. `maxTokens` per `refillPeriod` is a token bucket without burst on
 * top: it holds `maxTokens` and has them back after `refillPeriod`, at exactly that rate.
 */
import { createHash } from 'node:crypto';
import type { KeyPath } from '../problems.ts';
import type { Cursor } from './cursor.ts';
import { formatGoDuration, parseGoDuration } from './duration.ts';

/** What a bucket is about, as ToolHive's metrics name it. */
export interface ToolhiveBucket {
  readonly namespace: string;
  /** Name of the VirtualMCPServer or MCPServer. */
  readonly server: string;
  readonly scope: 'shared' | 'per_user';
  readonly operation: 'server' | 'tool';
}

export interface TranslatedLimit {
  readonly name: string;
  /** As in `limits` of a `tollgate.yaml`. */
  readonly limit: Record<string, unknown>;
  readonly bucket: ToolhiveBucket;
  /** Where its bucket stands. */
  readonly from: KeyPath;
}

/** Whose block it is. */
export interface LimitOwner {
  readonly namespace: string;
  readonly server: string;
  /** Put before the names of its limits; empty for the VirtualMCPServer, of which there is one. */
  readonly prefix: string;
  /** Undefined: all calls of the gateway; else those of this one server. */
  readonly only: string | undefined;
  /** Canonical patterns of a tool as the block names it; empty: nothing can be called so. */
  readonly patternsOf: (tool: string) => readonly string[];
}

interface Bucket {
  readonly maxTokens: number;
  readonly micros: number;
}

const MAX_TOKENS = 1_000_000_000;
const MAX_PERIOD = 366 * 86_400_000_000;

/** A caller without identity has no bucket of its own. */
const IDENTIFIED = 'caller.id != "anonymous" && !caller.id.startsWith("anonymous/")';

/** True when some bucket is keyed by the caller: `server` for the block's own, `tool` for one of a tool. */
export function perUserPaths(block: Cursor): {
  readonly server: Cursor | undefined;
  readonly tool: Cursor | undefined;
} {
  const own = block.at('perUser');
  const tools = Array.isArray(block.at('tools').value) ? block.at('tools').items() : [];
  return {
    server: own.present ? own : undefined,
    tool: tools.map((tool) => tool.at('perUser')).find((cursor) => cursor.present),
  };
}

/**
 * The block as limits, in the order in which ToolHive asks its buckets. Mistakes go to the findings of the cursor.
 * `strangers`: callers without identity get in, so that limits of single users must leave them out.
 */
export function translateRateLimiting(block: Cursor, owner: LimitOwner, strangers: boolean): TranslatedLimit[] {
  block.strict({ used: ['shared', 'perUser', 'tools'] });
  const tools = block.at('tools').items();
  const [shared, perUser] = [block.at('shared'), block.at('perUser')];
  if (!shared.present && !perUser.present && tools.length === 0) {
    block.refuse('at least one of shared, perUser, or tools must be configured');
    return [];
  }
  const limitOf = (...bucket: BucketPlace) => translateBucket(bucket, owner, strangers);
  const limits = {
    shared: limitOf(shared, 'shared bucket', 'shared', undefined),
    sharedTools: [] as TranslatedLimit[],
    perUser: limitOf(perUser, 'perUser bucket', 'per_user', undefined),
    perUserTools: [] as TranslatedLimit[],
  };
  const seen = new Set<string>();
  for (const tool of tools) {
    tool.strict({ used: ['name', 'shared', 'perUser'] });
    const name = tool.at('name').text();
    if (name === undefined) {
      tool.refuse('A tool needs its name.', 'Write name: <the name that clients see>.');
      continue;
    }
    if (seen.has(name)) tool.at('name').refuse(`The tool "${name.slice(0, 60)}" stands here twice.`, 'Remove one.');
    seen.add(name);
    if (!tool.at('shared').present && !tool.at('perUser').present) {
      tool.refuse('at least one of shared or perUser must be configured');
    }
    const quoted = `tool ${JSON.stringify(name)}`;
    limits.sharedTools.push(...limitOf(tool.at('shared'), `${quoted} shared bucket`, 'shared', name));
    limits.perUserTools.push(...limitOf(tool.at('perUser'), `${quoted} perUser bucket`, 'per_user', name));
  }
  return [...limits.shared, ...limits.sharedTools, ...limits.perUser, ...limits.perUserTools];
}

type BucketPlace = readonly [cursor: Cursor, what: string, scope: ToolhiveBucket['scope'], tool: string | undefined];

function translateBucket(
  [cursor, what, scope, tool]: BucketPlace,
  owner: LimitOwner,
  strangers: boolean,
): TranslatedLimit[] {
  if (!cursor.present) return [];
  const bucket = readBucket(cursor, what);
  const patterns = tool === undefined ? undefined : owner.patternsOf(tool);
  if (patterns?.length === 0) {
    cursor.refuse(
      `No tool can be called "${tool!.slice(0, 60)}" here, so this limit would never apply.`,
      'Write the name that clients see, after prefix and overrides.',
    );
  }
  if (bucket === undefined || patterns?.length === 0) return [];
  return [
    {
      name: limitName(owner.prefix, tool, scope),
      limit: {
        on: 'tools/call',
        by: scope === 'shared' ? 'everyone' : 'principal',
        limit: quotaText(bucket),
        onError: 'open',
        // The words that clients of ToolHive look for.
        message: 'Rate limit exceeded.',
        ...(patterns === undefined ? {} : { tool: patterns }),
        ...(owner.only === undefined || patterns !== undefined ? {} : { server: owner.only }),
        ...(scope === 'per_user' && strangers ? { when: IDENTIFIED } : {}),
      },
      bucket: {
        namespace: owner.namespace,
        server: owner.server,
        scope,
        operation: tool === undefined ? 'server' : 'tool',
      },
      from: cursor.path,
    },
  ];
}

/** Names of Kubernetes have no underscore, so that no two buckets can come to the same name. */
function limitName(prefix: string, tool: string | undefined, scope: ToolhiveBucket['scope']): string {
  const full = `${prefix}${tool === undefined ? '' : `tool_${tool}_`}${scope}`;
  if (/^[A-Za-z0-9_-]{1,64}$/.test(full)) return full;
  const digest = createHash('sha256').update(full).digest('hex').slice(0, 8);
  return `${full.replaceAll(/[^A-Za-z0-9_-]+/g, '-').slice(0, 55)}-${digest}`;
}

function quotaText({ maxTokens, micros }: Bucket): string {
  if (micros % 1_000_000 === 0) return `${maxTokens}/${micros / 1_000_000}s`;
  return micros % 1_000 === 0 ? `${maxTokens}/${micros / 1_000}ms` : `${maxTokens}/${micros}us`;
}

/** The messages are those with which ToolHive refuses to start. */
function readBucket(cursor: Cursor, what: string): Bucket | undefined {
  cursor.strict({ used: ['maxTokens', 'refillPeriod'] });
  const refuse = (at: Cursor, text: string, fix: string) =>
    at.refuse(`failed to create rate limiter: ${what}: ${text}`, fix);
  const tokens = cursor.at('maxTokens');
  const maxTokens = tokens.present ? tokens.value : 0;
  if (typeof maxTokens !== 'number' || !Number.isInteger(maxTokens) || maxTokens > MAX_TOKENS) {
    tokens.refuse(`maxTokens must be a whole number from 1 to ${MAX_TOKENS}.`);
    return undefined;
  }
  const micros = readPeriod(cursor.at('refillPeriod'));
  if (maxTokens < 1) refuse(tokens, `maxTokens must be >= 1, got ${maxTokens}`, 'Write at least 1.');
  if (micros === undefined) return undefined;
  const period = cursor.at('refillPeriod');
  if (micros <= 0) {
    refuse(period, `refillPeriod must be positive, got ${formatGoDuration(micros)}`, 'For example 1m.');
    return undefined;
  }
  if (micros > MAX_PERIOD) {
    period.refuse('The longest refillPeriod is 8784h (366 days).');
    return undefined;
  }
  return maxTokens < 1 ? undefined : { maxTokens, micros };
}

/** `1m`, or `{ duration: 1m0s }` as the operator writes it into the generated file. */
function readPeriod(cursor: Cursor): number | undefined {
  if (!cursor.present) return 0;
  let at = cursor;
  if (typeof cursor.value === 'object') {
    cursor.strict({ used: ['duration'] });
    at = cursor.at('duration');
    if (!at.present) return 0;
  }
  const micros = typeof at.value === 'string' ? parseGoDuration(at.value) : undefined;
  if (micros === undefined)
    at.refuse('This is not a duration.', 'Write it as Go does, for example 1m, 1h30m or 500ms.');
  return micros;
}

/** The block as ToolHive's operator would write it into the generated file. Undefined: there is nothing to show. */
export function normalRateLimiting(block: Cursor): unknown {
  const bucket = (cursor: Cursor): object | undefined => {
    if (!cursor.present) return undefined;
    const period = cursor.at('refillPeriod');
    const written = typeof period.value === 'object' ? period.at('duration').value : period.value;
    const micros = typeof written === 'string' ? parseGoDuration(written) : undefined;
    return {
      maxTokens: cursor.at('maxTokens').value,
      refillPeriod: { duration: micros === undefined ? written : formatGoDuration(micros) },
    };
  };
  const both = (cursor: Cursor) => ({ shared: bucket(cursor.at('shared')), perUser: bucket(cursor.at('perUser')) });
  const tools = Array.isArray(block.at('tools').value) ? block.at('tools').items() : [];
  return { ...both(block), tools: tools.map((tool) => ({ name: tool.at('name').value, ...both(tool) })) };
}
