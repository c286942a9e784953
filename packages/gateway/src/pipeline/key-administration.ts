/** What admins do with API keys: each order is checked against the configuration in force and recorded. */
import type { Clock } from '../core/clock.ts';
import { TollgateError } from '../core/errors.ts';
import type { IdentityOptions } from '../identity/options.ts';
import type { Page } from '../store/storage.ts';
import type { Books } from './books.ts';
import type { KeyBook, KeyInfo, KeyRequest } from './key-book.ts';

/** A key that is wanted; `entry` may be left out while the configuration has one entry of keys. */
export type KeyOrder = Omit<KeyRequest, 'entry'> & { readonly entry?: string | undefined };

interface KeyAdministrationDeps {
  readonly clock: Clock;
  readonly keys: KeyBook;
  readonly books: Books;
  readonly identity: () => IdentityOptions;
}

export class KeyAdministration {
  readonly #deps: KeyAdministrationDeps;

  constructor(deps: KeyAdministrationDeps) {
    this.#deps = deps;
  }

  now(): number {
    return this.#deps.clock.wall();
  }

  /**
   * Makes a key and gives it, once. Rejects with `invalid_params` for an unknown entry or tier, and for a holder whose
   * other keys belong to another tenant or tier: limits, budgets and secrets know the holder, not the key.
   */
  async create(order: KeyOrder, by: string): Promise<{ readonly key: string; readonly info: KeyInfo }> {
    const { keys, books } = this.#deps;
    const entry = this.#entry(order.entry);
    const { tiers } = books;
    if (order.tier !== undefined && !tiers.known.has(order.tier)) {
      throw wrong(`There is no tier ${order.tier}; there are ${[...tiers.known].join(', ')}`);
    }
    const other = keys.of(entry, order.subject).find((one) => one.tenant !== order.tenant || one.tier !== order.tier);
    if (other !== undefined) {
      const { id, tenant = 'none', tier = 'none' } = other;
      throw wrong(
        `${entry}/${order.subject} has a key with tenant ${tenant} and tier ${tier} (${id}): one holder has one of each. Take another subject, or revoke that key first`,
      );
    }
    const made = await keys.create({ ...order, entry }, by);
    const { createdAt: _, createdBy: __, lastUsedAt: ___, ...details } = made.info;
    await books.record(by, 'key_create', details);
    return made;
  }

  /**
   * Makes a key with all that an older one may do; that one ends after `overlap` milliseconds, 0 at once. Rejects with
   * `not_found` for a key that is not in force.
   */
  async replace(id: string, overlap: number, by: string): Promise<{ readonly key: string; readonly info: KeyInfo }> {
    const { keys, books } = this.#deps;
    const before = await keys.infoOf(id);
    if (before?.state !== 'active') throw new TollgateError('not_found', 'There is no such key in force');
    const { entry, subject, tenant, tier, roles, scopes, label } = before;
    // The successor gets as long a life as the key had, counted from now.
    const life = before.expiresAt === undefined ? undefined : before.expiresAt - before.createdAt;
    const expiresAt = life === undefined ? undefined : Math.floor(this.now()) + life;
    const request = { entry, subject, tenant, tier, roles, scopes, label, expiresAt };
    const made = await keys.create(request, by, { id, overlap });
    await books.record(by, 'key_replace', { id: made.info.id, replaces: id, overlap });
    return made;
  }

  /** False: there is no such key, or it is revoked already. In force here at once, elsewhere within a second. */
  async revoke(id: string, by: string, reason: string | undefined): Promise<boolean> {
    const revoked = await this.#deps.keys.revoke(id, by);
    if (revoked) await this.#deps.books.record(by, 'key_revoke', { id, reason });
    return revoked;
  }

  list(part: { readonly limit?: number; readonly after?: string }): Promise<Page<KeyInfo>> {
    return this.#deps.keys.list(part);
  }

  #entry(asked: string | undefined): string {
    const names = this.#deps.identity().entries.flatMap(({ kind, name }) => (kind === 'keys' ? [name] : []));
    if (names.length === 0) {
      throw wrong('The configuration accepts no keys: write `auth: [{ name: keys, keys: {} }]` and reload');
    }
    if (asked === undefined && names.length === 1) return names[0]!;
    if (asked !== undefined && names.includes(asked)) return asked;
    throw wrong(`Name the auth entry that shall accept the key: ${names.join(' or ')}`);
  }
}

function wrong(message: string): TollgateError {
  return new TollgateError('invalid_params', message, { http: 400 });
}
