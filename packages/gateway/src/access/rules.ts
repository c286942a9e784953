/**
 * May this caller use this tool, resource or prompt: the rules of `access`, compiled for one endpoint. Callers for whom
 * the same rules hold are one class; what a class may do with an entry of the catalog is worked out once, so that a
 * decision costs two lookups however many rules there are.
 */
import { compileExpression, type Expression, ExpressionError, ExpressionScope } from '../core/expression.ts';
import { compileCanonicalGlob, compileGlob, type Glob } from '../core/glob.ts';
import type { Principal } from '../core/principal.ts';
import { type AccessOptions, type AccessRule, type ObjectKind, readTenantPattern, type Who } from './options.ts';

/** What is decided about. An entry keeps its object while nothing about it changes. */
export interface AccessObject {
  readonly canonicalId: string;
  readonly server: string;
  /** A resource template: visible where some of its URIs may be read. */
  readonly prefix?: string | undefined;
}

/** Tiers in force; `version` counts changes. */
export interface TierSource {
  readonly version: number;
  of(principal: { readonly id: string; readonly tier: string | undefined }): string;
}

/** Texts of a call that rules with conditions look at. */
export interface AccessCall {
  readonly method: string;
  /** JSON text of the arguments. */
  readonly arguments: string | undefined;
}

/** `hidden`: no rule covers it. `open`: a rule allows it whatever the arguments are. `asks`: the arguments decide. */
export type Standing = 'hidden' | 'open' | 'asks';

const METHOD_OF: Readonly<Record<ObjectKind, string>> = {
  tool: 'tools/call',
  resource: 'resources/read',
  prompt: 'prompts/get',
};
/** Classes kept apart; a caller beyond them has a class of its own, which goes with it. */
const MAX_CLASSES = 1000;

interface WhoMatcher {
  readonly kind: Who['kind'];
  readonly glob: Glob;
  /** Where the tenant is named; `glob` then is on `entry@tenant`. */
  readonly subject?: Glob;
}

function whoMatcher({ kind, pattern }: Who): WhoMatcher {
  const tenanted = kind === 'principal' ? readTenantPattern(pattern) : undefined;
  if (tenanted === undefined) return { kind, glob: compileGlob(pattern) };
  return { kind, glob: compileGlob(tenanted.head), subject: compileGlob(tenanted.subject) };
}

/** A rule as it is on this endpoint. */
export class CompiledRule {
  /** Place in the file, from 0. */
  readonly index: number;
  readonly when: Expression | undefined;
  readonly #who: readonly WhoMatcher[];
  readonly #may: readonly Glob[];
  readonly #kinds: ReadonlySet<ObjectKind> | undefined;
  /** On names of servers: of the patterns that take all that a server has. */
  readonly #whole: readonly Glob[];

  constructor(rule: AccessRule, index: number) {
    this.index = index;
    this.when = rule.when === undefined ? undefined : compileExpression(rule.when, 'boolean');
    this.#who = rule.who.map(whoMatcher);
    this.#may = rule.may.map(compileCanonicalGlob);
    this.#whole = this.#may
      .filter(({ source }) => source.length > 2 && source.endsWith('/*'))
      .map(({ source }) => compileGlob(source.slice(0, -2)));
    this.#kinds = rule.kinds === undefined ? undefined : new Set(rule.kinds);
  }

