/** What operators do with budgets, grants and stops of a running gateway; each change is stored with who made it. */

import { canonicalWho, isWho } from '../access/blocks.ts';
import type { Admission } from '../admission/contract.ts';
import type { LimitView, Question, ResetCounter } from '../admission/external.ts';
import type { LimitOptions } from '../admission/options.ts';
import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import { randomId } from '../core/ids.ts';
import type { Block, Grant, Stop } from '../core/operator-records.ts';
import { canonicalPrincipalId, readPrincipalId } from '../core/principal.ts';
import type { Books } from './books.ts';
import { type Place, placesOf, unnameable } from './counter-places.ts';
import type { LedgerWriter } from './ledger-writer.ts';
import { mainEndpoint } from './main-endpoint.ts';
import { doubtOfServer, doubtOfTool } from './name-doubts.ts';

export interface BudgetView extends LimitView {
  /** What was granted on top, included in `capacity`. */
  readonly granted: number;
}

/** What was done, and what of its names nothing has now. */
export interface Doubted {
  readonly warning?: string;
}

interface AdministrationDeps {
  readonly clock: Clock;
  readonly admission: () => Admission;
  readonly books: Books;
  /** Undefined: no ledger is kept. */
  readonly ledger: LedgerWriter | undefined;
  /** See `GatewayState.acceptLoss`. */
  readonly acceptLoss: (by: string, reason: string) => Promise<boolean>;
  /** Canonical ids of the tools that there are, for limits that cover only some. */
  readonly tools: () => readonly string[];
  readonly resources: () => readonly string[];
  readonly prompts: () => readonly string[];
  readonly servers: () => readonly string[];
  /** Paths of the endpoints, for limits that cover only some. */
  readonly endpoints: () => readonly string[];
  /** True: the tier of this principal is known only when a token of it comes. */
  readonly tierUnknown: (principal: string) => boolean;
  /** Why nobody may have this principal id; undefined: somebody has, or may have. */
  readonly doubt: (principal: string) => string | undefined;
  /** Why a block may keep nobody out. */
  readonly doubtOfBlocked: (who: string) => string | undefined;
  /** Tenant and credential tier of a principal that the configuration names. */
  readonly principal: (id: string) => { readonly tenant: string | undefined; readonly tier: string | undefined };
}

const REQUESTS = 'requests';

export class GatewayAdministration {
  readonly #deps: AdministrationDeps;

  constructor(deps: AdministrationDeps) {
    this.#deps = deps;
  }

  now(): number {
    return this.#deps.clock.wall();
  }

  grants(): readonly Grant[] {
    return this.#deps.books.grants.list(this.now());
  }

  stops(): readonly Stop[] {
    return this.#deps.books.stops.list(this.now());
  }

