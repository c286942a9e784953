/** The API keys in force, by id and by holder. */
import type { IssuedKey } from '../identity/keys.ts';

export class KeyTable {
  readonly #byId = new Map<string, IssuedKey>();
  readonly #byHolder = new Map<string, readonly IssuedKey[]>();
  /** Wall time at which the next key ends; Infinity: none does. */
  #nextEnd = Infinity;

  get size(): number {
    return this.#byId.size;
  }

  get(id: string): IssuedKey | undefined {
    return this.#byId.get(id);
  }

  of(entry: string, subject: string): readonly IssuedKey[] {
    return this.#byHolder.get(holder(entry, subject)) ?? NONE;
  }

  values(): Iterable<IssuedKey> {
    return this.#byId.values();
  }

  /** In place of one of the same id. */
  put(key: IssuedKey): void {
    this.delete(key.id);
    this.#byId.set(key.id, key);
    const place = holder(key.entry, key.subject);
    this.#byHolder.set(place, [...(this.#byHolder.get(place) ?? NONE), key]);
    this.#nextEnd = Math.min(this.#nextEnd, key.expiresAt ?? Infinity);
  }

  delete(id: string): boolean {
    const key = this.#byId.get(id);
    if (key === undefined) return false;
    this.#byId.delete(id);
    const place = holder(key.entry, key.subject);
    const left = this.of(key.entry, key.subject).filter((one) => one !== key);
    if (left.length === 0) this.#byHolder.delete(place);
    else this.#byHolder.set(place, left);
    return true;
  }

  /** Takes out what has ended; true: something had. */
  expire(now: number): boolean {
    if (this.#nextEnd > now) return false;
    const before = this.#byId.size;
    this.#nextEnd = Infinity;
    for (const { id, expiresAt = Infinity } of [...this.#byId.values()]) {
      if (expiresAt <= now) this.delete(id);
      else this.#nextEnd = Math.min(this.#nextEnd, expiresAt);
    }
    return this.#byId.size < before;
  }
}

const NONE: readonly IssuedKey[] = [];

/** Names of entries have no slash. */
function holder(entry: string, subject: string): string {
  return `${entry}/${subject}`;
}