  isFor(principal: Principal, tier: string): boolean {
    return this.#who.some(({ kind, glob, subject }) => {
      switch (kind) {
        case 'everyone':
          return true;
        case 'role':
          return principal.roles.some((role) => glob.matches(role));
        case 'tenant':
          return principal.tenant !== undefined && glob.matches(principal.tenant);
        case 'client':
          return principal.clientId !== undefined && glob.matches(principal.clientId);
        case 'tier':
          return glob.matches(tier);
        case 'entry':
          return glob.matches(principal.entry);
        case 'principal':
          if (subject === undefined) return glob.matches(principal.person);
          if (principal.tenant === undefined) return false;
          return glob.matches(principal.id.slice(0, principal.id.indexOf('/'))) && subject.matches(principal.subject);
        default:
          return false;
      }
    });
  }

  covers(kind: ObjectKind, { canonicalId, prefix }: AccessObject): boolean {
    if (this.#kinds?.has(kind) === false) return false;
    return this.#may.some((glob) => glob.matches(canonicalId) || (prefix !== undefined && glob.canStartWith(prefix)));
  }

  /** True when it may cover something of a server. */
  reaches(server: string): boolean {
    return this.#may.some((glob) => glob.canStartWith(`${server}/`));
  }

  /** True when it covers whatever a server has, unconditionally. */
  coversAll(server: string): boolean {
    if (this.when !== undefined || this.#kinds !== undefined) return false;
    return this.#whole.some((glob) => glob.matches(server));
  }
}

/** The rules of one endpoint. */
export class EndpointAccess {
  readonly #endpoint: string;
  readonly #rules: readonly CompiledRule[];
  readonly #tiers: () => TierSource;
  readonly #known = new WeakMap<Principal, { readonly tierVersion: number; readonly caller: CallerAccess }>();
  readonly #classes = new Map<string, CallerAccess>();

  constructor(rules: readonly AccessRule[], endpoint: string, tiers: () => TierSource) {
    this.#endpoint = endpoint;
    this.#tiers = tiers;
    this.#rules = rules
      .map((rule, index) => ({ rule, index }))
      .filter(({ rule }) => rule.endpoint?.some((pattern) => compileGlob(pattern).matches(endpoint)) !== false)
      .map(({ rule, index }) => new CompiledRule(rule, index));
  }

  /** What a caller may do here. The same object for all callers of one class; another one when a tier has changed. */
  of(principal: Principal): CallerAccess {
    const tiers = this.#tiers();
    const known = this.#known.get(principal);
    if (known !== undefined && known.tierVersion === tiers.version) return known.caller;
    const caller = this.#make({ principal, tier: tiers.of(principal) });
    this.#known.set(principal, { tierVersion: tiers.version, caller });
    return caller;
  }

  /** Whether a rule allows this very call. For a name that is not hidden; costs an evaluation only where one `asks`. */
  permits(principal: Principal, kind: ObjectKind, object: AccessObject, call: AccessCall): boolean {
    const found = this.of(principal).conditionsOf(kind, object);
    if (typeof found === 'boolean') return found;
    const person = { principal, tier: this.#tiers().of(principal) };
    const scope = scopeOf(person, this.#endpoint, kind, object, call);
    return found.some(({ when }) => when !== undefined && holds(when, scope));
  }

  /** The conditions under which rules give a name to a caller, by the places of the rules in the file, from 1. */
  conditionsFor(principal: Principal, kind: ObjectKind, object: AccessObject): { rule: number; when: string }[] {
    const found = this.of(principal).conditionsOf(kind, object);
    if (typeof found === 'boolean') return [];
    return found.flatMap(({ index, when }) => (when === undefined ? [] : [{ rule: index + 1, when: when.source }]));
  }

  #make(person: Person): CallerAccess {
    const rules: CompiledRule[] = [];
    let personal = false;
    for (const rule of this.#rules) {
      if (!rule.isFor(person.principal, person.tier)) continue;
      if (rule.when?.reads.has('caller') === true) {
        // Decided here, once: what does not hold is no rule of this caller.
        if (ofCaller(rule.when)) {
          if (!holds(rule.when, scopeOf(person, this.#endpoint, undefined, undefined, undefined))) continue;
        } else personal ||= !rule.when.reads.has('args');
      }
      rules.push(rule);
    }
    if (personal) return new CallerAccess(rules, this.#endpoint, person);
    const key = rules.map(({ index }) => index.toString(36)).join('.');
    let shared = this.#classes.get(key);
    if (shared === undefined) {
      shared = new CallerAccess(rules, this.#endpoint, undefined);
      if (this.#classes.size < MAX_CLASSES) this.#classes.set(key, shared);
    }
    return shared;
  }
}

interface Person {
  readonly principal: Principal;
  readonly tier: string;
}

/** The rules that hold for a class of callers on one endpoint. */
export class CallerAccess {
  readonly rules: readonly CompiledRule[];
  readonly #endpoint: string;
  /** Undefined: a class; no rule of it asks who exactly calls. */
  readonly #person: Person | undefined;
  readonly #memo = new WeakMap<AccessObject, boolean | readonly CompiledRule[]>();
  readonly #servers = new Map<string, boolean>();

  constructor(rules: readonly CompiledRule[], endpoint: string, person: Person | undefined) {
    this.rules = rules;
    this.#endpoint = endpoint;
    this.#person = person;
  }

  standing(kind: ObjectKind, object: AccessObject): Standing {
    const found = this.conditionsOf(kind, object);
    return found === true ? 'open' : found === false ? 'hidden' : 'asks';
  }

  /** True: allowed. False: hidden. Else the rules of which one must hold for a call. */
  conditionsOf(kind: ObjectKind, object: AccessObject): boolean | readonly CompiledRule[] {
    let found = this.#memo.get(object);
    if (found === undefined) {
      found = this.#decide(kind, object);
      this.#memo.set(object, found);
    }
    return found;
  }

  /** False: nothing of this server is for these callers, so that they need not hear of it. */
  reaches(server: string): boolean {
    let found = this.#servers.get(server);
    if (found === undefined) {
      found = this.rules.some((rule) => rule.reaches(server));
      this.#servers.set(server, found);
    }
    return found;
  }

  /** True when everything of a server is allowed whatever is asked: for methods that name nothing. */
  coversAll(server: string): boolean {
    return this.rules.some((rule) => rule.coversAll(server));
  }

  #decide(kind: ObjectKind, object: AccessObject): boolean | readonly CompiledRule[] {
    const conditional: CompiledRule[] = [];
    for (const rule of this.rules) {
      if (!rule.covers(kind, object)) continue;
      const { when } = rule;
      if (when === undefined || ofCaller(when)) return true;
      if (when.readsArguments) conditional.push(rule);
      else if (holds(when, scopeOf(this.#person, this.#endpoint, kind, object, undefined))) return true;
    }
    return conditional.length > 0 && conditional;
  }
}

/** Undefined: without `access` nobody is asked. Throws `config_invalid` for what cannot be compiled. */
export function compileAccess(
  options: AccessOptions,
  endpoint: string,
  tiers: () => TierSource,
): EndpointAccess | undefined {
  return options === undefined ? undefined : new EndpointAccess(options, endpoint, tiers);
}

/** True when it depends on who calls, and is the same for all calls of one caller on one endpoint. */
function ofCaller({ reads }: Expression): boolean {
  return reads.has('caller') && !['args', 'tool', 'server', 'method'].some((name) => reads.has(name));
}

/** A condition that fails is one that does not hold. */
function holds(when: Expression, scope: ExpressionScope): boolean {
  try {
    return when.evaluate(scope) === true;
  } catch (error) {
    if (error instanceof ExpressionError) return false;
    throw error;
  }
}

/** Stands where no condition asks who calls. */
const ANYBODY = { person: '', tenant: undefined, roles: [], clientId: undefined };

function scopeOf(
  person: Person | undefined,
  endpoint: string,
  kind: ObjectKind | undefined,
  object: AccessObject | undefined,
  call: AccessCall | undefined,
): ExpressionScope {
  return new ExpressionScope({
    arguments: call?.arguments,
    principal: person?.principal ?? ANYBODY,
    tier: person?.tier ?? '',
    tool: kind === 'tool' ? object?.canonicalId : undefined,
    server: object?.server,
    endpoint,
    method: call?.method ?? (kind === undefined ? '' : METHOD_OF[kind]),
  });
}
