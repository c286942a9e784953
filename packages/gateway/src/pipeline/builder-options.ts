/** What the builder takes, and how it becomes what `tollgate.yaml` says. */
import { suggest } from '../config/problems.ts';
import { TollgateError } from '../core/errors.ts';
import type { GatewayConfig } from './create-gateway.ts';

type Section<Key extends keyof GatewayConfig> = NonNullable<GatewayConfig[Key]>;
export type ServerInput = Section<'servers'>[string];
export type LimitInput = Section<'limits'>[string];
export type RouteInput = Section<'routes'>[number];
export type AuthInput = Section<'auth'>[number];
type BearerInput = NonNullable<AuthInput['bearer']>;

export interface ProxyFlags {
  /**
   * False: no credentials and no scopes are asked for, whatever `setBearerAuth` and routes say; only on loopback.
   * Default true.
   */
  readonly auth?: boolean;
  /** False: no limit is enforced, whatever `setRateLimit` and `setToolRateLimit` say. Default true. */
  readonly rateLimiting?: boolean;
}

/** Milliseconds, or text with a unit such as `30s`. */
export type Duration = number | string;

interface UpstreamBase {
  /** Also the first part of canonical ids, `name/tool`. */
  readonly name: string;
  /** The whole call, or each wait for itself. Default 30 s for the whole call. */
  readonly timeout?:
    | Duration
    | {
        readonly connect?: Duration;
        readonly firstByte?: Duration;
        readonly idle?: Duration;
        readonly request?: Duration;
      };
}

export interface StdioUpstream extends UpstreamBase, Pick<ServerInput, 'args' | 'env' | 'cwd' | 'instances'> {
  readonly transport: 'stdio';
  readonly command: string;
  readonly protocol?: 'auto' | 'modern' | 'legacy';
}

/** `http`: Streamable HTTP of any version. `sse`: the transport of 2024-11-05. */
export interface HttpUpstream extends UpstreamBase, Pick<ServerInput, 'headers' | 'auth' | 'pool'> {
  readonly transport: 'http' | 'sse';
  readonly url: string;
  readonly protocol?: 'auto' | 'modern' | 'legacy';
}

export type UpstreamOptions = StdioUpstream | HttpUpstream;

/** One pattern to one server or several; see `routes` in docs/configuration.md. */
export type RouteOptions = Omit<RouteInput, 'timeout'> & { readonly timeout?: Duration };

/** A credential and who has it. */
export type BearerOptions = BearerInput & {
  /** Default: the subject. The principal is `<name>/<subject>`. */
  readonly name?: string;
};

/** `1000/min`, or the same in numbers. `burst`: so many more at once. */
export type Rate =
  | string
  | { readonly limit: string; readonly burst?: number; readonly message?: string }
  | { readonly limit: number; readonly windowMs: number; readonly burst?: number; readonly message?: string };

/** One counter for all callers, or one for each client, session, tool, server. All given ones must pass. */
export interface RateLimits {
  readonly global?: Rate;
  readonly client?: Rate;
  readonly session?: Rate;
  readonly tool?: Rate;
  readonly server?: Rate;
}

export function limitOf(rate: Rate, place: string): Pick<LimitInput, 'limit' | 'burst' | 'message'> {
  if (typeof rate === 'string') return { limit: rate };
  if (typeof rate !== 'object' || rate === null)
    throw mistake(place, 'A rate is text or an object.', 'For example 30/min.');
  knownKeys(place, rate, ['limit', 'windowMs', 'burst', 'message']);
  const { limit, burst, message } = rate;
  const windowMs = 'windowMs' in rate ? rate.windowMs : undefined;
  const more = { ...(burst === undefined ? {} : { burst }), ...(message === undefined ? {} : { message }) };
  if (typeof limit === 'string') {
    if (windowMs === undefined) return { limit, ...more };
    throw mistake(`${place} windowMs`, 'The text of `limit` has a period already.', 'Remove one of them.');
  }
  if (!Number.isSafeInteger(limit) || limit < 1) throw mistake(`${place} limit`, 'Must be a whole number from 1.');
  if (windowMs === undefined || !Number.isSafeInteger(windowMs) || windowMs < 1000 || windowMs % 1000 !== 0) {
    throw mistake(`${place} windowMs`, 'Must be whole seconds, in milliseconds.', 'For example 60000 for a minute.');
  }
  return { limit: `${limit}/${windowMs / 1000}s`, ...more };
}

/** A copy with numbers of milliseconds as the text the configuration has. */
export function durations<T extends object>(value: T, keys: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [
      key,
      keys.includes(key) && typeof item === 'number' ? `${item}ms` : item,
    ]),
  );
}

export function checkTransformer(call: string, name: unknown, transformer: unknown): void {
  if (typeof name !== 'string' || name === '') throw mistake(call, 'A transformer needs a name.');
  if (typeof transformer !== 'function') throw mistake(`${call}(${JSON.stringify(name)})`, 'This is not a function.');
}

export function knownKeys(place: string, value: object, known: readonly string[]): void {
  for (const key of Object.keys(value)) {
    if (!known.includes(key)) throw mistake(place, `Unknown key "${key}".`, suggest(key, known));
  }
}

export function mistake(place: string, what: string, fix = ''): TollgateError {
  return new TollgateError('config_invalid', `${place}: ${what} ${fix}`.trimEnd());
}
