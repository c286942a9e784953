/** What operators do with budgets, grants and stops of a running gateway; each change is stored with who made it. */

import { isWho } from '../access/blocks.ts';
import type { Admission } from '../admission/contract.ts';
import type { LimitView, Question } from '../admission/external.ts';
import type { LimitOptions } from '../admission/options.ts';
import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import { randomId } from '../core/ids.ts';
import type { Block, Grant, Stop } from '../core/operator-records.ts';
import type { Books } from './books.ts';
import type { LedgerWriter } from './ledger-writer.ts';
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
  readonly servers: () => readonly string[];
  /** Why nobody may have this principal id; undefined: somebody has, or may have. */
  readonly doubt: (principal: string) => string | undefined;
  /** Tenant and credential tier of a principal that the configuration names. */
  readonly principal: (id: string) => { readonly tenant: string | undefined; readonly tier: string | undefined };
}

const METHOD = 'tools/call';
/** Methods under which a limit may count that does not count tools, beside those that it names itself. */
const METHODS = [METHOD, 'resources/read', 'prompts/get', 'completion/complete'] as const;
const ENDPOINT = '/mcp';

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
  async block(block: Omit<Block, 'id' | 'at'>): Promise<Block> {
    if (!isWho(block.who)) {
      throw wrong('who: a principal like corp/ada, anonymous, tenant:x, client:x or key:ID, without patterns');
    }
    if (block.who === block.by) throw wrong('who: you cannot block yourself');
    return this.#deps.books.block(block);
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
      throw wrong(`${limit.name} is counted in ${unit === 'requests' ? 'calls: write a plain number' : unit}`);
    }
    if (grant.principal !== undefined && !limit.by.includes('principal')) {
      throw wrong(`${limit.name} does not count by principal: grant it to everyone, or choose another limit`);
    }
    const doubt = grant.principal === undefined ? undefined : this.#deps.doubt(grant.principal);
    return doubted(await this.#deps.books.grant(grant), doubt);
  }

  /** Where the limits stand for a principal: those that cover the tool, or with none every limit, by a tool it covers. */
  async budgets(principal: string, tool: string | undefined) {
    const { external, limits } = this.#deps.admission();
    const now = this.#deps.clock.monotonic();
    const found = new Map<string, BudgetView>();
    let { tier } = await external.peek(this.#question(principal, tool), now);
    const questions = tool === undefined ? limits.map((limit) => this.#toolOf(limit)) : [tool];
    for (const asked of new Set(questions)) {
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
      tool === undefined ? undefined : doubtOfTool(tool, this.#deps.tools()),
    ];
    return doubted({ tier, limits: sorted }, doubts.filter((one) => one !== undefined).join(' ') || undefined);
  }

  /**
   * Forgets what was used of a limit, and books it in the ledger as given back, so that a rebuilt counter agrees.
   * Rejects with `invalid_params` where no such counter exists.
   */
  async reset(name: string, principal: string | undefined, by: string, reason: string): Promise<void> {
    const { admission, clock, books } = this.#deps;
    const limit = this.#limit(name);
    const who = principal ?? 'everyone';
    if (principal === undefined && limit.by.includes('principal')) {
      throw wrong(`${name} counts by principal: name whose counter`);
    }
    const question = { ...this.#question(who, this.#toolOf(limit)), method: this.#methodOf(limit) };
    const counters = await admission().external.reset(question, name, clock.monotonic());
    if (counters.length === 0) throw wrong(`${name} has no counter for ${who}`);
    // Who once was a caller keeps what was used; nothing of a name that nobody has is a mistake of spelling.
    const doubt = counters.some(({ used }) => used > 0) ? undefined : principal && this.#deps.doubt(principal);
    if (doubt !== undefined) throw wrong(`Nothing of ${name} was used by ${who}. ${doubt}`);
    const at = Math.floor(clock.wall());
    for (const { rule, key, windowStart, unit, used, amount } of counters) {
      if (!amount || used === 0) continue;
      const id = `reset-${randomId(16)}`;
      this.#deps.ledger?.opened({
        id,
        at,
        principal: who,
        tenant: undefined,
        server: '',
        tool: 'reset',
        endpoint: ENDPOINT,
        session: undefined,
        decisionId: id,
        expiresAt: at + 60_000,
        estimate: { [unit]: 0 },
        postings: [{ rule, key, windowStart, unit }],
      });
      this.#deps.ledger?.settled({ id, at, amounts: { [unit]: -used }, source: 'fixed' });
    }
    await books.record(by, 'reset', { limit: name, principal: who, reason });
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

  /** A tool that a limit covers, where it does not cover all; undefined: any. */
  #toolOf(limit: LimitOptions): string | undefined {
    const admission = this.#deps.admission();
    const covers = (canonicalId: string | undefined): boolean => {
      const server = canonicalId?.slice(0, canonicalId.indexOf('/'));
      const target = { kind: 'tool', canonicalId, server, endpoint: ENDPOINT } as const;
      return admission.covering(METHOD, target).some(({ name }) => name === limit.name);
    };
    return covers(undefined) ? undefined : this.#deps.tools().find(covers);
  }

  /** A method that a limit covers: its counters are found by a question that it would be asked. */
  #methodOf(limit: LimitOptions): string {
    const target = { kind: 'none', canonicalId: undefined, server: undefined, endpoint: ENDPOINT } as const;
    const covers = (method: string) =>
      this.#deps
        .admission()
        .covering(method, target)
        .some(({ name }) => name === limit.name);
    return [...METHODS, ...(limit.on ?? [])].find(covers) ?? METHOD;
  }

  #question(principal: string, tool: string | undefined): Question {
    return { subject: { principal, ...this.#deps.principal(principal) }, method: METHOD, tool };
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

function unitOf({ quota, rows }: LimitOptions): string {
  const any = quota ?? [...rows.values()][0];
  return any !== undefined && 'amount' in any ? any.amount.unit : 'requests';
}

function wrong(message: string): TollgateError {
  return new TollgateError('invalid_params', message, { http: 400 });
}
