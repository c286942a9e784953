/**
 * Advertised names. An assignment, once made, is kept for the life of the process, also across refreshes and while
 * its server is away: so a name never starts to mean another tool under a running agent, and no server can take
 * over the name of one that died.
 */
import { createHash } from 'node:crypto';
import { skeleton } from './names.ts';
import type { CatalogOptions } from './options.ts';

const MAX_NAME = 64;
const RESERVED_PREFIX = 'tollgate_';
/** Assignments kept in one book; beyond it those of entries that are no longer listed are forgotten, oldest first. */
const MAX_KEPT = 50_000;

/** What wants a name: an entry of a server's list. */
export interface Claim {
  readonly server: string;
  readonly name: string;
  readonly canonicalId: string;
}

/** Two entries wanted one name; the later one is left out or renamed. */
export interface Conflict {
  readonly name: string;
  readonly owner: string;
  readonly newcomer: string;
  /** Undefined: left out. */
  readonly renamed: string | undefined;
  readonly reason: 'collision' | 'reserved' | 'exhausted' | 'confusable';
}

/** Assignments of one kind (tools or prompts) of one endpoint. */
export class NameBook {
  readonly #naming: CatalogOptions['naming'];
  readonly #chosen: ReadonlyMap<string, string>;
  readonly #chosenNames: ReadonlyMap<string, string>;
  readonly #nameOf = new Map<string, string>();
  readonly #ownerOf = new Map<string, string>();
  /** The first name of each skeleton, of names beyond ASCII: those look like no ASCII name, but may like each other. */
  readonly #skeletons = new Map<string, string>();

  /** `chosen`: names the operator wrote, by canonical id; they come before every other claim. */
  constructor(naming: CatalogOptions['naming'], chosen: ReadonlyMap<string, string>, previous?: NameBook) {
    this.#naming = naming;
    this.#chosen = chosen;
    const names = new Map<string, string>();
    for (const [id, name] of chosen) if (!names.has(name)) names.set(name, id);
    this.#chosenNames = names;
    if (previous === undefined || previous.#naming !== naming) return;
    for (const [id, name] of previous.#nameOf) {
      // A name the operator gave or withdrew since is assigned anew.
      if (!chosen.has(id) && !names.has(name) && !previous.#chosen.has(id)) this.#assign(id, name);
    }
  }

  /**
   * Names for the claims, in their order; undefined for one that is left out. Conflicts are those of this call.
   */
  assign(claims: readonly Claim[]): { names: (string | undefined)[]; conflicts: Conflict[] } {
    const conflicts: Conflict[] = [];
    const names = claims.map((claim) => this.#nameOf.get(claim.canonicalId) ?? this.#claim(claim, conflicts));
    if (this.#nameOf.size > MAX_KEPT) this.#forget(new Set(claims.map((claim) => claim.canonicalId)));
    return { names, conflicts };
  }

  #claim(claim: Claim, conflicts: Conflict[]): string | undefined {
    const { canonicalId } = claim;
    const alike = this.#skeletons.get(skeleton(claim.name));
    if (alike !== undefined && alike !== claim.name) {
      conflicts.push({ name: alike, owner: alike, newcomer: canonicalId, renamed: undefined, reason: 'confusable' });
      return undefined;
    }
    const chosen = this.#chosen.get(canonicalId);
    if (chosen !== undefined) {
      if (this.#free(chosen, canonicalId)) return this.#assign(canonicalId, chosen);
      conflicts.push(this.#conflict(chosen, canonicalId, undefined, 'collision'));
      return undefined;
    }
    const own =
      this.#naming === 'prefix'
        ? cutName(`${claim.server}_${claim.name}`, canonicalId)
        : this.#naming === 'bare'
          ? claim.name
          : cutName(claim.name, canonicalId);
    const reserved = isReserved(own);
    if (!reserved && this.#free(own, canonicalId)) return this.#assign(canonicalId, own);
    const renamed = this.#naming === 'auto' || this.#naming === 'prefix' ? this.#alternative(claim) : undefined;
    const reason = renamed === undefined && this.#renames ? 'exhausted' : reserved ? 'reserved' : 'collision';
    conflicts.push(this.#conflict(own, canonicalId, renamed, reason));
    return renamed === undefined ? undefined : this.#assign(canonicalId, renamed);
  }

  get #renames(): boolean {
    return this.#naming === 'auto' || this.#naming === 'prefix';
  }

  /** `<server>_<tool>`, and where even that is taken the same with a digest. */
  #alternative(claim: Claim): string | undefined {
    const prefixed = `${claim.server}_${claim.name}`;
    const digested = withDigest(prefixed, claim.canonicalId);
    return [cutName(prefixed, claim.canonicalId), digested].find(
      (name) => !isReserved(name) && this.#free(name, claim.canonicalId),
    );
  }

  #free(name: string, canonicalId: string): boolean {
    const chosenFor = this.#chosenNames.get(name);
    return (chosenFor === undefined || chosenFor === canonicalId) && !this.#ownerOf.has(name);
  }

  #assign(canonicalId: string, name: string): string {
    const own = canonicalId.slice(canonicalId.indexOf('/') + 1);
    const looks = skeleton(own);
    if (looks !== own || /[^\x20-\x7e]/.test(own)) this.#skeletons.set(looks, own);
    this.#nameOf.set(canonicalId, name);
    this.#ownerOf.set(name, canonicalId);
    return name;
  }

  #conflict(name: string, newcomer: string, renamed: string | undefined, reason: Conflict['reason']): Conflict {
    const owner = this.#chosenNames.get(name) ?? this.#ownerOf.get(name) ?? 'tollgate';
    return { name, owner, newcomer, renamed, reason };
  }

  #forget(present: ReadonlySet<string>): void {
    for (const [id, name] of this.#nameOf) {
      if (this.#nameOf.size <= MAX_KEPT / 2) return;
      if (present.has(id)) continue;
      this.#nameOf.delete(id);
      this.#ownerOf.delete(name);
    }
  }
}

/** In any case of letters: a model does not tell `Tollgate_quota` from the gateway's own. */
function isReserved(name: string): boolean {
  return name.slice(0, RESERVED_PREFIX.length).toLowerCase() === RESERVED_PREFIX;
}

/** A name of at most 64 characters: longer ones are cut and end in six hex digits of their canonical id. */
export function cutName(name: string, canonicalId: string): string {
  return name.length <= MAX_NAME ? name : withDigest(name, canonicalId);
}

function withDigest(name: string, canonicalId: string): string {
  const digest = createHash('sha256').update(canonicalId).digest('hex').slice(0, 6);
  const kept = name.slice(0, MAX_NAME - 7);
  // A cut through a surrogate pair would leave text that is not Unicode.
  return `${kept.isWellFormed() ? kept : kept.slice(0, -1)}_${digest}`;
}
