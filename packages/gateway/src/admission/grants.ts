import type { Grant } from '../core/operator-records.ts';
import type { LimitKey } from './options.ts';

const MAX_GRANTS = 10_000;

/**
 * What was granted on top of limits. In memory; `load` brings back what was kept, and `onChange` tells what to keep.
 * While nothing is granted, asking costs one boolean.
 */
export class GrantBook {
  /** False: nothing is granted. */
  any = false;
  readonly #byLimit = new Map<string, Map<string, Grant>>();
  readonly #onChange: ((grant: Grant, change: 'added' | 'revoked') => void) | undefined;
  #count = 0;

  constructor(onChange?: (grant: Grant, change: 'added' | 'revoked') => void) {
    this.#onChange = onChange;
  }

  /** False: a grant of that id is there already. Throws a RangeError for an amount that is no positive safe integer. */
  add(grant: Grant): boolean {
    if (!this.#put(grant)) return false;
    this.#onChange?.(grant, 'added');
    return true;
  }

  /** Ends a grant early. Undefined: no such grant. */
  revoke(id: string): Grant | undefined {
    for (const grants of this.#byLimit.values()) {
      const grant = grants.get(id);
      if (grant === undefined) continue;
      this.#remove(grant);
      this.#onChange?.(grant, 'revoked');
      return grant;
    }
    return undefined;
  }

  /** Replaces everything by what was kept; tells no listener. */
  load(grants: Iterable<Grant>): void {
    this.#byLimit.clear();
    this.#count = 0;
    this.any = false;
    for (const grant of grants) this.#put(grant);
  }

  list(wall: number): readonly Grant[] {
    return [...this.#byLimit.values()].flatMap((grants) => [...grants.values()]).filter((grant) => grant.until > wall);
  }

  /** True when something is granted under this limit. */
  concerns(limit: string): boolean {
    return this.any && this.#byLimit.has(limit);
  }

  /** Units on top of a limit for one of its keys and callers. Forgets the grants whose time is over. */
  extra(limit: string, by: readonly LimitKey[], principal: string, key: string, wall: number): number {
    const grants = this.#byLimit.get(limit);
    if (grants === undefined) return 0;
    let units = 0;
    for (const grant of grants.values()) {
      if (grant.until <= wall) this.#remove(grant);
      else if (matches(grant, by, principal, key)) units += grant.amount;
    }
    return Math.min(units, Number.MAX_SAFE_INTEGER);
  }

  #put(grant: Grant): boolean {
    if (!(Number.isSafeInteger(grant.amount) && grant.amount > 0)) {
      throw new RangeError(`a grant must be a positive whole number of micro-units, got ${String(grant.amount)}`);
    }
    const grants = this.#byLimit.get(grant.rule) ?? new Map<string, Grant>();
    if (grants.has(grant.id)) return false;
    if (this.#count >= MAX_GRANTS) throw new RangeError(`There are ${MAX_GRANTS} grants already; revoke some first.`);
    grants.set(grant.id, grant);
    this.#byLimit.set(grant.rule, grants);
    this.#count++;
    this.any = true;
    return true;
  }

  #remove(grant: Grant): void {
    const grants = this.#byLimit.get(grant.rule);
    if (grants === undefined || !grants.delete(grant.id)) return;
    if (grants.size === 0) this.#byLimit.delete(grant.rule);
    this.#count--;
    this.any = this.#count > 0;
  }
}

function matches(grant: Grant, by: readonly LimitKey[], principal: string, key: string): boolean {
  if (grant.key !== undefined) return grant.key === key;
  if (grant.principal !== undefined) return by.includes('principal') && grant.principal === principal;
  return true;
}
