/** Limits and prices whose expressions are decided by what was recorded, because records hold no argument values. */
import type { Answer, Question } from '../admission/external.ts';
import type { AdmissionOptions, LimitOptions, PriceOptions } from '../admission/options.ts';
import { compileExpression, type Expression, type ExpressionKind, ExpressionScope } from '../core/expression.ts';
import { readPrincipalId } from '../core/principal.ts';
import type { DecisionDocument } from '../telemetry/decisions/record.ts';
import type { Rehearsal } from './rehearsal.ts';

/**
 * Options whose expressions read recorded values: `when: 'size(args.pages) > 3'` becomes `when: 'args.x0'`, and the
 * arguments of the replayed call are `{ x0: true, … }`. A recorded failure has no member, so that it fails again.
 */
export class PreparedOptions {
  readonly options: AdmissionOptions;
  readonly leftOut: readonly string[];
  readonly #original: AdmissionOptions;
  readonly #members = new Map<string, { readonly member: string; readonly kind: ExpressionKind }>();
  readonly #compiled = new Map<string, Expression>();
  readonly #waits = new Map<string, number>();
  readonly #byName: ReadonlyMap<string, LimitOptions>;

  constructor(options: AdmissionOptions) {
    this.#original = options;
    this.#byName = new Map(options.limits.map((limit) => [limit.name, limit]));
    const decidable = options.limits.filter((limit) => !countsSlots(limit));
    this.leftOut = options.limits.filter((limit) => countsSlots(limit)).map((limit) => limit.name);
    const prices = new WeakMap<readonly PriceOptions[], readonly PriceOptions[]>();
    this.options = {
      ...options,
      limits: decidable.map((limit) => this.#prepareLimit(limit)),
      pricesOf: (id) => {
        const written = options.pricesOf(id);
        if (written === undefined) return undefined;
        let prepared = prices.get(written);
        if (prepared === undefined) {
          prepared = written.map((price) => this.#preparePrice(price));
          prices.set(written, prepared);
        }
        return prepared;
      },
      sessionGuard: undefined,
    };
  }

  /** The call of a record; undefined when an expression that covers it has no known value. */
  question(record: DecisionDocument, rehearsal: Rehearsal): Question | undefined {
    const { caller, object, method } = record;
    const base: Question = {
      subject: {
        principal: caller.id,
        tenant: caller.tenant,
        tier: caller.tier,
        roles: caller.roles,
        client: caller.client,
        session: caller.session,
        address: caller.address,
      },
      method,
      endpoint: record.endpoint,
      tool: object,
      server: record.server,
    };
    const wanted = new Map<string, ExpressionKind>();
    for (const { name } of rehearsal.covering(base)) {
      const { when, cost } = this.#byName.get(name)!;
      if (when !== undefined) wanted.set(when, 'boolean');
      if (cost?.kind === 'expression') wanted.set(cost.source, 'integer');
    }
    for (const { times } of (object === undefined ? undefined : this.#original.pricesOf(object)) ?? []) {
      if (times !== undefined) wanted.set(times, 'number');
    }
    // Equal arguments must stay equal, and different ones different, for limits by `args`.
    const values: Record<string, unknown> = { digest: record.arguments?.digest ?? '' };
    for (const [source, kind] of wanted) {
      const value = this.#valueOf(source, kind, record);
      if (value === undefined) return undefined;
      if (value !== null) values[this.#member(source, kind)] = value;
    }
    return { ...base, arguments: values };
  }

  /** Milliseconds after which a refused call that may wait is asked again; undefined: it stays refused. */
  waitOf({ decision }: Answer, waited: number): number | undefined {
    if (decision?.retryAfterSeconds === undefined || decision.violated.length === 0) return undefined;
    const ms = decision.retryAfterSeconds * 1000;
    return decision.violated.every(({ limit }) => (this.#waits.get(limit.name) ?? 0) >= waited + ms) ? ms : undefined;
  }

  /** Null: it failed. Undefined: nobody knows. */
  #valueOf(source: string, kind: ExpressionKind, record: DecisionDocument): boolean | number | null | undefined {
    const known = record.expressions?.[source];
    if (known !== undefined) return known;
    let expression = this.#compiled.get(source);
    if (expression === undefined) {
      expression = compileExpression(source, kind);
      this.#compiled.set(source, expression);
    }
    if (expression.readsArguments || record.caller.roles === undefined) return undefined;
    const { caller } = record;
    const scope = new ExpressionScope({
      arguments: undefined,
      principal: {
        person: readPrincipalId(caller.id).person,
        tenant: caller.tenant,
        roles: caller.roles!,
        clientId: caller.client,
      },
      tier: caller.tier,
      tool: record.method === 'tools/call' ? record.object : undefined,
      server: record.server,
      endpoint: record.endpoint,
      method: record.method,
    });
    try {
      return expression.evaluate(scope);
    } catch {
      return null;
    }
  }

  #prepareLimit(limit: LimitOptions): LimitOptions {
    const wait = limit.then.find((rung) => rung.kind === 'wait');
    if (wait !== undefined) this.#waits.set(limit.name, wait.ms);
    return {
      ...limit,
      when: limit.when === undefined ? undefined : `args.${this.#member(limit.when, 'boolean')}`,
      cost:
        limit.cost?.kind === 'expression'
          ? { kind: 'expression', source: `args.${this.#member(limit.cost.source, 'integer')}` }
          : limit.cost,
      // biome-ignore lint/suspicious/noThenProperty: the ladder of a limit is no promise
      then: [{ kind: 'refuse' }],
    };
  }

  #preparePrice(price: PriceOptions): PriceOptions {
    return price.times === undefined ? price : { ...price, times: `args.${this.#member(price.times, 'number')}` };
  }

  #member(source: string, kind: ExpressionKind): string {
    const key = `${kind} ${source}`;
    let known = this.#members.get(key);
    if (known === undefined) {
      known = { member: `x${this.#members.size}`, kind };
      this.#members.set(key, known);
    }
    return known.member;
  }
}

function countsSlots(limit: LimitOptions): boolean {
  return [limit.quota, ...limit.rows.values()].some((quota) => quota?.kind === 'concurrency');
}