  /** In force whatever its names are: what matches nothing now may come later, and the answer says so. */
  async stop(stop: Omit<Stop, 'id' | 'at'>): Promise<Stop & Doubted> {
    const made = await this.#deps.books.stop(stop);
    const colon = stop.scope.indexOf(':');
    const [kind, name] = [stop.scope.slice(0, colon), stop.scope.slice(colon + 1)];
    if (kind === 'tool') return doubted(made, doubtOfTool(name, this.#deps.tools()));
    return kind === 'server' ? doubted(made, doubtOfServer(name, this.#deps.servers())) : made;
  }

  blocks(): readonly Block[] {
    return this.#deps.books.blocks.list(this.now());
  }

  /** Rejects with `invalid_params` for what names nobody, and for who would block itself. */
  async block(block: Omit<Block, 'id' | 'at'>): Promise<Block & Doubted> {
    if (!isWho(block.who)) {
      throw wrong(
        'who: a principal like corp/ada (in every tenant) or corp@acme/ada, anonymous, tenant:x, client:x or key:ID, without patterns',
      );
    }
    const who = canonicalWho(block.who);
    if (who === block.by || who === readPrincipalId(block.by).person) throw wrong('who: you cannot block yourself');
    return doubted(await this.#deps.books.block({ ...block, who }), this.#deps.doubtOfBlocked(who));
  }

  unblock(id: string, by: string): Promise<boolean> {
    return this.#deps.books.unblock(id, by);
  }

  resume(id: string, by: string): Promise<boolean> {
    return this.#deps.books.resume(id, by);
  }

  revoke(id: string, by: string): Promise<boolean> {
    return this.#deps.books.revoke(id, by);
  }

  /** Rejects with `invalid_params` for a limit that there is not, another unit, or one that cannot tell callers apart. */
  async grant(grant: Omit<Grant, 'id' | 'at'>): Promise<Grant & Doubted> {
    const limit = this.#limit(grant.rule);
    const unit = unitOf(limit);
    if (unit !== grant.unit) {
      throw wrong(
        `${limit.name} is counted in ${unit === REQUESTS ? 'calls: write a plain number' : `${unit}: write "5 ${unit}"`}`,
      );
    }
    if (grant.principal !== undefined && !limit.by.includes('principal')) {
      throw wrong(`${limit.name} does not count by principal: grant it to everyone, or choose another limit`);
    }
    if (grant.principal === undefined) return this.#deps.books.grant(grant);
    const principal = canonicalPrincipalId(grant.principal);
    return doubted(await this.#deps.books.grant({ ...grant, principal }), this.#deps.doubt(principal));
  }

  /** Where the limits stand for a principal: those that cover the tool, or with none every limit, by a tool it covers. */
  async budgets(written: string, tool: string | undefined) {
    const principal = canonicalPrincipalId(written);
    const { external, limits } = this.#deps.admission();
    const now = this.#deps.clock.monotonic();
    const found = new Map<string, BudgetView>();
    const anywhere: Place = { method: 'tools/call', tool, endpoint: this.#endpoint };
    let { tier } = await external.peek(this.#question(principal, anywhere), now);
    const places = tool === undefined ? limits.flatMap((limit) => this.#places(limit).next().value ?? []) : [anywhere];
    for (const asked of new Map(places.map((place) => [JSON.stringify(place), place])).values()) {
      const answer = await external.peek(this.#question(principal, asked), now);
      tier = answer.tier;
      for (const view of answer.limits) {
        if (!found.has(view.limit)) found.set(view.limit, { ...view, granted: this.#granted(view.limit, principal) });
      }
    }
    const order = new Map(limits.map(({ name }, index) => [name, index]));
    const sorted = [...found.values()].toSorted((a, b) => (order.get(a.limit) ?? 0) - (order.get(b.limit) ?? 0));
    const doubts = [
      this.#deps.doubt(principal),
      this.#doubtOfTier(principal, tier, found),
      tool === undefined ? undefined : doubtOfTool(tool, this.#deps.tools()),
    ];
    return doubted({ tier, limits: sorted }, doubts.filter((one) => one !== undefined).join(' ') || undefined);
  }

  /**
   * Forgets what was used of a limit, and books it in the ledger as given back, so that a rebuilt counter agrees.
   * Rejects with `invalid_params` where no such counter exists, or where it is not only theirs who are named.
   */
  async reset(name: string, written: string | undefined, by: string, reason: string): Promise<void> {
    const principal = written === undefined ? undefined : canonicalPrincipalId(written);
    const limit = this.#limit(name);
    const why = unnameable(limit, principal);
    if (why !== undefined) throw wrong(why);
    const who = principal ?? 'everyone';
    const counters = await this.#emptied(limit, who);
    if (counters.length === 0) throw wrong(`${name} has no counter for ${who} that can be found${uncovered(limit)}`);
    // Who once was a caller keeps what was used; nothing of a name that nobody has is a mistake of spelling.
    const doubt = counters.some(({ used }) => used > 0) ? undefined : principal && this.#deps.doubt(principal);
    if (doubt !== undefined) throw wrong(`Nothing of ${name} was used by ${who}. ${doubt}`);
    await this.#giveBack(limit, who, counters, by, reason);
  }

  /**
   * Forgets what a principal used of every limit that counts by it, as far as its counters can be named. Returns the
   * names of these limits.
   */
  async resetAll(principal: string, by: string, reason: string): Promise<readonly string[]> {
    const names: string[] = [];
    for (const limit of this.#deps.admission().limits) {
      if (!limit.by.includes('principal') || unnameable(limit, principal) !== undefined) continue;
      const counters = await this.#emptied(limit, principal);
      if (counters.length === 0) continue;
      await this.#giveBack(limit, principal, counters, by, reason);
      names.push(limit.name);
    }
    return names;
  }

  async #emptied(limit: LimitOptions, who: string): Promise<readonly ResetCounter[]> {
    const { admission, clock } = this.#deps;
    const { external } = admission();
    const now = clock.monotonic();
    const unit = unitOf(limit);
    // Other systems say what a call costs, so that tools without a price have counters of money, too.
    const estimate = unit === REQUESTS ? undefined : { unit, micros: 0 };
    const counters: ResetCounter[] = [];
    for (const place of this.#places(limit)) {
      const question = { ...this.#question(who, place), estimate };
      for (const tier of this.#tiersOf(limit)) {
        const found = await external.reset({ ...question, tier }, limit.name, now);
        counters.push(...found);
        // One counter, whichever tier a call was counted in.
        if (found.length > 0) break;
      }
    }
    return counters;
  }

  async #giveBack(
    { name }: LimitOptions,
    who: string,
    counters: readonly ResetCounter[],
    by: string,
    reason: string,
  ): Promise<void> {
    const at = Math.floor(this.#deps.clock.wall());
    for (const { rule, key, windowStart, unit, used, amount } of counters) {
      if (!amount || used === 0) continue;
      const id = `reset-${randomId(16)}`;
      this.#deps.ledger?.opened({
        id,
        at,
        principal: who,
        tenant: readPrincipalId(who).tenant,
        server: '',
        tool: 'reset',
        endpoint: this.#endpoint,
        session: undefined,
        decisionId: id,
        expiresAt: at + 60_000,
        estimate: { [unit]: 0 },
        postings: [{ rule, key, windowStart, unit }],
      });
      this.#deps.ledger?.settled({ id, at, amounts: { [unit]: -used }, source: 'fixed' });
    }
    await this.#deps.books.record(by, 'reset', { limit: name, principal: who, reason });
  }

  /** Rejects with `invalid_params` when nothing was lost. */
  async acceptLoss(by: string, reason: string): Promise<void> {
    if (!(await this.#deps.acceptLoss(by, reason))) throw wrong('No ledger was lost: there is nothing to accept');
  }

  #limit(name: string): LimitOptions {
    const { limits } = this.#deps.admission();
    const limit = limits.find((candidate) => candidate.name === name);
    if (limit !== undefined) return limit;
    throw wrong(`There is no limit ${name}; there are ${limits.map((one) => one.name).join(', ') || 'none'}`);
  }

  #places(limit: LimitOptions): Generator<Place, undefined> {
    const { admission, tools, resources, prompts, servers, endpoints } = this.#deps;
    const offered = {
      tools: tools(),
      resources: resources(),
      prompts: prompts(),
      servers: servers(),
      // What other systems ask over /v1 counts at the main one, whether there is one or not.
      endpoints: [...new Set([...endpoints(), this.#endpoint])],
    };
    return placesOf(limit, offered, (method, target) => admission().covering(method, target));
  }

  /** Of questions and entries of the ledger that are about no endpoint in particular. */
  get #endpoint(): string {
    return mainEndpoint(this.#deps.endpoints());
  }

  /**
   * Tiers to ask about, undefined: that of the caller. A caller's tier may come with its token, and may have been another
   * when it was counted; a limit that covers some tiers is asked for each.
   */
  #tiersOf({ tier, rows }: LimitOptions): readonly (string | undefined)[] {
    return tier === undefined && rows.size === 0 ? [undefined] : [undefined, ...this.#deps.books.tiers.known];
  }

  /** Limits that are missing because nobody knows the tier. */
  #doubtOfTier(principal: string, tier: string, found: ReadonlyMap<string, unknown>): string | undefined {
    if (!this.#deps.tierUnknown(principal)) return undefined;
    const missing = this.#deps.admission().limits.filter(({ name, tier: of }) => of !== undefined && !found.has(name));
    const others = missing.length === 0 ? '' : ` Left out: ${missing.map(({ name }) => name).join(', ')}.`;
    return `The tier of ${principal} comes with its token; this is where it stands in the tier ${tier}.${others}`;
  }

  #question(principal: string, place: Place): Question {
    return { subject: { principal, ...this.#deps.principal(principal) }, ...place };
  }

  #granted(limit: string, principal: string): number {
    let sum = 0;
    for (const grant of this.grants()) {
      if (grant.rule === limit && (grant.principal ?? principal) === principal) sum += grant.amount;
    }
    return sum;
  }
}

function doubted<T extends object>(answer: T, warning: string | undefined): T & Doubted {
  return warning === undefined ? answer : { ...answer, warning };
}

/** Why no question finds a counter. */
function uncovered({ tool, resource, prompt, when, by }: LimitOptions): string {
  if (when !== undefined)
    return ': its `when` does not hold where neither arguments nor roles are known. It empties by itself';
  if (tool === undefined && resource === undefined && prompt === undefined) return '';
  return by.includes('tool')
    ? ': nothing that is listed now matches its patterns, and it counts each by itself. Start the server first'
    : ': its patterns match nothing that could be named';
}

function unitOf({ quota, rows }: LimitOptions): string {
  const any = quota ?? [...rows.values()][0];
  return any !== undefined && 'amount' in any ? any.amount.unit : REQUESTS;
}

function wrong(message: string): TollgateError {
  return new TollgateError('invalid_params', message, { http: 400 });
}
