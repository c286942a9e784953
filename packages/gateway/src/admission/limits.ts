import type { Limiter, Rule } from '@tollgate/limiter';
import { TollgateError } from '../core/errors.ts';
import { compileExpression, type Expression, ExpressionError } from '../core/expression.ts';
import { compileCanonicalGlob, compileGlob, type Glob } from '../core/glob.ts';
import { type Lanes, lanesOf } from '../core/principal.ts';
import type { LimitOptions, Quota } from './options.ts';
import { isAmount, ruleId, ruleOptions, sameShape } from './rules.ts';
import { DEFAULT_TIER } from './tiers.ts';

/** What a call is about, as catalog and routing found it. */
export interface Target {
  /** `none`: the method has no object (lists, ping, initialize). */
  readonly kind: 'tool' | 'resource' | 'prompt' | 'none';
  /** `server/tool`, `server/uri` or `server/prompt`; undefined where there is none. */
  readonly canonicalId: string | undefined;
  /** The server that runs it; undefined when the gateway answers itself. */
  readonly server: string | undefined;
  readonly endpoint: string;
  /** Index of the route that took the call; undefined: none is written. */
  readonly route?: number | undefined;
  /** Milliseconds for the whole call: how long its hold must last. Default: that of the admission. */
  readonly timeout?: number | undefined;
}

/** A rule without `on` covers these: what makes a server work. */
const COUNTED = new Set(['tools/call', 'resources/read', 'prompts/get', 'completion/complete']);

/** A limit at the numbers of one tier. */
export interface Variant {
  readonly limit: CompiledLimit;
  readonly quota: Quota;
  readonly rule: Rule;
}

/** One limit with its patterns and expressions compiled and its rules known to the limiter. */
export class CompiledLimit {
  readonly options: LimitOptions;
  /** Place in the configuration. */
  readonly index: number;
  readonly shadow: boolean;
  readonly bySession: boolean;
  readonly byPrincipal: boolean;
  readonly byTenant: boolean;
  readonly byClient: boolean;
  readonly byAddress: boolean;
  readonly byArguments: boolean;
  readonly when: Expression | undefined;
  readonly costs: Expression | undefined;
  /** Milliseconds that a call may wait under this limit before it is refused. */
  readonly patience: number;
  readonly #on: readonly Glob[] | undefined;
  readonly #server: readonly Glob[] | undefined;
  readonly #endpoint: readonly Glob[] | undefined;
  readonly #tier: readonly Glob[] | undefined;
  readonly #tenant: readonly Glob[] | undefined;
  /** By kind of object; undefined when the limit names no object at all. */
  readonly #objects: Readonly<Record<Target['kind'], readonly Glob[]>> | undefined;
  readonly #variants = new Map<Quota, Variant>();

