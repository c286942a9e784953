import { TollgateError } from '../core/errors.ts';
import type { Block } from '../core/operator-records.ts';
import { canonicalPrincipalId, type Principal } from '../core/principal.ts';

/** More blocks than this are a mistake of whoever makes them; one more is refused. */
const MAX_BLOCKS = 100_000;
const MAX_WHO = 2000;

/** True for a text that `Block.who` can be. */
export function isWho(text: string): boolean {
  if (text.length > MAX_WHO || /[\p{Cc}\p{Zl}\p{Zp}]/u.test(text)) return false;
  return /^(?:(?:tenant|client|key):.+|anonymous|[A-Za-z0-9_-]{1,64}(?:@[^/]+)?\/.+)$/s.test(text);
}

/** The one spelling of a text that `isWho` accepts: a block that is spelled otherwise would hold nobody. */
export function canonicalWho(text: string): string {
  return /^(?:tenant|client|key):/.test(text) ? text : canonicalPrincipalId(text);
}

/**
 * The blocks in force, asked right after a caller is known: while there are none that is one boolean. In memory;
 * `load` brings back what was kept.
 */
export class BlockBook {
  /** False: nobody is blocked. */
  any = false;
  readonly #blocks = new Map<string, Block>();
  /** By `who`; of several for one the one that lasts longest. */
  readonly #byWho = new Map<string, Block>();

  /** False: a block of that id is there already. Throws RangeError when full. */
  add(block: Block): boolean {
    if (this.#blocks.has(block.id)) return false;
    if (this.#blocks.size >= MAX_BLOCKS) {
      throw new RangeError(`There are ${MAX_BLOCKS} blocks already; lift some first.`);
    }
    this.#blocks.set(block.id, block);
    this.#index(block);
    return true;
  }

  /** Ends a block. Undefined: no such block. */
  lift(id: string): Block | undefined {
    const block = this.#blocks.get(id);
    if (block === undefined) return undefined;
    this.#blocks.delete(id);
    this.#reindex();
    return block;
  }

  /** Replaces everything by what was kept. True: somebody is blocked who was not. */
  load(blocks: Iterable<Block>): boolean {
    const before = new Set(this.#blocks.keys());
    this.#blocks.clear();
    for (const block of blocks) this.#blocks.set(block.id, block);
    this.#reindex();
    return [...this.#blocks.keys()].some((id) => !before.has(id));
  }

  /** Blocks in force at this wall time. */
  list(wall: number): readonly Block[] {
    return [...this.#blocks.values()].filter((block) => !over(block, wall));
  }

  /** The block of a caller: of its own id, with its tenant or without, its key, its client or its tenant. */
  of(principal: Principal, wall: number): Block | undefined {
    const { id, person, entry, tenant, clientId, keyId } = principal;
    return (
      this.#find(id, wall) ??
      (person === id ? undefined : this.#find(person, wall)) ??
      // Beyond loopback there is one anonymous principal for each address prefix; the word means all of them.
      (entry === 'anonymous' ? this.#find('anonymous', wall) : undefined) ??
      (keyId === undefined ? undefined : this.#find(`key:${keyId}`, wall)) ??
      (clientId === undefined ? undefined : this.#find(`client:${clientId}`, wall)) ??
      (tenant === undefined ? undefined : this.#find(`tenant:${tenant}`, wall))
    );
  }

  #find(who: string, wall: number): Block | undefined {
    const block = this.#byWho.get(who);
    if (block === undefined || !over(block, wall)) return block;
    this.#byWho.delete(who);
    this.#blocks.delete(block.id);
    this.any = this.#byWho.size > 0;
    return undefined;
  }

  #index(block: Block): void {
    const known = this.#byWho.get(block.who);
    if (known === undefined || endOf(block) > endOf(known)) this.#byWho.set(block.who, block);
    this.any = true;
  }

  #reindex(): void {
    this.#byWho.clear();
    this.any = false;
    for (const block of this.#blocks.values()) this.#index(block);
  }
}

function endOf({ until }: Block): number {
  return until ?? Number.POSITIVE_INFINITY;
}

function over(block: Block, wall: number): boolean {
  return endOf(block) <= wall;
}

/** What a blocked caller is told, with the id of its record. Why stays with the operators. */
export function blockedError({ until }: Block, decisionId: string): TollgateError {
  const end = until === undefined ? '' : ` until ${new Date(until).toISOString()}`;
  return new TollgateError(
    'blocked',
    `Not run. An operator has blocked you${end}. ${until === undefined ? 'Do not retry.' : 'Do not retry before then.'} [${decisionId}]`,
    {
      data: { reason: 'blocked', ...(until === undefined ? {} : { until: new Date(until).toISOString() }), decisionId },
    },
  );
}
