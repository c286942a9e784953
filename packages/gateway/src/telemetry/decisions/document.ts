/** From what admission and the pipeline tell to the record of a decision. */
import type { AccessRefusal } from '../../core/access-refusal.ts';
import { type Expression, ExpressionScope } from '../../core/expression.ts';
import { readPrincipalId } from '../../core/principal.ts';
import { type DecisionDocument, RECORD_VERSION, type RuleEntry } from './record.ts';
import type { Skeletons } from './skeleton.ts';
import type { StoredDecision } from './store.ts';

/** A rule as it was asked; the part of admission's own record that is kept. */
interface AskedRule {
  readonly limit: string;
  readonly rule: string;
  readonly key: string;
  readonly cost: number;
  readonly unit: string;
  readonly shadow: boolean;
  readonly hidden?: 'numbers' | 'limit' | undefined;
  /** Where the rule stood before the decision, where the limiter told it: of every rule of a refusal. */
  readonly capacity?: number | undefined;
  readonly used?: number | undefined;
  readonly held?: number | undefined;
  readonly remaining?: number | undefined;
}

interface InTheWay {
  readonly limit: { readonly name: string };
  readonly reason: string;
  readonly cost: number;
  readonly capacity: number;
  readonly used: number;
  readonly held: number;
  readonly remaining: number;
  readonly retryAfterSeconds: number | undefined;
  readonly resetAt: number | undefined;
}

/** What admission tells of one decision. */
export interface DecisionFacts {
  readonly id: string;
  /** Wall time in milliseconds. */
  readonly at: number;
  readonly principal: string;
  readonly tenant: string | undefined;
  readonly tier: string;
  readonly session: string | undefined;
  readonly endpoint: string;
  readonly server: string | undefined;
  readonly method: string;
  readonly object: string | undefined;
  readonly rules: readonly AskedRule[];
  readonly shadowed: readonly string[];
  readonly waited: number;
  readonly holdId: string | undefined;
  readonly degraded: 'local' | 'open' | 'closed' | undefined;
  /** Undefined: admitted. */
  readonly refusal:
    | {
        readonly reason: string;
        readonly violated: readonly InTheWay[];
        readonly retryAfterSeconds: number | undefined;
        readonly estimated: boolean;
        readonly because: string | undefined;
      }
    | undefined;
  /** Undefined: limits have decided. */
  readonly access?: AccessRefusal | undefined;
}

/** What a record says of the configuration it was made under. */
export interface DecisionPolicy {
  /** Of everything that admission was given. */
  readonly digest: string;
  /** Every expression of the limits and of the prices of this tool, each source once. */
  expressionsOf(canonicalId: string | undefined): readonly Expression[];
  /** Where the price of a tool comes from. */
  priceOf(canonicalId: string | undefined): 'none' | 'fixed' | 'computed' | 'reported';
}

/** A decision that waits for its record. The pipeline may add the call in the same turn. */
export interface Pending {
  readonly facts: DecisionFacts;
  readonly policy: DecisionPolicy;
  roles: readonly string[] | undefined;
  scopes: readonly string[] | undefined;
  client: string | undefined;
  address: string | undefined;
  /** `unknown`: the call was not shown, or its arguments are too large to be kept. `none`: it has none. */
  has: 'unknown' | 'none' | 'arguments';
  args: readonly Buffer[];
  /** Of the message. */
  exactNumbers: boolean;
  /** The slices of the arguments keep the whole request alive, which is what is counted. */
  bytes: number;
}

/** Milliseconds of a processor for the expressions of one record; those that are left have no value. */
const EXPRESSIONS_MS = 20;
const MAX_EXPRESSIONS = 64;
const MAX_SCOPES = 100;
const MAX_RULES = 20;

/** The record of a decision, as it is stored. This is what costs: call it outside the turn of the call. */
export function storedDecision(pending: Pending, skeletons: Skeletons): StoredDecision {
  const { facts } = pending;
  return {
    id: facts.id,
    at: Math.round(facts.at),
    verdict: facts.refusal === undefined ? 'admitted' : 'refused',
    principal: facts.principal,
    tool: facts.object ?? '',
    method: facts.method,
    reason: facts.refusal?.reason ?? '',
    json: JSON.stringify(documentOf(pending, skeletons)),
  };
}

function documentOf(pending: Pending, skeletons: Skeletons): DecisionDocument {
  const { facts, policy } = pending;
  const { refusal } = facts;
  const text = pending.has === 'arguments' ? Buffer.concat(pending.args).toString('utf8') : undefined;
  const skeleton = text === undefined ? undefined : skeletons.of(text, pending.exactNumbers);
  return {
    v: RECORD_VERSION,
    id: facts.id,
    at: new Date(facts.at).toISOString(),
    verdict: refusal === undefined ? 'admitted' : 'refused',
    ...given('reason', refusal?.reason),
    method: facts.method,
    endpoint: facts.endpoint,
    ...given('object', facts.object),
    ...given('server', facts.server),
    caller: {
      id: facts.principal,
      ...given('tenant', facts.tenant),
      tier: facts.tier,
      ...given('roles', pending.roles === undefined ? undefined : [...pending.roles]),
      ...given('scopes', facts.access?.by === 'scope' ? (pending.scopes ?? []).slice(0, MAX_SCOPES) : undefined),
      ...given('client', pending.client),
      ...given('session', facts.session === undefined ? undefined : skeletons.digest('session', facts.session)),
      ...given('address', pending.address === undefined ? undefined : skeletons.digest('address', pending.address)),
    },
    rules: rulesOf(facts),
    ...given('shadowed', facts.shadowed.length === 0 ? undefined : [...facts.shadowed]),
    ...given('retryAfterSeconds', refusal?.retryAfterSeconds),
    ...given('estimated', refusal?.estimated === true ? true : undefined),
    ...given('because', refusal?.because),
    ...given('access', facts.access === undefined ? undefined : accessOf(facts.access)),
    ...given('waitedMs', facts.waited === 0 ? undefined : facts.waited),
    ...holdOf(facts),
    ...given('price', facts.access === undefined ? policy.priceOf(facts.object) : undefined),
    ...given('degraded', facts.degraded),
    configuration: policy.digest,
    ...given('arguments', skeleton),
    ...given('expressions', facts.access === undefined ? expressionsOf(pending, text) : undefined),
  };
}