  /** Throws `config_invalid` for a pattern, an expression, or numbers that cannot be kept exactly. */
  constructor(options: LimitOptions, index: number, limiter: Limiter, before: CompiledLimit | undefined) {
    const { by } = options;
    this.options = options;
    this.index = index;
    this.shadow = options.mode === 'shadow';
    this.bySession = by.includes('session');
    this.byPrincipal = by.includes('principal');
    this.byTenant = by.includes('tenant');
    this.byClient = by.includes('client');
    this.byAddress = by.includes('ip');
    this.byArguments = by.includes('args');
    this.patience = patienceOf(options);
    this.when = options.when === undefined ? undefined : compiled(options.when, 'boolean', `${options.name}.when`);
    this.costs =
      options.cost?.kind === 'expression'
        ? compiled(options.cost.source, 'integer', `${options.name}.cost`)
        : undefined;
    this.#on = options.on?.map(compileGlob);
    this.#server = options.server?.map(compileGlob);
    this.#endpoint = options.endpoint?.map(compileGlob);
    this.#tier = options.tier?.map(compileGlob);
    this.#tenant = options.tenant?.map(compileGlob);
    const { tool, resource, prompt } = options;
    if (tool !== undefined || resource !== undefined || prompt !== undefined) {
      this.#objects = {
        tool: (tool ?? []).map(compileCanonicalGlob),
        resource: (resource ?? []).map(compileGlob),
        prompt: (prompt ?? []).map(compileCanonicalGlob),
        none: [],
      };
    }
    for (const quota of [options.quota, ...options.rows.values()]) {
      if (quota !== undefined)
        this.#variants.set(quota, { limit: this, quota, rule: register(this, quota, limiter, before) });
    }
  }

  /** True when it depends on the caller whether the limit covers a call. */
  get conditional(): boolean {
    return this.when !== undefined || this.#tenant !== undefined;
  }

  get variants(): Iterable<Variant> {
    return this.#variants.values();
  }

  /** The numbers for a tier: its row, else the limit's own, else the row of `default`. */
  variant(tier: string): Variant | undefined {
    const { rows, quota } = this.options;
    const found = rows.get(tier) ?? quota ?? rows.get(DEFAULT_TIER);
    return found === undefined ? undefined : this.#variants.get(found);
  }

  /** The rule that took the place of one of an earlier configuration. */
  continues(earlier: CompiledLimit): boolean {
    const name = this.options.was ?? this.options.name;
    return earlier.options.name === this.options.name || earlier.options.name === name;
  }

  /** Whether a request of this method on this target is covered, for some tenant and whatever `when` says. */
  covers(method: string, target: Target, tier?: string): boolean {
    if (this.options.route !== undefined && this.options.route !== target.route) return false;
    if (this.#on === undefined ? !COUNTED.has(method) : !some(this.#on, method)) return false;
    if (this.#server !== undefined && (target.server === undefined || !some(this.#server, target.server))) return false;
    if (this.#endpoint !== undefined && !some(this.#endpoint, target.endpoint)) return false;
    if (tier !== undefined && this.#tier !== undefined && !some(this.#tier, tier)) return false;
    return this.#objects === undefined || some(this.#objects[target.kind], objectName(target));
  }

  coversTenant(tenant: string | undefined): boolean {
    return this.#tenant === undefined || (tenant !== undefined && some(this.#tenant, tenant));
  }

  /**
   * The part of the key that the target decides: two calls have the same lanes when tool, server and endpoint are the
   * same as far as the limit counts by them. A digest, so that a counter outlives every memo and restart, and nobody
   * can choose a URI whose counter is another's.
   */
  targetLanes(target: Target): Lanes | undefined {
    const { by } = this.options;
    const parts: unknown[] = [];
    if (by.includes('tool')) parts.push('tool', target.kind, target.canonicalId ?? null);
    if (by.includes('server')) parts.push('server', target.server ?? null);
    if (by.includes('endpoint')) parts.push('endpoint', target.endpoint);
    return parts.length === 0 ? undefined : lanesOf(JSON.stringify(parts));
  }
}

function register(limit: CompiledLimit, quota: Quota, limiter: Limiter, before: CompiledLimit | undefined): Rule {
  const options = ruleOptions(limit.options, quota);
  const earlier = before === undefined ? undefined : earlierRule(limit, quota, before);
  const previous = earlier === undefined || sameShape(earlier.options, options) ? undefined : earlier;
  try {
    return limiter.rule(options, previous);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new TollgateError('config_invalid', `limits.${limit.options.name}: ${error.message}.`);
  }
}

/** Of the same tier where there is one; counters keep their meaning only while they are keyed the same way. */
function earlierRule(limit: CompiledLimit, quota: Quota, before: CompiledLimit): Rule | undefined {
  const tier = [...limit.options.rows].find(([, row]) => row === quota)?.[0] ?? DEFAULT_TIER;
  const variant = before.variant(tier);
  if (variant === undefined || isAmount(variant.quota) !== isAmount(quota)) return undefined;
  const keyed = (id: string) => id.slice(id.indexOf('/'));
  const same = keyed(ruleId(limit.options, quota)) === keyed(ruleId(before.options, variant.quota));
  return same ? variant.rule : undefined;
}

/** Longest time that a call waits, whatever a limit says (product, section 7). */
const MAX_PATIENCE = 30_000;

function patienceOf({ then }: LimitOptions): number {
  let ms = 0;
  for (const rung of then) {
    if (rung.kind === 'refuse') break;
    ms += rung.ms;
  }
  return Math.min(ms, MAX_PATIENCE);
}

function compiled(source: string, kind: 'boolean' | 'integer', where: string): Expression {
  try {
    return compileExpression(source, kind);
  } catch (error) {
    if (!(error instanceof ExpressionError)) throw error;
    throw new TollgateError('config_invalid', `limits.${where}: ${error.message}.`);
  }
}

/** Resources are matched by their URI, tools and prompts by their canonical id. */
function objectName(target: Target): string {
  const id = target.canonicalId ?? '';
  return target.kind === 'resource' ? id.slice(id.indexOf('/') + 1) : id;
}

function some(globs: readonly Glob[], text: string): boolean {
  for (const glob of globs) if (glob.matches(text)) return true;
  return false;
}