function accessOf({ by, scopes, route, rules, block }: AccessRefusal): DecisionDocument['access'] {
  return {
    by,
    ...given('scopes', scopes === undefined ? undefined : [...scopes]),
    ...given('route', route),
    ...given('rules', rules?.slice(0, MAX_RULES)),
    ...given(
      'block',
      block === undefined
        ? undefined
        : {
            id: block.id,
            who: block.who,
            reason: block.reason,
            ...given('until', block.until === undefined ? undefined : new Date(block.until).toISOString()),
          },
    ),
  };
}

function expressionsOf(pending: Pending, text: string | undefined): DecisionDocument['expressions'] {
  const { facts, policy } = pending;
  const expressions = policy.expressionsOf(facts.object);
  if (expressions.length === 0 || pending.roles === undefined) return undefined;
  const scope = new ExpressionScope({
    arguments: text,
    principal: {
      person: readPrincipalId(facts.principal).person,
      tenant: facts.tenant,
      roles: pending.roles,
      clientId: pending.client,
    },
    tier: facts.tier,
    tool: facts.method === 'tools/call' ? facts.object : undefined,
    server: facts.server,
    endpoint: facts.endpoint,
    method: facts.method,
  });
  const values: Record<string, boolean | number | null> = {};
  const [until, before] = [performance.now() + EXPRESSIONS_MS, process.threadCpuUsage()];
  for (const expression of expressions.slice(0, MAX_EXPRESSIONS)) {
    // Of a call whose arguments were not kept, an expression over them has no value, rather than that of none.
    if (pending.has === 'unknown' && expression.readsArguments) continue;
    if (performance.now() > until && worked(before) > EXPRESSIONS_MS) break;
    try {
      values[expression.source] = expression.evaluate(scope);
    } catch {
      values[expression.source] = null;
    }
  }
  return values;
}

/** Milliseconds that this thread has worked since: a machine that is busy with something else takes no value away. */
function worked(since: NodeJS.CpuUsage): number {
  const { user, system } = process.threadCpuUsage(since);
  return (user + system) / 1000;
}

function rulesOf({ rules, refusal }: DecisionFacts): RuleEntry[] {
  const entries = rules.map((rule): RuleEntry => {
    const standing = refusal?.violated.find(({ limit }) => limit.name === rule.limit);
    return {
      name: rule.limit,
      ...given('rule', rule.rule === rule.limit ? undefined : rule.rule),
      key: rule.key,
      unit: rule.unit,
      cost: rule.cost,
      ...given('shadow', rule.shadow ? true : undefined),
      ...given('hidden', rule.hidden),
      ...(standing === undefined ? countersOf(rule) : standingOf(standing)),
    };
  });
  // A stop or an unreadable price refuses before any rule is asked.
  for (const standing of refusal?.violated ?? []) {
    if (entries.some(({ name }) => name === standing.limit.name)) continue;
    entries.push({ name: standing.limit.name, unit: '', cost: standing.cost, ...standingOf(standing) });
  }
  return entries;
}

function countersOf({ capacity, used, held, remaining }: AskedRule): Partial<RuleEntry> {
  if (capacity === undefined || used === undefined) return {};
  return { capacity, usedBefore: used, usedAfter: used, ...given('held', held), ...given('remaining', remaining) };
}

/** Nothing is taken on a refusal, so that before and after are the same. */
function standingOf(standing: InTheWay): Omit<RuleEntry, 'name' | 'unit' | 'cost'> {
  return {
    capacity: standing.capacity,
    usedBefore: standing.used,
    usedAfter: standing.used,
    held: standing.held,
    remaining: standing.remaining,
    violated: true,
    reason: standing.reason,
    ...given('retryAfterSeconds', standing.retryAfterSeconds),
    ...given('resetAt', standing.resetAt === undefined ? undefined : new Date(standing.resetAt).toISOString()),
  };
}

/** Units of calls and of slots, which are no amounts. */
const COUNTED = new Set(['requests', 'concurrent-requests']);

/** What the call costs by unit: all rules of a unit are asked for the same amount. */
function holdOf({ rules, holdId, refusal }: DecisionFacts): Pick<DecisionDocument, 'hold' | 'cost'> {
  const amounts: Record<string, number> = {};
  for (const { unit, cost } of rules) if (!COUNTED.has(unit)) amounts[unit] = Math.max(amounts[unit] ?? 0, cost);
  if (Object.keys(amounts).length === 0) return {};
  return holdId === undefined || refusal !== undefined
    ? { cost: amounts }
    : { cost: amounts, hold: { id: holdId, amounts } };
}

function given<K extends string, T>(key: K, value: T | undefined): { [P in K]?: T } {
  return (value === undefined ? {} : { [key]: value }) as { [P in K]?: T };
}
